"""Stores for models that are named in one text: one model, a profile, or models for each object type."""

from __future__ import annotations

from pathlib import Path

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.registry import AUTO, MASKS
from anonymizer.pipeline.model_zoo.store import ModelStore

__all__ = ["named_models"]


def named_models(
    text: str, folder: Path | None = None, *, device: str = "auto", runtime: str = "auto"
) -> tuple[ModelStore, tuple[ObjectType, ...]]:
    """Make a store for the named models, for an evaluation.

    Args:
        text: the id of one detector, or what `ModelStore` takes as `models`.
        folder: of the models, as `ModelStore` takes it.
        device: as `ModelStore` takes it.
        runtime: as `ModelStore` takes it.

    Returns:
        The store, and the object types to evaluate. For one detector: the types that it detects. For `TYPE=ID+ID,...`:
        these types. Otherwise: all types.

    Raises:
        DetectorFailed: there is no such detector or profile.
    """
    registry = ModelStore(folder, device=device).registry
    entry = registry.models.get(text)
    if entry is not None and not entry.makes_masks:
        choice = ",".join(f"{object_type}={text}" for object_type in entry.object_types)
        return ModelStore(folder, device=device, models=f"embedded,{choice}", runtime=runtime), entry.object_types
    profiles = (AUTO, *registry.profiles)
    if text.partition(",")[0] not in profiles and "=" not in text:
        detectors = ", ".join(entry.id for entry in registry.models.values() if not entry.makes_masks)
        raise DetectorFailed(
            f"There is no profile or detector {text!r}. "
            f"There are: profiles {', '.join(profiles)}; detectors {detectors}."
        )
    store = ModelStore(folder, device=device, models=text, runtime=runtime)
    named = tuple(key for key in OBJECT_TYPES if key in store.choice.overrides.keys() - {MASKS})
    return store, named if named and "=" in text.partition(",")[0] else OBJECT_TYPES
