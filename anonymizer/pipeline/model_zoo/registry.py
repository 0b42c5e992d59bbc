"""The registry of models: which models there are, where they come from, and which of them a profile uses.

It is read from `registry.toml` in the folder of the models. `registry.local.toml` beside it is the user's: it adds
models and profiles in the same format.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.folders import PROJECT, find_model_file, find_registry, is_checkout

__all__ = [
    "AUTO",
    "CALIBRATION_KEYS",
    "LOCAL",
    "MASKS",
    "MISS_COST",
    "PROJECT",
    "Loader",
    "ModelChoice",
    "ModelEntry",
    "Registry",
    "parse_choice",
]

#: name of the user's registry, which git ignores
LOCAL = "registry.local.toml"

#: the key of a profile for the model that makes segmentation masks
MASKS = "masks"
#: the key of a profile for how many needless blurs a missed object is worth
MISS_COST = "miss-cost"
#: stands for the best profile whose files are complete, chosen for each object type
AUTO = "auto"
#: what a profile names models for
PROFILE_KEYS = (*OBJECT_TYPES, MASKS)
#: by extra of this package, the package that it brings (pyproject.toml)
EXTRAS = {"models": "transformers"}
#: by key of a model, the attribute of `Calibrations` that it holds
CALIBRATION_KEYS = {"calibration": "whole", "calibration-small": "small", "calibration-close": "close"}


class Loader(StrEnum):
    """The code that loads the file of a model, by its name in the registry."""

    CENTERFACE = "centerface"
    OWN = "own"
    OWN_NANODET = "own-nanodet"
    NANODET = "nanodet"
    YOLOX = "yolox"
    YUNET = "yunet"
    Y5FU = "y5fu"
    MASK_RCNN = "mask-rcnn"
    EGOBLUR = "egoblur"
    SAM = "sam"
    OWN_MASKS = "own-masks"
    D_FINE = "d-fine"
    DEIMV2 = "deimv2"
    RF_DETR = "rf-detr"

    @property
    def makes_masks(self) -> bool:
        """Whether it loads a segmenter, not a detector."""
        return self in (Loader.SAM, Loader.OWN_MASKS)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry.

    Attributes:
        id: what `Detections.models` holds.
        description: one line about the model, without figures.
        object_types: the types that it detects or segments.
        loader: the code that loads its file.
        file: name of its file in the folder of the models, or its path in the package that brings it.
        licence: of the weights.
        source: who made it, and where.
        input: what the network takes.
        url: where the file, or the archive with the file, is downloaded; None: it is not downloaded.
        archive: name of the zip archive that holds the file; None: the file itself is downloaded.
        size: of the download, in bytes.
        sha256: of the file; None: its publisher gives none, and it is recorded at the first download.
        package: the installed package that brings the file; None: it lies in the folder of the models.
        base: id of the model whose backbone it uses.
        calibrations: from scores to the chance that a box is right.
        registry: name of the registry file that it is listed in.
        published: what its authors say about its quality; None: nothing that can be compared.
        measured: what was measured here, on the project's own pictures and machine; None: nothing.
        md5: of the download, as its publisher gives it; checked at the first download where there is no sha256.
        extra: name of the extra of this package that it needs, such as `models`; None: it needs none.
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
    calibrations: Calibrations = field(default_factory=Calibrations)
    registry: str = PROJECT
    published: str | None = None
    measured: str | None = None
    md5: str | None = None
    extra: str | None = None

    @property
    def makes_masks(self) -> bool:
        """Whether it segments the objects that other models detect."""
        return self.loader.makes_masks

    @property
    def missing_package(self) -> str | None:
        """The package of the extra that it needs, if that is not installed."""
        package = None if self.extra is None else EXTRAS[self.extra]
        return package if package is not None and find_spec(package) is None else None

    @property
    def install_command(self) -> str:
        """The commands that install the file, and the packages that it needs."""
        if self.missing_package is not None:
            return f'pip install "anonymizer[{self.extra}]" && {self._file_command}'
        return self._file_command

    @property
    def _file_command(self) -> str:
        if self.package is not None:
            return f"pip install {self.package}"
        if self.url is not None:
            return f"anonymizer models fetch {self.id}"
        if self.registry != PROJECT:
            # only its owner has another copy
            return f"cp YOUR-COPY models/{self.file}"
        return f"git checkout models/{self.file}" if is_checkout() else "pip install --force-reinstall anonymizer"

    def path(self, folder: Path) -> Path | None:
        """Where the file of the model is, or should be.

        Args:
            folder: of the models.

        Returns:
            A path, whether the file exists or not; None: the package that brings it is not installed.
        """
        if self.package is None:
            return find_model_file(folder, self.file)
        spec = find_spec(self.package)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.file


@dataclass(frozen=True, slots=True)
class Registry:
    """All models and profiles.

    Attributes:
        models: by id.
        profiles: by name of the profile and object type (or `masks`), the ids of the models that are run together.
        miss_costs: by name of the profile, how many needless blurs a missed object is worth, from 1 up; profiles that
            do not say it are left out.
    """

    models: Mapping[str, ModelEntry]
    profiles: Mapping[str, Mapping[str, tuple[str, ...]]]
    miss_costs: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, local: Path | None = None) -> Registry:
        """Read the project's registry and, if it exists, the user's.

        Args:
            file: the project's registry, a TOML file.
            local: the user's registry; default: `registry.local.toml` beside `file`.

        Raises:
            DetectorFailed: a file cannot be read, or contradicts itself or the other file.
        """
        registry, local = cls({}, {})._extended(file), local or file.with_name(LOCAL)
        return registry._extended(local) if local.exists() else registry

    @classmethod
    def of_folder(cls, folder: Path) -> Registry:
        """Read the registry of a folder of models, and the user's registry in it.

        Args:
            folder: of models; without a `registry.toml`, the one that comes with the project is read.

        Raises:
            DetectorFailed: a file cannot be read, or contradicts itself or the other file.
        """
        return cls.read(find_registry(folder), folder / LOCAL)

    def _extended(self, file: Path) -> Registry:
        """This registry with the models and profiles of a file added."""
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
            models = dict(self.models)
            for row in content.get("model", []):
                entry = _entry(row, file.name)
                if entry.id in models:
                    raise ValueError(f"there is another model {entry.id!r}, in {models[entry.id].registry}")
                models[entry.id] = entry
            profiles, miss_costs = dict(self.profiles), dict(self.miss_costs)
            for name, rows in content.get("profiles", {}).items():
                named = _named_models(name, rows)
                if name in profiles and named:
                    raise ValueError(
                        f"there is another profile {name!r}, in {PROJECT}; only its {MISS_COST} may change"
                    )
                if name not in profiles and not named:
                    raise ValueError(f"profile {name} names no model")
                profiles.setdefault(name, named)
                if MISS_COST in rows:
                    miss_costs[name] = _miss_cost(name, rows[MISS_COST])
            registry = Registry(models, profiles, miss_costs)
            registry._check()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DetectorFailed(f"{file} cannot be read: {error}.") from error
        return registry

    def candidates(self, key: str) -> list[str]:
        """The ids of all models that can be used for an object type, or for `masks`."""
        return [
            entry.id
            for entry in self.models.values()
            if (entry.makes_masks if key == MASKS else key in entry.object_types and not entry.makes_masks)
        ]

    def entries(self, profile: str, key: str) -> tuple[ModelEntry, ...]:
        """List the models that a profile uses for an object type, or for `masks`.

        Args:
            profile: name of the profile.
            key: an object type or `masks`.

        Returns:
            The models that are run together; empty if there is no such profile, or it names no model for the key.
        """
        return tuple(self.models[model_id] for model_id in self.profiles.get(profile, {}).get(key, ()))

    def profile_entries(self, profile: str) -> list[ModelEntry]:
        """All models of a profile, each once, and the models whose backbones they use."""
        entries = [entry for key in PROFILE_KEYS for entry in self.entries(profile, key)]
        bases = [self.models[entry.base] for entry in entries if entry.base]
        return list({entry.id: entry for entry in [*entries, *bases]}.values())

    def miss_cost(self, profile: str) -> float:
        """How many needless blurs a missed object is worth in a profile, from 1 up; 1 where it does not say."""
        return self.miss_costs.get(profile, 1.0)

    def _check(self) -> None:
        if not self.models:
            raise ValueError("it has no model")
        for entry in self.models.values():
            if entry.base is not None and entry.base not in self.models:
                raise ValueError(f"{entry.id} has the base {entry.base!r}, which does not exist")
            if entry.extra not in (None, *EXTRAS):
                raise ValueError(f"{entry.id} needs the extra {entry.extra!r}; known are {', '.join(EXTRAS)}")
            if entry.sha256 is None and entry.url is None:
                raise ValueError(f"{entry.id} has no sha256, and no url to record one from")
        for name, rows in self.profiles.items():
            for key, ids in rows.items():
                self.check_models(f"profile {name}", key, ids)

    def check_models(self, context: str, key: str, ids: tuple[str, ...]) -> None:
        """Make sure that models can be used for an object type, or for `masks`.

        Args:
            context: what the error's sentence begins with.
            key: an object type or `masks`.
            ids: of the models.

        Raises:
            ValueError: they cannot; the sentence says which models can.
        """
        if key not in PROFILE_KEYS:
            raise ValueError(f"{context}: {key!r} is none of {', '.join(PROFILE_KEYS)}")
        candidates = self.candidates(key)
        for model_id in ids or ("",):
            if model_id not in candidates:
                allowed = ", ".join(candidates) or "nothing"
                raise ValueError(f"{context}: {key} may be served by {allowed}, not by {model_id!r}")
        if key == MASKS and len(ids) != 1:
            raise ValueError(f"{context}: masks are made by one model, not by {len(ids)}")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which models to use.

    Attributes:
        profile: name of a profile, or `auto`.
        overrides: by object type (or `masks`), the ids of the models to use instead of the profile's.
    """

    profile: str
    overrides: Mapping[str, tuple[str, ...]]


