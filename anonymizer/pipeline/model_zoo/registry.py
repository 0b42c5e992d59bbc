"""`models/registry.toml`: which models there are, where they come from, and which of them a profile chooses.

`registry.local.toml` beside it is the user's: models and profiles of the same format that come on top of the project's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed

__all__ = [
    "AUTO",
    "LOCAL",
    "MASKS",
    "PROJECT",
    "Choice",
    "Loader",
    "ModelEntry",
    "Recorded",
    "Registry",
    "parse_choice",
    "read_recorded",
]

#: the project's file, and the user's, which git ignores
PROJECT, LOCAL = "registry.toml", "registry.local.toml"

#: what a profile serves besides the object types
MASKS = "masks"
#: the best profile whose files are there, for each type
AUTO = "auto"
SERVED = (*OBJECT_TYPES, MASKS)


class Loader(StrEnum):
    """The code that a model's file is loaded with, by the name that it has in the registry."""

    CENTERFACE = "centerface"
    OWN = "own"
    YOLOX = "yolox"
    YUNET = "yunet"
    Y5FU = "y5fu"
    MASK_RCNN = "mask-rcnn"
    EGOBLUR = "egoblur"
    SAM = "sam"
    OWN_MASKS = "own-masks"

    @property
    def makes_masks(self) -> bool:
        """Whether it loads a segmenter, not a detector."""
        return self in (Loader.SAM, Loader.OWN_MASKS)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry.

    Attributes:
        file: its name in the folder of the models, or below the package that brings it.
        url: where it, or the archive that holds it, is downloaded from; None where it comes otherwise.
        archive: name of a zip that holds the file.
        size: of what is downloaded, in bytes.
        sha256: of the file; None where its publisher gives none: then it is recorded at the first fetch.
        package: the installed package that brings the file.
        base: id of the model that it stands on.
        calibration: from its scores to the chance that a box is right, by type.
        registry: name of the file that it stands in.
    """

    id: str
    description: str
    object_types: tuple[ObjectType, ...]
    loader: Loader
    file: str
    licence: str
    source: str
    input: str
    url: str | None = None
    archive: str | None = None
    size: int | None = None
    sha256: str | None = None
    package: str | None = None
    base: str | None = None
    calibration: Mapping[ObjectType, Calibration] = field(default_factory=dict)
    registry: str = PROJECT

    @property
    def makes_masks(self) -> bool:
        """Whether it segments what others found."""
        return self.loader.makes_masks

    @property
    def remedy(self) -> str:
        """The command that brings the file."""
        if self.package is not None:
            return f"pip install {self.package}"
        if self.url is not None:
            return f"python manage.py models fetch {self.id}"
        # only its owner has another copy
        return f"git checkout models/{self.file}" if self.registry == PROJECT else f"cp YOUR-COPY models/{self.file}"

    def path(self, folder: Path) -> Path | None:
        """Where its file should be; None where the package that brings it is not installed."""
        if self.package is None:
            return folder / self.file
        spec = find_spec(self.package)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.file


@dataclass(frozen=True, slots=True)
class Registry:
    """All models, and by profile and type (or `masks`) the ids of those that serve it together."""

    models: Mapping[str, ModelEntry]
    profiles: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def read(cls, file: Path) -> Registry:
        """From a TOML file, and the user's `registry.local.toml` beside it where there is one.

        Raises:
            DetectorFailed: one of them cannot be read, or contradicts itself or the other.
        """
        registry = cls({}, {})._with(file)
        local = file.with_name(LOCAL)
        return registry._with(local) if local.exists() else registry

    def _with(self, file: Path) -> Registry:
        """With the models and profiles of a file on top."""
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
            models = dict(self.models)
            for row in content.get("model", []):
                entry = _entry(row, file.name)
                if entry.id in models:
                    raise ValueError(f"there is another model {entry.id!r}, in {models[entry.id].registry}")
                models[entry.id] = entry
            profiles = dict(self.profiles)
            for name, rows in content.get("profiles", {}).items():
                if name in profiles:
                    raise ValueError(f"there is another profile {name!r}, in {PROJECT}")
                profiles[name] = {key: tuple(ids) for key, ids in rows.items()}
            registry = Registry(models, profiles)
            registry._check()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DetectorFailed(f"{file} cannot be read: {error}.") from error
        return registry

    def serving(self, key: str) -> list[str]:
        """The ids of all models that could serve a type, or `masks`."""
        return [
            each.id
            for each in self.models.values()
            if (each.makes_masks if key == MASKS else key in each.object_types and not each.makes_masks)
        ]

    def entries(self, profile: str, key: str) -> tuple[ModelEntry, ...]:
        """The models that serve a type, or `masks`, in a profile."""
        return tuple(self.models[each] for each in self.profiles.get(profile, {}).get(key, ()))

    def of_profile(self, profile: str) -> list[ModelEntry]:
        """All models of a profile, each once, with those that they stand on."""
        entries = [each for key in SERVED for each in self.entries(profile, key)]
        bases = [self.models[each.base] for each in entries if each.base]
        return list({each.id: each for each in [*entries, *bases]}.values())

    def _check(self) -> None:
        if not self.models:
            raise ValueError("it has no model")
        for each in self.models.values():
            if each.base is not None and each.base not in self.models:
                raise ValueError(f"{each.id} stands on {each.base!r}, which is not there")
            if each.sha256 is None and each.url is None:
                raise ValueError(f"{each.id} has no sha256, and no url to record one from")
        for name, rows in self.profiles.items():
            for key, ids in rows.items():
                self.check_served(f"profile {name}", key, ids)

    def check_served(self, what: str, key: str, ids: tuple[str, ...]) -> None:
        """Make sure that these models can serve a type, or `masks`.

        Raises:
            ValueError: they cannot; the sentence begins with `what` and says which could.
        """
        if key not in SERVED:
            raise ValueError(f"{what}: {key!r} is none of {', '.join(SERVED)}")
        able = self.serving(key)
        for each in ids or ("",):
            if each not in able:
                raise ValueError(f"{what}: {key} may be served by {', '.join(able) or 'nothing'}, not by {each!r}")
        if key == MASKS and len(ids) != 1:
            raise ValueError(f"{what}: masks are made by one model, not by {len(ids)}")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which models are to serve: a profile or `auto`, and others for some types."""

    profile: str
    overrides: Mapping[str, tuple[str, ...]]


