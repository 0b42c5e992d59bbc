"""The one `Anonymizer` of this process, made from the settings."""

from __future__ import annotations

import functools
import hashlib

from django.conf import settings

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import ModelMissing
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.options import Options

__all__ = ["anonymizer", "limits", "require_models", "served_types", "store", "takes_videos"]


@functools.cache
def store() -> ModelStore:
    """Return the store that this process loads its models from."""
    return ModelStore(settings.MODELS_DIR, device=settings.DEVICE, models=settings.MODELS, runtime=settings.RUNTIME)


@functools.cache
def anonymizer() -> Anonymizer:
    """Return the one pipeline of this process, so that models are loaded once."""
    secret = hashlib.blake2b(settings.SECRET_KEY.encode(), person=b"noise").digest()
    return Anonymizer(store=store(), limits=limits(), noise_key=secret, legacy_masks=settings.LEGACY_INSTANCE_MASK)


def limits() -> Limits:
    """Return the largest files that this server accepts."""
    return Limits(
        bytes=settings.MAX_BYTES,
        megapixels=settings.MAX_MEGAPIXELS,
        video_bytes=settings.MAX_VIDEO_BYTES,
        seconds=settings.MAX_VIDEO_LENGTH.total_seconds(),
    )


def takes_videos() -> bool:
    """Return whether this server has workers for videos."""
    return bool(settings.VIDEO_WORKERS > 0)


def served_types() -> tuple[ObjectType, ...]:
    """Return the object types that the settings name; default: every type with an installed model."""
    if settings.OBJECT_TYPES is None:
        installed = store().serves()
        return tuple(object_type for object_type in OBJECT_TYPES if object_type in installed)
    return tuple(object_type for object_type in OBJECT_TYPES if object_type in settings.OBJECT_TYPES)


def require_models(object_types: tuple[ObjectType, ...], options: Options) -> None:
    """Make sure that a working model serves each of the object types.

    No type at all is right only where the options have `regions`.

    Raises:
        ModelMissing: a type has no model; the message names the type and the command that installs one.
    """
    if not object_types and not options.regions:
        raise ModelMissing("No model is installed for any object type. `anonymizer manage check` says what is missing.")
    store().require(object_types)
