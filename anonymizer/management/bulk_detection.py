"""`evaluate --ray`: a cluster fills the cache of detections, from which the evaluation then reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.core.management.base import CommandError

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.metrics.detection_cache import CachedDetections, DetectionCache
from anonymizer.evaluation.metrics.predictions import detection_key, missing_images
from anonymizer.management.base import UsageError
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.formats import Format

__all__ = ["detect_on_cluster"]


def detect_on_cluster(
    images: Sequence[LabelledImage],
    make: Callable[[], Anonymizer],
    object_types: Sequence[ObjectType],
    form: Format,
    cache: DetectionCache,
    *,
    address: str,
    num_cpus: float,
    num_gpus: float,
) -> None:
    """Put the detections of all images into the cache that are not in it yet.

    Args:
        images: the labelled images; those that cannot be read are left for the evaluation, which tells it.
        make: makes the anonymizer with the models; it must be picklable.
        object_types: what to detect.
        form: how images are divided into windows.
        cache: of the evaluation.
        address: of the cluster.
        num_cpus, num_gpus: of each actor.

    Raises:
        UsageError: Ray is not installed, or a number is too small.
        CommandError: the cluster cannot be reached, or cannot go on.
    """
    from anonymizer.bulk.cluster import ActorPool, BulkFailed, require_ray

    try:
        require_ray()
        pool = ActorPool(num_cpus=num_cpus, num_gpus=num_gpus)
    except (BulkFailed, ValueError) as error:
        raise UsageError(str(error)) from error
    from anonymizer.bulk.detection import detect

    anonymizer = make()
    keys = {kind: detection_key(anonymizer, kind, form) for kind in object_types}
    paths = missing_images(images, anonymizer, object_types, form, cache)
    if not paths:
        return
    digests = cache.digests(paths)
    try:
        for found in detect(paths, object_types, form, make_anonymizer=make, address=address, pool=pool):
            for kind, key in keys.items():
                entry = CachedDetections(found.size_hw, found.detections.of_type(kind))
                cache.put_detections(key, {digests[found.path]: entry})
    except BulkFailed as error:
        raise CommandError(str(error)) from error
