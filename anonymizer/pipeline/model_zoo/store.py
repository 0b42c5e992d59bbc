"""Which models serve here, whether their files are what they should be, and each of them loaded once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo.loaders import DETECTORS, SEGMENTERS
from anonymizer.pipeline.model_zoo.registry import (
    AUTO,
    MASKS,
    Choice,
    ModelEntry,
    Registry,
    parse_choice,
    read_recorded,
)

if TYPE_CHECKING:
    from anonymizer.pipeline.detection.protocol import Detector
    from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["FOLDER", "ModelStore"]

FOLDER = Path(__file__).resolve().parents[3] / "models"

T = TypeVar("T")


class ModelStore:
    """The models of a folder, each loaded once and at first use.

    Args:
        folder: with `registry.toml`; the project's own without.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        models: which are to serve: `auto`, a profile of the registry, `TYPE=ID+ID` with commas between, or both.
            `auto` takes for each type `quality` on a GPU, else `recommended`, where all files are there and whole;
            else `embedded`. It looks once, so that one store never gives results of two choices.

    Raises:
        DetectorFailed: the registry cannot be read, or `models` is none of these.
    """

    def __init__(self, folder: Path | None = None, *, device: str = "auto", models: str = AUTO) -> None:
        self.folder = folder or FOLDER
        self._wanted_device = device
        self.registry = Registry.read(self.folder / "registry.toml")
        self.choice: Choice = parse_choice(models, self.registry)
        self._whole: set[str] = set()
        self._damaged: dict[str, tuple[tuple[int, int], str]] = {}
        self._detectors: dict[str, Detector] = {}
        self._segmenters: dict[str, Segmenter] = {}

    @property
    def device(self) -> str:
        """The device that models run on, as torch names it."""
        from anonymizer.pipeline.devices import resolve_device

        return str(resolve_device(self._wanted_device))

    def serves(self) -> dict[ObjectType, tuple[str, ...]]:
        """The models that serve each object type together, where the files of all of them are whole. Loads nothing."""
        return {
            each: tuple(entry.id for entry in self._chosen[each])
            for each in OBJECT_TYPES
            if self._chosen[each] and all(self.problem(entry) is None for entry in self._chosen[each])
        }

    def problems(self) -> list[str]:
        """What is wrong with the files of the models that serve here, a sentence each."""
        found = (self.problem(entry) for entry in [*self.described(OBJECT_TYPES), *self._chosen[MASKS]])
        return [each for each in found if each is not None]

    def lacking(self, profile: str) -> list[ModelEntry]:
        """The models of a profile whose files are missing or damaged."""
        return [each for each in self.registry.of_profile(profile) if self.problem(each) is not None]

    def remedy(self, object_type: ObjectType) -> str:
        """The commands that bring the models for a type."""
        entries = self._chosen[object_type]
        lacking = [each for each in entries if self.problem(each) is not None] or entries
        if not lacking:
            return "Add a model for it to models/registry.toml, and to a profile there."
        return f"Run {' and '.join(f'`{each.remedy}`' for each in lacking)}."

    def require(self, object_types: Sequence[ObjectType]) -> None:
        """Make sure that working models serve each of the types. Loads nothing.

        Raises:
            ModelMissing: none does; the sentence names the type and the command that brings one.
        """
        served = self.serves()
        for each in object_types:
            if each not in served:
                problems = [problem for entry in self._chosen[each] if (problem := self.problem(entry))]
                why = f" ({'; '.join(problems)})" if problems else ""
                raise ModelMissing(f"No working model serves {each.words}{why}. {self.remedy(each)}")

    def described(self, object_types: Sequence[ObjectType]) -> list[ModelEntry]:
        """The models that serve these types, each once. Loads nothing."""
        return list({entry.id: entry for each in object_types for entry in self._chosen[each]}.values())

    def keys(self, object_types: Sequence[ObjectType]) -> dict[str, str]:
        """By type, what kept detections of it depend on: the models, their sums, and how their scores are mapped."""
        return {
            each.value: "+".join(self._key(entry, each) for entry in self._chosen[each])
            for each in object_types
            if self._chosen[each]
        }

    def calibration(self, model_id: str) -> Mapping[ObjectType, Calibration]:
        """By type, from a model's scores to the chance that a box is right; types without keep their scores."""
        return self.registry.models[model_id].calibration

    def detectors(self, object_types: Sequence[ObjectType]) -> list[Detector]:
        """The detectors for these types, each once, loaded.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed: a file is what it should be and does not load, or the device is not there.
        """
        self.require(object_types)
        return [self.detector(entry.id) for entry in self.described(object_types)]

    def detector(self, model_id: str) -> Detector:
        """One detector by its id, loaded, whether it is to serve or not.

        Raises:
            ModelMissing: its file is not what it should be.
            DetectorFailed: there is none of this id, it does not load, or the device is not there.
        """
        entry = self.registry.models.get(model_id)
        if entry is None or entry.makes_masks:
            able = ", ".join(each.id for each in self.registry.models.values() if not each.makes_masks)
            raise DetectorFailed(f"There is no detector {model_id!r}; there are {able}.")
        if model_id not in self._detectors:
            load = DETECTORS[entry.loader]
            detector = self._load(entry, lambda path: load(entry, path, self._wanted_device))
            if detector.id != model_id:
                # what it finds could not be told from what another finds
                raise DetectorFailed(f"The model {model_id} calls itself {detector.id}.")
            self._detectors[model_id] = detector
        return self._detectors[model_id]

    def segmenter(self) -> Segmenter | None:
        """The model that makes masks, loaded; None where the profile's is not installed.

        Raises:
            ModelMissing: its file is damaged, or it was asked for by its id and is not there.
            DetectorFailed: its file is what it should be and does not load, or the device is not there.
        """
        for entry in self._chosen[MASKS]:
            if MASKS in self.choice.overrides or self._is_there(entry):
                return self._segmenter(entry)
        return None

    def loaded(self) -> dict[str, str]:
        """By id, the device of each model that is loaded."""
        models: dict[str, Detector | Segmenter] = {**self._detectors, **self._segmenters}
        return {name: each.device for name, each in models.items()}

    def problem(self, entry: ModelEntry) -> str | None:
        """What is wrong with a model's file, or with that of the model it stands on.

        Once a file was whole it is not looked at again, as sums take a while; a damaged one when it has changed.
        """
        if entry.id in self._whole:
            return None
        path = entry.path(self.folder)
        if path is None:
            return f"the package {entry.package} is not installed"
        try:
            state = path.stat()
            changed = (state.st_size, state.st_mtime_ns)
            if self._damaged.get(entry.id, (None, ""))[0] == changed:
                return self._damaged[entry.id][1]
            problem = self._wrong_sum(entry, path)
        except OSError:
            return f"{path.name} is missing"
        if problem is not None:
            self._damaged[entry.id] = changed, problem
            return problem
        if entry.base is not None and (below := self.problem(self.registry.models[entry.base])):
            return f"{entry.base}, which it stands on: {below}"
        self._whole.add(entry.id)
        return None

    @functools.cached_property
    def _chosen(self) -> dict[str, tuple[ModelEntry, ...]]:
        """By type, and for masks, the models that are to serve it."""
        return {key: self._choose(key) for key in (*OBJECT_TYPES, MASKS)}

    def _choose(self, key: str) -> tuple[ModelEntry, ...]:
        if key in self.choice.overrides:
            return tuple(self.registry.models[each] for each in self.choice.overrides[key])
        if self.choice.profile != AUTO:
            return self.registry.entries(self.choice.profile, key)
        for profile in ("quality", "recommended"):
            entries = self.registry.entries(profile, key)
            # the cheap question first, the one that imports torch second, sums last
            if (
                entries
                and all(self._is_there(each) for each in entries)
                and (profile != "quality" or self._on_gpu)
                and all(self.problem(each) is None for each in entries)
            ):
                return entries
        return self.registry.entries("embedded", key)

    @functools.cached_property
    def _on_gpu(self) -> bool:
        try:
            return self._wanted_device != "cpu" and self.device.startswith("cuda")
        except DetectorFailed:
            # said where a model is loaded
            return False

    def _is_there(self, entry: ModelEntry) -> bool:
        path = entry.path(self.folder)
        return path is not None and path.is_file()

    def _wrong_sum(self, entry: ModelEntry, path: Path) -> str | None:
        if entry.size is not None and entry.archive is None and path.stat().st_size != entry.size:
            return f"{path.name} is damaged: it has {path.stat().st_size} bytes, not {entry.size}"
        known = self._sum(entry)
        if known is None:
            return f"{path.name} was not fetched by `models fetch`, which records its sha256"
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != known:
            whose = "the registry's" if entry.sha256 else "the one recorded at the first fetch"
            return f"{path.name} is damaged: its sha256 is not {whose}"
        return None

    def _sum(self, entry: ModelEntry) -> str | None:
        if entry.sha256 is not None:
            return entry.sha256
        recorded = read_recorded(self.folder).get(entry.id)
        return None if recorded is None else recorded.file

    def _key(self, entry: ModelEntry, object_type: ObjectType) -> str:
        key = f"{entry.id}@{(self._sum(entry) or '')[:16]}"
        calibration = entry.calibration.get(object_type)
        if calibration is None:
            return key
        return f"{key}~{hashlib.sha256(repr(calibration.knots).encode()).hexdigest()[:8]}"

    def _segmenter(self, entry: ModelEntry) -> Segmenter:
        if entry.id not in self._segmenters:
            load = SEGMENTERS[entry.loader]
            base = self.registry.models[entry.base].path(self.folder) if entry.base else None
            self._segmenters[entry.id] = self._load(entry, lambda path: load(path, base, self._wanted_device))
        return self._segmenters[entry.id]

    def _load(self, entry: ModelEntry, load: Callable[[Path], T]) -> T:
        # once more, just before it is read: it may have been exchanged since it was found whole
        self._whole -= {entry.id, entry.base}
        problem = self.problem(entry)
        path = entry.path(self.folder)
        if problem is not None or path is None:
            raise ModelMissing(f"The model {entry.id} cannot be used ({problem}). Run `{entry.remedy}`.")
        try:
            return load(path)
        except AnonymizerError:
            raise
        except Exception as error:
            # whatever the libraries say to a file that they cannot read: without it there is no result
            raise DetectorFailed(f"The model {entry.id} cannot be loaded ({type(error).__name__}).") from error
