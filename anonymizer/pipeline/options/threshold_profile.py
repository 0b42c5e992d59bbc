"""Threshold profiles: thresholds that were chosen together, and the models and the format that they were chosen for.

The same score means different things for another model or another format, so a profile records both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from anonymizer._html import html_table
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import profile_name, share
from anonymizer.pipeline.options.formats import Auto, Format
from anonymizer.pipeline.options.options import Options

__all__ = ["PROVEN", "Figure", "ThresholdProfile"]

#: the figure `verdict` of a type whose threshold reached the target recall on labelled images
PROVEN = "reached"

Figure = float | int | str | None

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, repr=False)
class ThresholdProfile:
    """Thresholds with a name, and how they were chosen.

    Examples:
        >>> profile = ThresholdProfile(name="street", thresholds={"face": 0.3, "person": 0.45})
        >>> Anonymizer().image("street.jpg", Options(**profile.options()))

    Attributes:
        name: at most 63 lower-case letters, digits, `.`, `_` and `-`; `none` is reserved.
        thresholds: by object type, 0..1; other types keep their default.
        format: how the images were analysed when the thresholds were chosen; default: None, not known.
        models: by object type, the key (`ModelStore.keys`) of the models that the thresholds were chosen for.
        target_recall: the recall that the thresholds were chosen for, 0..1.
        figures: by object type and name, what was measured when they were chosen. Numbers that are not finite become
            None. Of these, `verdict` says whether the target was reached, and `proven_threshold` up to where.
        created: when they were chosen, as ISO 8601.

    Raises:
        InvalidParameter: a value is not allowed; the sentence names the field, the value and what is allowed.
    """

    name: str
    thresholds: Mapping[ObjectType, float]
    format: Format | None = None
    models: Mapping[ObjectType, str] = field(default_factory=dict)
    target_recall: float | None = None
    figures: Mapping[ObjectType, Mapping[str, Figure]] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        values = {
            "name": profile_name("name", self.name),
            "thresholds": _by_type("thresholds", self.thresholds, share),
            "format": None if self.format is None else Options(format=self.format).format,
            "models": _by_type("models", self.models, _text),
            "target_recall": None if self.target_recall is None else share("target_recall", self.target_recall),
            "figures": _by_type("figures", self.figures, _figures),
            "created": _time("created", self.created),
        }
        if not values["name"]:
            raise InvalidParameter("name", self.name, "the name of a profile, and not none")
        if not values["thresholds"]:
            raise InvalidParameter("thresholds", "{}", f"a threshold for at least one of {', '.join(OBJECT_TYPES)}")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """The name and the thresholds."""
        thresholds = ", ".join(f"{object_type} {value:g}" for object_type, value in self.thresholds.items())
        return f"ThresholdProfile({self.name!r}: {thresholds})"

    def _repr_html_(self) -> str:
        """A table of the thresholds, with the models and the figures that they were chosen with."""
        figures = list(dict.fromkeys(name for values in self.figures.values() for name in values))
        rows = [
            [object_type.words, value, self.models.get(object_type, "")]
            + [self.figures.get(object_type, {}).get(name) for name in figures]
            for object_type, value in self.thresholds.items()
        ]
        form = "" if self.format is None else f", format {self.format}"
        return html_table(["type", "threshold", "models", *figures], rows, title=f"{self.name}{form}")

    def options(self) -> dict[str, object]:
        """Get the fields of `Options` that the profile sets: thresholds, format if there is one, and its name.

        The format `auto` becomes None, the default: images get `auto`, and videos stay `whole`.
        """
        values: dict[str, object] = {_field_name(object_type): value for object_type, value in self.thresholds.items()}
        if self.format is not None:
            # None replaces the format of a server, too
            values["format"] = None if isinstance(self.format, Auto) else self.format
        return values | {"profile": self.name}

    def mismatches(self, options: Options, keys: Mapping[str, str]) -> list[str]:
        """List reasons why the thresholds may give other results here than where they were chosen.

        Args:
            options: the options of a request; only those of its thresholds that come from this profile count.
            keys: `ModelStore.keys` of the object types of the request.

        Returns:
            A sentence for each reason; empty if models and format are those of the profile.
        """
        requested = [object_type for object_type in self.thresholds if object_type in keys]
        used = [
            object_type for object_type in requested if self.thresholds[object_type] == options.threshold(object_type)
        ]
        reasons = [
            f"The {object_type.words} threshold of profile {self.name} was chosen with {self.models[object_type]}, "
            f"but this server uses {keys[object_type]}: choose it again."
            for object_type in used
            if object_type in self.models and self.models[object_type] != keys[object_type]
        ]
        if used and self.format is not None and self.format != options.image_format:
            reasons.append(
                f"The thresholds of profile {self.name} were chosen with format {self.format}, but "
                f"{options.image_format} is used: choose them again."
            )
        return reasons

    def unproven(self) -> dict[ObjectType, str]:
        """Say of which types no measurement shows that the threshold reaches the target recall, and why.

        A type is proven if its figure `verdict` says that the target was reached, and its threshold is not above the
        `proven_threshold`, if there is one. Thresholds that a person set and those of old files have no verdict.

        Returns:
            By object type the reason, in lower case and without a full stop; empty if all types are proven.
        """
        reasons = {object_type: self._doubt(object_type) for object_type in self.thresholds}
        return {object_type: reason for object_type, reason in reasons.items() if reason}

    def _doubt(self, object_type: ObjectType) -> str:
        """Why a type is not proven; empty if it is."""
        figures, threshold = self.figures.get(object_type, {}), self.thresholds[object_type]
        verdict, proven = figures.get("verdict"), figures.get("proven_threshold")
        if not verdict:
            return "it has no verdict, because it was set by hand or chosen by an earlier version"
        if verdict == PROVEN:
            higher = isinstance(proven, Real) and threshold > proven
            return f"the target was reached at {proven:g}, but not at this higher threshold" if higher else ""
        objects, pictures, needed = (figures.get(name) for name in ("objects", "pictures", "pictures_needed"))
        measured = "" if objects is None or pictures is None else f" ({objects} objects in {pictures} images)"
        enough = "" if needed is None else f"; about {needed} images like these would be enough"
        return f"{verdict}{measured}{enough}"

    def to_dict(self) -> dict[str, Any]:
        """Get the fields as JSON values; `from_dict` reads them back."""
        return {
            "name": self.name,
            "thresholds": {object_type.value: value for object_type, value in self.thresholds.items()},
            "format": None if self.format is None else str(self.format),
            "models": {object_type.value: value for object_type, value in self.models.items()},
            "target_recall": self.target_recall,
            "figures": {object_type.value: dict(value) for object_type, value in self.figures.items()},
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, values: object, *, name: str = "") -> ThresholdProfile:
        """Make a profile from the values of `to_dict`, or from values that a person wrote.

        Args:
            values: a mapping; `name` and `thresholds` are required.
            name: replaces the name in `values`.

        Raises:
            InvalidParameter: a field is unknown, missing or has a value that is not allowed.
        """
        known = tuple(cls.__dataclass_fields__)
        if not isinstance(values, Mapping):
            raise InvalidParameter("a profile", values, f"a JSON object with {', '.join(known)}")
        for key in values:
            if key not in known:
                raise InvalidParameter("a field of a profile", key, f"one of {', '.join(known)}")
        given: dict[str, Any] = {"name": "", "thresholds": {}} | {
            key: value for key, value in values.items() if value is not None
        }
        return cls(**given | ({"name": name} if name else {}))

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "") -> ThresholdProfile:
        """Make a profile from the text of a JSON object, as `from_dict` does.

        Args:
            text: a JSON object with the fields of the profile; `name` and `thresholds` are required. Bytes are UTF-8.
            name: replaces the name in the text; default: the name in the text stays.

        Returns:
            The profile.

        Raises:
            InvalidParameter: the text is no JSON object, or a field is unknown, missing or has a value that is not
                allowed.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            shown = text[:100].decode(errors="replace") if isinstance(text, bytes) else text
            raise InvalidParameter("a profile", shown, f"a JSON object ({error})") from None
        return cls.from_dict(values, name=name)

    def to_json(self) -> str:
        """Get the fields as the text of a JSON object; `from_json` reads it back."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def save(self, path: Path | str) -> None:
        """Write the profile to a JSON file.

        Raises:
            OSError: the file cannot be written.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> ThresholdProfile:
        """Read a profile from a JSON file.

        Raises:
            OSError: the file cannot be read or is not there.
            InvalidParameter: the file is no JSON, or a field is not allowed.
        """
        return cls.from_json(Path(path).read_bytes())


