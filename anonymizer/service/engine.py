"""The process-wide `Anonymizer`, made from the settings."""

from __future__ import annotations

import functools
import hashlib

from django.conf import settings

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import ModelMissing
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore

__all__ = ["anonymizer", "limits", "require_models", "served_types", "store", "takes_videos"]


@functools.cache
def store() -> ModelStore:
    """Where this process takes its models from."""
    return ModelStore(settings.MODELS_DIR, device=settings.DEVICE, models=settings.MODELS)


@functools.cache
def anonymizer() -> Anonymizer:
    """This process's one pipeline: models load once."""
    secret = hashlib.blake2b(settings.SECRET_KEY.encode(), person=b"noise").digest()
    return Anonymizer(store=store(), limits=limits(), noise_key=secret, legacy_masks=settings.LEGACY_INSTANCE_MASK)


def limits() -> Limits:
    """What is too large here."""
    return Limits(
        bytes=settings.MAX_BYTES,
        megapixels=settings.MAX_MEGAPIXELS,
        video_bytes=settings.MAX_VIDEO_BYTES,
        seconds=settings.MAX_VIDEO_LENGTH.total_seconds(),
    )


def takes_videos() -> bool:
    """Whether this server has workers for them."""
    return bool(settings.VIDEO_WORKERS > 0)


def served_types() -> tuple[ObjectType, ...]:
    """The object types this server was started with; without any, those for which a model is installed."""
    if settings.OBJECT_TYPES is None:
        installed = store().serves()
        return tuple(each for each in OBJECT_TYPES if each in installed)
    return tuple(each for each in OBJECT_TYPES if each in settings.OBJECT_TYPES)


def require_models(object_types: tuple[ObjectType, ...]) -> None:
    """Make sure that a working model serves each of the types.

    Raises:
        ModelMissing: there is none; the sentence names the type and the command that brings one.
    """
    if not object_types:
        raise ModelMissing("No object type is served: run `python manage.py check` for what is missing.")
    store().require(object_types)
