"""The models that are used: which ones, whether their files are complete, and each of them loaded once."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.devices import check_device, resolve_device
from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo.folders import MODELS_FOLDER, default_folder, find_registry
from anonymizer.pipeline.model_zoo.loaders import DETECTORS, SEGMENTERS, Target
from anonymizer.pipeline.model_zoo.recorded import read_recorded
from anonymizer.pipeline.model_zoo.registry import (
    AUTO,
    MASKS,
    MISS_COST,
    ModelChoice,
    ModelEntry,
    Registry,
    parse_choice,
)
from anonymizer.pipeline.runtime.choice import check_runtime

if TYPE_CHECKING:
    from anonymizer.pipeline.detection.protocol import Detector
    from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["MODELS_FOLDER", "ModelStore"]

T = TypeVar("T")


class ModelStore:
    """The models of a folder. Each model is loaded once, at its first use.

    Args:
        folder: of the models. Without a `registry.toml` of its own, it uses the models that come with the project, and
            takes downloads. Default: the folder that ANONYMIZER_MODELS_DIR names, or the project's own.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        models: which models to use: `auto`, a profile of the registry, `TYPE=ID+ID` separated by commas, or both.
            `auto` takes the profile `quality` on a GPU, else `recommended`, else `embedded`, for each object type the
            first one whose files are complete. It chooses once: one store never mixes the results of two choices.
        runtime: what runs the networks on a CPU: `auto`, `torch`, `openvino` or `onnxruntime`. `auto` is OpenVINO.

    Raises:
        InvalidParameter: the device or the runtime has another name.
        DetectorFailed: the registry cannot be read, or `models` is none of these.

    Examples:
        >>> ModelStore(device="cpu", models="embedded").serves()[ObjectType.PERSON]
        ('own-2',)
    """

    def __init__(
        self, folder: Path | None = None, *, device: str = "auto", models: str = AUTO, runtime: str = "auto"
    ) -> None:
        self.folder = folder or default_folder()
        self._wanted_device = check_device(device)
        self._target = Target(self._wanted_device, check_runtime(runtime))
        self.registry = Registry.of_folder(self.folder)
        self.choice: ModelChoice = parse_choice(models, self.registry)
        self._verified: set[str] = set()
        self._damaged: dict[str, tuple[tuple[int, int], str]] = {}
        self._detectors: dict[str, Detector] = {}
        self._segmenters: dict[str, Segmenter] = {}
        # so that each model is loaded once; a model may load its base model
        self._loading = threading.RLock()

    def __repr__(self) -> str:
        """The models by object type."""
        served = ", ".join(f"{object_type}: {' + '.join(models)}" for object_type, models in self.serves().items())
        return f"ModelStore({served or 'no model'}; device {self._wanted_device})"

    @property
    def device(self) -> str:
        """The device that models run on, as torch names it."""
        return str(resolve_device(self._wanted_device))

    def serves(self) -> dict[ObjectType, tuple[str, ...]]:
        """By object type, the ids of the models that detect it together. Loads nothing.

        Types are left out if the file of one of their models is missing or damaged.
        """
        return {
            object_type: tuple(entry.id for entry in self._chosen[object_type])
            for object_type in OBJECT_TYPES
            if self._chosen[object_type] and all(self.problem(entry) is None for entry in self._chosen[object_type])
        }

    def problems(self) -> list[str]:
        """What is wrong with the files of the models that are used, one sentence for each problem."""
        entries = [*self.entries_for(OBJECT_TYPES), *self._chosen[MASKS]]
        return [problem for entry in entries if (problem := self.problem(entry)) is not None]

    def unusable_models(self, profile: str) -> list[ModelEntry]:
        """The models of a profile whose files are missing or damaged, or that need a package that is not installed."""
        return [entry for entry in self.registry.profile_entries(profile) if self.problem(entry) is not None]

    def incomplete_models(self, profile: str) -> list[ModelEntry]:
        """The models of a profile whose files are missing or damaged."""
        return [entry for entry in self.registry.profile_entries(profile) if self.file_problem(entry) is not None]

    def install_hint(self, object_type: ObjectType) -> str:
        """A sentence with the commands that install the models for an object type."""
        entries = self._chosen[object_type]
        unusable = [entry for entry in entries if self.problem(entry) is not None] or entries
        if not unusable:
            return f"Add a model for it to {find_registry(self.folder)}, and to a profile there."
        return f"Run {' and '.join(f'`{entry.install_command}`' for entry in unusable)}."

    def require(self, object_types: Sequence[ObjectType]) -> None:
        """Make sure that working models serve each of the object types. Loads nothing.

        Raises:
            ModelMissing: a type has none; the sentence names the type and the command that installs one.
        """
        served = self.serves()
        for object_type in object_types:
            if object_type not in served:
                problems = [problem for entry in self._chosen[object_type] if (problem := self.problem(entry))]
                reason = f" ({'; '.join(problems)})" if problems else ""
                hint = self.install_hint(object_type)
                raise ModelMissing(f"No working model serves {object_type.words}{reason}. {hint}")

    def entries_for(self, object_types: Sequence[ObjectType]) -> list[ModelEntry]:
        """The models that are used for these object types, each once. Loads nothing."""
        return list({entry.id: entry for object_type in object_types for entry in self._chosen[object_type]}.values())

    def keys(self, object_types: Sequence[ObjectType]) -> dict[str, str]:
        """By object type, a key for caches of detections.

        It changes with the models, the checksums of their files, their calibrations, and the cost of a miss.
        """
        return {
            object_type.value: "+".join(self._key(entry, object_type) for entry in self._chosen[object_type])
            + ("" if self.miss_cost(object_type) == 1 else f",{MISS_COST}={self.miss_cost(object_type):.12g}")
            for object_type in object_types
            if self._chosen[object_type]
        }

    def sums(self, model_ids: Sequence[str]) -> dict[str, str | None]:
        """By id, the sha256 of the model's file; None for what is no model of the registry, such as a rule."""
        entries = {model_id: self.registry.models.get(model_id) for model_id in model_ids}
        return {model_id: None if entry is None else self._expected_sum(entry) for model_id, entry in entries.items()}

    def calibrations(self, model_id: str) -> Calibrations:
        """The calibrations of a model: from its scores to the chance that a box is right."""
        return self.registry.models[model_id].calibrations

    def miss_cost(self, object_type: ObjectType) -> float:
        """How many needless blurs a missed object of a type is worth, from 1 up (`miss-cost` in the registry).

        It is that of the profile which serves the type, also where `models` names other models for the type.
        """
        return self.registry.miss_cost(self._profiles[object_type])

    def miss_costs(self, object_types: Sequence[ObjectType]) -> dict[ObjectType, float]:
        """The cost of a miss by object type."""
        return {object_type: self.miss_cost(object_type) for object_type in object_types}

    def detectors(self, object_types: Sequence[ObjectType]) -> list[Detector]:
        """Load the detectors for these object types, each once.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed: a complete file does not load, or the device does not exist.
        """
        self.require(object_types)
        return [self.detector(entry.id) for entry in self.entries_for(object_types)]

    def detector(self, model_id: str) -> Detector:
        """Load one detector by its id, whether it is among the models to use or not.

        Raises:
            ModelMissing: its file is missing or damaged.
            DetectorFailed: there is no detector with this id, it does not load, or the device does not exist.
        """
        entry = self.registry.models.get(model_id)
        if entry is None or entry.makes_masks:
            detectors = ", ".join(entry.id for entry in self.registry.models.values() if not entry.makes_masks)
            raise DetectorFailed(f"There is no detector {model_id!r}; there are {detectors}.")
        with self._loading:
            if model_id not in self._detectors:
                load = DETECTORS[entry.loader]
                detector = self._load(entry, lambda path: load(entry, path, self._target))
                if detector.id != model_id:
                    # its detections would carry the id of another model
                    raise DetectorFailed(f"The model {model_id} calls itself {detector.id}.")
                self._detectors[model_id] = detector
            return self._detectors[model_id]

    def segmenter(self) -> Segmenter | None:
        """Load the model that makes masks.

        Returns:
            The segmenter; None: the file of the profile's segmenter is not there.

        Raises:
            ModelMissing: its file is damaged, or `models` names it and its file is not there.
            DetectorFailed: its complete file does not load, or the device does not exist.
        """
        for entry in self._chosen[MASKS]:
            if MASKS in self.choice.overrides or self._is_there(entry):
                return self._segmenter(entry)
        return None

    def loaded(self) -> dict[str, str]:
        """By id, the device of each model that is loaded."""
        models: dict[str, Detector | Segmenter] = {**self._detectors, **self._segmenters}
        return {model_id: model.device for model_id, model in models.items()}

    def problem(self, entry: ModelEntry) -> str | None:
        """Why a model cannot be used: the package that it needs is not installed, or `file_problem`; None: it can."""
        if entry.missing_package is not None:
            return f"the package {entry.missing_package} is not installed"
        return self.file_problem(entry)

    def file_problem(self, entry: ModelEntry) -> str | None:
        """What is wrong with the file of a model, or with the file of its base model; None: nothing.

        A complete file is not checked again, as computing a checksum takes a while. A damaged one is checked again when
        it has changed.
        """
        if entry.id in self._verified:
            return None
        path = entry.path(self.folder)
        if path is None:
            return f"the package {entry.package} is not installed"
        try:
            status = path.stat()
            version = (status.st_size, status.st_mtime_ns)
            if self._damaged.get(entry.id, (None, ""))[0] == version:
                return self._damaged[entry.id][1]
            problem = self._compare_sum(entry, path)
        except OSError:
            return f"{path.name} is missing"
        if problem is not None:
            self._damaged[entry.id] = version, problem
            return problem
        if entry.base is not None and (base_problem := self.file_problem(self.registry.models[entry.base])):
            return f"its base model {entry.base}: {base_problem}"
        self._verified.add(entry.id)
        return None

    @functools.cached_property
    def _chosen(self) -> dict[str, tuple[ModelEntry, ...]]:
        """By object type, and for masks, the models to use."""
        return {key: self._choose(key) for key in (*OBJECT_TYPES, MASKS)}

    @functools.cached_property
    def _profiles(self) -> dict[str, str]:
        """By object type, and for masks, the name of the profile that serves it."""
        return {key: self._profile(key) for key in (*OBJECT_TYPES, MASKS)}

    def _choose(self, key: str) -> tuple[ModelEntry, ...]:
        if key in self.choice.overrides:
            return tuple(self.registry.models[model_id] for model_id in self.choice.overrides[key])
        return self.registry.entries(self._profiles[key], key)

    def _profile(self, key: str) -> str:
        if self.choice.profile != AUTO:
            return self.choice.profile
        for profile in ("quality", "recommended"):
            entries = self.registry.entries(profile, key)
            # the cheap check first, the one that imports torch second, checksums last
            if (
                entries
                and all(self._is_there(entry) for entry in entries)
                and (profile != "quality" or self._has_gpu)
                and all(self.problem(entry) is None for entry in entries)
            ):
                return profile
        return "embedded"

    @functools.cached_property
    def _has_gpu(self) -> bool:
        try:
            return self._wanted_device != "cpu" and self.device.startswith("cuda")
        except AnonymizerError:
            # a device that does not exist is reported when a model is loaded
            return False

    def _is_there(self, entry: ModelEntry) -> bool:
        path = entry.path(self.folder)
        return path is not None and path.is_file()

    def _compare_sum(self, entry: ModelEntry, path: Path) -> str | None:
        """What is wrong with the size or the checksum of a file; None: nothing."""
        if entry.size is not None and entry.archive is None and path.stat().st_size != entry.size:
            return f"{path.name} is damaged: it has {path.stat().st_size} bytes, not {entry.size}"
        expected = self._expected_sum(entry)
        if expected is None:
            return f"{path.name} was not downloaded by `models fetch`, which records its sha256"
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            other = "the registry's" if entry.sha256 else "the one recorded at the first download"
            return f"{path.name} is damaged: its sha256 is not {other}"
        return None

    def _expected_sum(self, entry: ModelEntry) -> str | None:
        if entry.sha256 is not None:
            return entry.sha256
        recorded = read_recorded(self.folder).get(entry.id)
        return None if recorded is None else recorded.file

    def _key(self, entry: ModelEntry, object_type: ObjectType) -> str:
        key = f"{entry.id}@{(self._expected_sum(entry) or '')[:16]}"
        maps = entry.calibrations.digest(object_type)
        return f"{key}~{maps}" if maps else key

    def _segmenter(self, entry: ModelEntry) -> Segmenter:
        with self._loading:
            if entry.id not in self._segmenters:
                load = SEGMENTERS[entry.loader]
                base = self.registry.models[entry.base].path(self.folder) if entry.base else None
                self._segmenters[entry.id] = self._load(entry, lambda path: load(path, base, self._target))
            return self._segmenters[entry.id]

    def _load(self, entry: ModelEntry, load: Callable[[Path], T]) -> T:
        # checked again just before it is read: the file may have been replaced in the meantime
        self._verified -= {entry.id, entry.base}
        problem = self.problem(entry)
        path = entry.path(self.folder)
        if problem is not None or path is None:
            raise ModelMissing(f"The model {entry.id} cannot be used ({problem}). Run `{entry.install_command}`.")
        try:
            return load(path)
        except AnonymizerError:
            raise
        except Exception as error:
            # whatever the libraries raise for a file that they cannot read: without the model there is no result
            raise DetectorFailed(f"The model {entry.id} cannot be loaded ({type(error).__name__}).") from error
