"""Models as a person names them: one alone, a profile, or some for each type."""

from __future__ import annotations

from pathlib import Path

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.registry import AUTO, MASKS
from anonymizer.pipeline.model_zoo.store import ModelStore

__all__ = ["named_models"]


def named_models(
    text: str, folder: Path | None = None, *, device: str = "auto"
) -> tuple[ModelStore, tuple[ObjectType, ...]]:
    """A store in which these models serve, and the types that they are to be judged by.

    Args:
        text: the id of one model, for the types that it finds; or what `ModelStore` takes as `models`: TYPE=ID+ID, with
            commas between, for these types; everything else is for all types.
        folder, device: as `ModelStore` takes them.

    Raises:
        DetectorFailed: there is no such model or profile, or it finds nothing.
    """
    registry = ModelStore(folder, device=device).registry
    entry = registry.models.get(text)
    if entry is not None and not entry.makes_masks:
        choice = ",".join(f"{each}={text}" for each in entry.object_types)
        return ModelStore(folder, device=device, models=f"embedded,{choice}"), entry.object_types
    profiles = (AUTO, *registry.profiles)
    if text.partition(",")[0] not in profiles and "=" not in text:
        able = ", ".join(each.id for each in registry.models.values() if not each.makes_masks)
        raise DetectorFailed(
            f"There is no profile or detector {text!r}. There are: profiles {', '.join(profiles)}; detectors {able}."
        )
    store = ModelStore(folder, device=device, models=text)
    named = tuple(each for each in OBJECT_TYPES if each in store.choice.overrides.keys() - {MASKS})
    return store, named if named and "=" in text.partition(",")[0] else OBJECT_TYPES