def parse_choice(text: str, registry: Registry) -> Choice:
    """`auto`, a profile, `face=own-2,license-plate=y5fu-320+y5fu-640`, or one of the former and such a list.

    Raises:
        DetectorFailed: it is none of these; the sentence has the value and what is allowed.
    """
    names = (AUTO, *registry.profiles)
    first, *rest = (part.strip() for part in text.split(","))
    profile = AUTO if "=" in first else first
    overrides: dict[str, tuple[str, ...]] = {}
    try:
        if profile not in names:
            raise ValueError(f"there is no profile {profile!r}")
        for part in [first, *rest] if "=" in first else rest:
            key, _, ids = part.partition("=")
            overrides[key.strip()] = tuple(each.strip() for each in ids.split("+"))
            registry.check_served(part, key.strip(), overrides[key.strip()])
    except ValueError as error:
        raise DetectorFailed(
            f"models (ANONYMIZER_MODELS) is {text!r}, but must be one of {', '.join(names)}, or TYPE=ID+ID with "
            f"commas between, or both: {error}."
        ) from error
    return Choice(profile, overrides)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The sums that a file, and the archive that it came in, had at their first fetch."""

    file: str
    archive: str | None = None


def read_recorded(folder: Path) -> dict[str, Recorded]:
    """By id, what was recorded at first fetches into a folder.

    Raises:
        DetectorFailed: the record is there and cannot be read.
    """
    file = folder / "recorded.toml"
    try:
        return {name: Recorded(**sums) for name, sums in tomllib.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DetectorFailed(f"{file} cannot be read: {error}.") from error


def _entry(row: dict[str, Any], registry: str) -> ModelEntry:
    types = tuple(ObjectType(each) for each in row["object_types"])
    calibration = {ObjectType(key): Calibration.read(knots) for key, knots in row.get("calibration", {}).items()}
    if row["loader"] not in [*Loader]:
        raise ValueError(f"{row['id']} has the loader {row['loader']!r}; known are {', '.join(Loader)}")
    loader = Loader(row["loader"])
    return ModelEntry(
        **row | {"object_types": types, "loader": loader, "calibration": calibration, "registry": registry}
    )
