"""Where models come from: `models/registry.toml` says what there is, a sum that a file is what it should be."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.objects import OBJECT_TYPES, ObjectType

if TYPE_CHECKING:
    from anonymizer.pipeline.detectors.base import Detector

__all__ = ["ModelEntry", "ModelStore"]

FOLDER = Path(__file__).resolve().parents[2] / "models"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the registry."""

    id: str
    description: str
    object_types: tuple[ObjectType, ...]
    loader: str
    file: str
    sha256: str
    licence: str
    source: str
    remedy: str
    package: str | None = None

    def path(self, folder: Path) -> Path | None:
        """Where its file should be; None where the package that brings it is not installed."""
        if self.package is None:
            return folder / self.file
        spec = find_spec(self.package)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.file


class ModelStore:
    """The models of a folder, each loaded once and at first use.

    Args:
        folder: with `registry.toml`; the project's own without.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        face_detector: id of the model that serves faces.

    Raises:
        DetectorFailed: the registry cannot be read, or has no such face detector.
    """

    def __init__(self, folder: Path | None = None, *, device: str = "auto", face_detector: str = "centerface") -> None:
        self.folder = folder or FOLDER
        self._wanted_device = device
        self._entries = _registry(self.folder / "registry.toml")
        if ObjectType.FACE not in getattr(self._entries.get(face_detector), "object_types", ()):
            faces = ", ".join(each.id for each in self._entries.values() if ObjectType.FACE in each.object_types)
            raise DetectorFailed(f"face_detector is {face_detector!r}, but must be one of {faces}.")
        self._face_detector = face_detector
        self._whole: set[str] = set()
        self._loaded: dict[str, Detector] = {}

    @property
    def device(self) -> str:
        """The device that models run on, as torch names it."""
        from anonymizer.pipeline.detectors.base import resolve_device

        return str(resolve_device(self._wanted_device))

    def serves(self) -> dict[ObjectType, str]:
        """The model that serves each object type, where its file is there and whole. Loads nothing."""
        chosen = {each: self._entry(each) for each in OBJECT_TYPES}
        return {each: entry.id for each, entry in chosen.items() if entry is not None and self._problem(entry) is None}

    def problems(self) -> list[str]:
        """What is wrong with the files of the models that serve here, a sentence each."""
        found = (self._problem(entry) for entry in self.described(OBJECT_TYPES))
        return [each for each in found if each is not None]

    def remedy(self, object_type: ObjectType) -> str:
        """The command that brings a model for a type."""
        entry = self._entry(object_type)
        return f"Run `{entry.remedy}`." if entry else "Add a model for it to models/registry.toml."

    def require(self, object_types: Sequence[ObjectType]) -> None:
        """Make sure that a working model serves each of the types. Loads nothing.

        Raises:
            ModelMissing: none does; the sentence names the type and the command that brings one.
        """
        served = self.serves()
        for each in object_types:
            if each not in served:
                entry = self._entry(each)
                why = f" ({self._problem(entry)})" if entry else ""
                raise ModelMissing(f"No working model serves {each.words}{why}. {self.remedy(each)}")

    def described(self, object_types: Sequence[ObjectType]) -> list[ModelEntry]:
        """The models that serve these types, each once. Loads nothing."""
        entries = [self._entry(each) for each in object_types]
        return list({entry.id: entry for entry in entries if entry is not None}.values())

    def keys(self, object_types: Sequence[ObjectType]) -> dict[str, str]:
        """By type, what kept detections of it depend on: the model and its sum."""
        entries = {each: self._entry(each) for each in object_types}
        return {each.value: f"{entry.id}@{entry.sha256[:16]}" for each, entry in entries.items() if entry}

    def detectors(self, object_types: Sequence[ObjectType]) -> list[Detector]:
        """The detectors for these types, each once, loaded.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed: a file is what it should be and does not load, or the device is not there.
        """
        self.require(object_types)
        return [self._load(entry) for entry in self.described(object_types)]

    def _entry(self, object_type: ObjectType) -> ModelEntry | None:
        if object_type is ObjectType.FACE:
            return self._entries[self._face_detector]
        return next((each for each in self._entries.values() if object_type in each.object_types), None)

    def _problem(self, entry: ModelEntry) -> str | None:
        """What is wrong with a model's file; once it was whole it is not looked at again, as sums take a while."""
        if entry.id in self._whole:
            return None
        path = entry.path(self.folder)
        if path is None:
            return f"the package {entry.package} is not installed"
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return f"{path.name} is missing"
        if found != entry.sha256:
            return f"{path.name} is damaged: its sha256 is not the registry's"
        self._whole.add(entry.id)
        return None

    def _load(self, entry: ModelEntry) -> Detector:
        if entry.id not in self._loaded:
            # once more, just before it is read: it may have been exchanged since it was found whole
            self._whole.discard(entry.id)
            problem = self._problem(entry)
            path = entry.path(self.folder)
            if problem is not None or path is None:
                raise ModelMissing(f"The model {entry.id} cannot be used ({problem}). Run `{entry.remedy}`.")
            try:
                self._loaded[entry.id] = _LOADERS[entry.loader](path, self._wanted_device)
            except DetectorFailed:
                raise
            except Exception as error:
                # whatever the libraries say to a file that they cannot read: without it there is no result
                raise DetectorFailed(f"The model {entry.id} cannot be loaded ({type(error).__name__}).") from error
        return self._loaded[entry.id]


def _centerface(path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.centerface import CenterFace

    return CenterFace(path, device=device)


def _own(path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.own import OwnDetector

    return OwnDetector(path, device=device)


_LOADERS: dict[str, Callable[[Path, str], Detector]] = {"centerface": _centerface, "own": _own}


def _registry(file: Path) -> dict[str, ModelEntry]:
    try:
        rows = tomllib.loads(file.read_text())["model"]
        entries = [
            ModelEntry(**row | {"object_types": tuple(ObjectType(each) for each in row["object_types"])})
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorFailed(f"{file} cannot be read: {error}.") from error
    for entry in entries:
        if entry.loader not in _LOADERS:
            raise DetectorFailed(
                f"{file}: {entry.id} has the loader {entry.loader!r}; known are {', '.join(_LOADERS)}."
            )
    return {each.id: each for each in entries}
