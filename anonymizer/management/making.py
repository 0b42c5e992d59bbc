"""What makes the `Anonymizer` of a command, also in worker processes and on other machines: it imports no Django."""

from __future__ import annotations

from pathlib import Path

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.model_zoo.store import ModelStore

__all__ = ["make_anonymizer", "make_named_anonymizer"]


def make_anonymizer(
    target: tuple[str, str],
    folder: Path,
    models: str,
    limits: Limits,
    *,
    legacy_masks: bool = False,
    noise_key: bytes | None = None,
) -> Anonymizer:
    """Make an `Anonymizer` from settings.

    Args:
        target: device and runtime.
        folder: the folder of models.
        models: which of them, as in `ANONYMIZER_MODELS`.
        limits: the largest file that is accepted.
        legacy_masks, noise_key: as for `Anonymizer`.
    """
    device, runtime = target
    store = ModelStore(folder, device=device, models=models, runtime=runtime)
    return Anonymizer(store=store, limits=limits, legacy_masks=legacy_masks, noise_key=noise_key)


def make_named_anonymizer(name: str, target: tuple[str, str], folder: Path, limits: Limits) -> Anonymizer:
    """Make an `Anonymizer` of a model, a profile of models, or models by type, as `evaluate --model` names them.

    Args:
        name: of the models.
        target, folder, limits: as for `make_anonymizer`.
    """
    store, _ = named_models(name, folder, device=target[0], runtime=target[1])
    return Anonymizer(store=store, limits=limits)