def parse_choice(text: str, registry: Registry) -> ModelChoice:
    """Parse the setting that says which models to use.

    Args:
        text: `auto`, a profile, a list such as `face=own-2,license-plate=y5fu-320+y5fu-640`, or a profile and a list.
        registry: the models and profiles that exist.

    Raises:
        DetectorFailed: the text is none of these; the sentence has the text and what is allowed.

    Examples:
        >>> parse_choice("embedded,face=own-2", registry)
        ModelChoice(profile='embedded', overrides={'face': ('own-2',)})
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
            overrides[key.strip()] = tuple(model_id.strip() for model_id in ids.split("+"))
            registry.check_models(part, key.strip(), overrides[key.strip()])
    except ValueError as error:
        raise DetectorFailed(
            f"models (ANONYMIZER_MODELS) is {text!r}, but must be one of {', '.join(names)}, or TYPE=ID+ID with "
            f"commas between, or both: {error}."
        ) from error
    return ModelChoice(profile, overrides)


def _entry(row: dict[str, Any], registry: str) -> ModelEntry:
    types = tuple(ObjectType(name) for name in row["object_types"])
    maps = {name: row.get(key, {}) for key, name in CALIBRATION_KEYS.items()}
    if row["loader"] not in [*Loader]:
        raise ValueError(f"{row['id']} has the loader {row['loader']!r}; known are {', '.join(Loader)}")
    loader = Loader(row["loader"])
    values = {key: value for key, value in row.items() if key not in CALIBRATION_KEYS}
    read = {"object_types": types, "loader": loader, "calibrations": Calibrations.read(maps), "registry": registry}
    return ModelEntry(**values | read)


def _named_models(profile: str, rows: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The ids of the models in the rows of a profile, by object type or `masks`."""
    for key in rows:
        if key not in (*PROFILE_KEYS, MISS_COST):
            raise ValueError(f"profile {profile}: {key!r} is none of {', '.join((*PROFILE_KEYS, MISS_COST))}")
    return {key: tuple(ids) for key, ids in rows.items() if key != MISS_COST}


def _miss_cost(profile: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ValueError(f"profile {profile}: {MISS_COST} is {value!r}, but must be a number from 1 up")
    return float(value)