def _field_name(object_type: ObjectType) -> str:
    return f"{object_type.value.replace('-', '_')}_threshold"


def _by_type(name: str, values: object, convert: Callable[[str, Any], T]) -> dict[ObjectType, T]:
    """The entries of a mapping, in the order of the object types; `license_plate` is allowed too."""
    if not isinstance(values, Mapping):
        raise InvalidParameter(name, values, f"an object with entries for {', '.join(OBJECT_TYPES)}")
    spelled = {str(key).replace("_", "-"): value for key, value in values.items()}
    for key in spelled:
        if key not in OBJECT_TYPES:
            raise InvalidParameter(f"an object type in {name}", key, f"one of {', '.join(OBJECT_TYPES)}")
    return {
        object_type: convert(f"{name}.{object_type}", spelled[object_type])
        for object_type in OBJECT_TYPES
        if object_type in spelled
    }


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidParameter(name, value, "text")
    return value


def _time(name: str, value: object) -> str:
    try:
        return value if value == "" else datetime.fromisoformat(_text(name, value)).isoformat()
    except ValueError:
        raise InvalidParameter(name, value, "a date and time as ISO 8601 writes it") from None


def _figures(name: str, values: object) -> dict[str, Figure]:
    if not isinstance(values, Mapping):
        raise InvalidParameter(name, values, "an object of numbers and texts")
    return {_text(f"a key of {name}", key): _figure(f"{name}.{key}", value) for key, value in values.items()}


def _figure(name: str, value: object) -> Figure:
    if not isinstance(value, Real | str | None):
        raise InvalidParameter(name, value, "a number or a text")
    return value if isinstance(value, str | None) else _finite(value)


def _finite(value: object) -> float | int | None:
    """A number of Python or NumPy as a number of JSON; None if it is not finite."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None
