"""Threshold profiles: thresholds that were chosen together, and what they were chosen with.

A score means something for one model and one way of looking at a picture only, so a profile remembers both.
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

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import profile_name, share
from anonymizer.pipeline.options.formats import Format
from anonymizer.pipeline.options.options import Options

__all__ = ["Figure", "ThresholdProfile"]

Figure = float | int | str | None

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ThresholdProfile:
    """Thresholds under a name.

    Attributes:
        name: small letters, digits, `.`, `_` and `-`, at most 63; `none` is reserved.
        thresholds: by object type, 0..1; a type that is not there keeps the server's default.
        format: how pictures were looked at when the thresholds were chosen; None: not known, the server's default.
        models: by object type, the key (`ModelStore.keys`) of the models that the thresholds were chosen for.
        target_recall: what was asked for when they were chosen, 0..1.
        figures: by object type and name, what was measured then. Numbers that are not finite are kept as None.
        created: when they were chosen, ISO 8601.

    Raises:
        InvalidParameter: a value is not allowed; the sentence names field, value and what is.
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

    def options(self) -> dict[str, object]:
        """Fields of `Options` and their values: the thresholds, the format where there is one, and the name."""
        values: dict[str, object] = {_field_name(each): value for each, value in self.thresholds.items()}
        if self.format is not None:
            values["format"] = self.format
        return values | {"profile": self.name}

    def doubts(self, options: Options, keys: Mapping[str, str]) -> list[str]:
        """Why the thresholds may not do here what they did where they were chosen, a sentence each.

        Args:
            options: what is asked for; only thresholds of this profile that are in it are looked at.
            keys: `ModelStore.keys` of the types that are looked for.
        """
        looked_for = [each for each in self.thresholds if each in keys]
        used = [each for each in looked_for if self.thresholds[each] == options.threshold(each)]
        found = [
            f"The {each.words} threshold of profile {self.name} was chosen with {self.models[each]}, but this server "
            f"looks with {keys[each]}: choose it again."
            for each in used
            if each in self.models and self.models[each] != keys[each]
        ]
        if used and self.format is not None and self.format != options.format:
            found.append(
                f"The thresholds of profile {self.name} were chosen with format {self.format}, but {options.format} is "
                "used: choose them again."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `from_dict` reads them back."""
        return {
            "name": self.name,
            "thresholds": {each.value: value for each, value in self.thresholds.items()},
            "format": None if self.format is None else str(self.format),
            "models": {each.value: value for each, value in self.models.items()},
            "target_recall": self.target_recall,
            "figures": {each.value: dict(value) for each, value in self.figures.items()},
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, values: object, *, name: str = "") -> ThresholdProfile:
        """What `to_dict` gives, or a person wrote: name and thresholds are needed, the rest is not.

        Args:
            name: takes the place of the name in it.

        Raises:
            InvalidParameter: a field is unknown, missing or has a value that is not allowed.
        """
        known = tuple(cls.__dataclass_fields__)
        if not isinstance(values, Mapping):
            raise InvalidParameter("a profile", values, f"a JSON object with {', '.join(known)}")
        for each in values:
            if each not in known:
                raise InvalidParameter("a field of a profile", each, f"one of {', '.join(known)}")
        given: dict[str, Any] = {"name": "", "thresholds": {}} | {
            key: value for key, value in values.items() if value is not None
        }
        return cls(**given | ({"name": name} if name else {}))

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "") -> ThresholdProfile:
        """As `from_dict`, from the text of a JSON object.

        Raises:
            InvalidParameter: it is no JSON, or `from_dict` says so.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            shown = text[:100].decode(errors="replace") if isinstance(text, bytes) else text
            raise InvalidParameter("a profile", shown, f"a JSON object ({error})") from None
        return cls.from_dict(values, name=name)

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def save(self, path: Path | str) -> None:
        """Write it as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> ThresholdProfile:
        """Read what `save` or a person wrote.

        Raises:
            OSError: the file cannot be read.
            InvalidParameter: what `from_json` raises.
        """
        return cls.from_json(Path(path).read_bytes())


def _field_name(object_type: ObjectType) -> str:
    return f"{object_type.value.replace('-', '_')}_threshold"


def _by_type(name: str, values: object, convert: Callable[[str, Any], T]) -> dict[ObjectType, T]:
    """The entries of a mapping in the types' order; `license_plate` is read too."""
    if not isinstance(values, Mapping):
        raise InvalidParameter(name, values, f"an object with entries for {', '.join(OBJECT_TYPES)}")
    spelled = {str(key).replace("_", "-"): value for key, value in values.items()}
    for each in spelled:
        if each not in OBJECT_TYPES:
            raise InvalidParameter(f"an object type in {name}", each, f"one of {', '.join(OBJECT_TYPES)}")
    return {each: convert(f"{name}.{each}", spelled[each]) for each in OBJECT_TYPES if each in spelled}


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
    """A number as JSON has it, also of one of NumPy's; None where it is not finite."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None
