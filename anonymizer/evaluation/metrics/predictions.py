"""Run the models on every image of a labelled set, once: detections that are in the cache are not computed again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.metrics.detection_cache import CachedDetections, DetectionCache
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.formats import Format

__all__ = ["Predictions", "detection_key", "labelled_types", "missing_images", "predict"]

#: part of the cache key; raise it if the same model and format give other detections than before
VERSION = 4
#: the most images in one batch, and the most pixels in all of them together
_BATCH_IMAGES, _BATCH_PIXELS = 16, 32_000_000

Image = NDArray[np.uint8]


@dataclass
class Predictions:
    """The detections of all images of a set, down to the lowest scores.

    Attributes:
        detections: by object type and by the index of the image, for the types that are labelled in the image.
        digests: by the index of the image, the hash of each file that could be read.
        keys: by object type, what the detections depend on besides the image (`detection_key`).
    """

    detections: dict[ObjectType, dict[int, CachedDetections]] = field(default_factory=lambda: defaultdict(dict))
    digests: dict[int, str] = field(default_factory=dict)
    keys: dict[ObjectType, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{object_type}: {sum(len(entry.detections) for entry in of_image.values())} detections"
            for object_type, of_image in self.detections.items()
        )
        return f"Predictions({len(self.digests)} images{', ' if counts else ''}{counts})"


def detection_key(anonymizer: Anonymizer, object_type: ObjectType, format: Format) -> str:  # noqa: A002 (the contract's name)
    """Describe what the detections of a type depend on besides the image, as a key for the cache.

    Args:
        anonymizer: with the models.
        object_type: the type.
        format: how images are divided into windows for the detectors.

    Returns:
        A key with the models, their checksums and calibrations, and the format.
    """
    return f"{VERSION} {object_type} {anonymizer.store.keys([object_type])[object_type.value]} {format}"


def predict(
    images: Sequence[LabelledImage],
    anonymizer: Anonymizer,
    object_types: Sequence[ObjectType],
    format: Format,  # noqa: A002 (the contract's name)
    *,
    cache: DetectionCache,
    problems: Problems,
    progress: bool = True,
) -> Predictions:
    """Detect objects in each image, for those object types that are labelled in it.

    Args:
        images: the labelled images.
        anonymizer: with the models.
        object_types: what to detect.
        format: how images are divided into windows for the detectors.
        cache: detections are read from it, and new ones are stored in it.
        problems: unreadable images are added to it. They are left out of the result.
        progress: show a bar with the time left.

    Returns:
        The detections.

    Raises:
        InvalidDataset: an image cannot be read, and `problems` is strict.
        ModelMissing: no model is installed for one of the object types.
        DetectorFailed: a detector failed.
        OutOfMemory: the memory is not enough.
        TooManyObjects: an image has more detections than are allowed.
    """
    anonymizer.store.require(object_types)
    predictions = Predictions(keys={name: detection_key(anonymizer, name, format) for name in object_types})
    digests = cache.digests(dict.fromkeys(image.path for image in images))
    for index, image in enumerate(images):
        if image.path in digests:
            predictions.digests[index] = digests[image.path]
        else:
            problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), "it cannot be read")
    missing = _read_cache(predictions, images, object_types, cache)
    # a batch holds images of one size, for which the same types are missing: so sort by these
    order = sorted(missing, key=lambda index: (missing[index], images[index].size_hw or (0, 0)))
    with tqdm(total=len(order), desc="detecting", unit="image", disable=not (progress and order)) as bar:
        for indices, pixels in _batches(order, images, problems, predictions, bar):
            wanted = [name for name in object_types if any(name in missing[index] for index in indices)]
            detected = anonymizer.engine.detect_images(pixels, wanted, format)
            for object_type in wanted:
                new = {
                    index: CachedDetections((image.shape[0], image.shape[1]), detections.of_type(object_type))
                    for index, image, detections in zip(indices, pixels, detected, strict=True)
                    if object_type in missing[index]
                }
                predictions.detections[object_type] |= new
                # stored after each batch, so that an interrupted evaluation continues here
                rows = {predictions.digests[index]: entry for index, entry in new.items()}
                cache.put_detections(predictions.keys[object_type], rows)
            bar.update(len(indices))
    return predictions


def missing_images(
    images: Sequence[LabelledImage],
    anonymizer: Anonymizer,
    object_types: Sequence[ObjectType],
    format: Format,  # noqa: A002 (the contract's name)
    cache: DetectionCache,
) -> list[Path]:
    """List the images that `predict` would run a model on, each once.

    Args:
        images, anonymizer, object_types, format, cache: as for `predict`.
    """
    digests = cache.digests(dict.fromkeys(image.path for image in images))
    predictions = Predictions(
        digests={index: digests[image.path] for index, image in enumerate(images) if image.path in digests},
        keys={name: detection_key(anonymizer, name, format) for name in object_types},
    )
    return list(dict.fromkeys(images[index].path for index in _read_cache(predictions, images, object_types, cache)))


def _read_cache(
    predictions: Predictions,
    images: Sequence[LabelledImage],
    object_types: Sequence[ObjectType],
    cache: DetectionCache,
) -> dict[int, list[ObjectType]]:
    """Add what is in the cache; return by image index the types that must still be detected."""
    missing: defaultdict[int, list[ObjectType]] = defaultdict(list)
    for object_type in object_types:
        wanted = {
            index: digest for index, digest in predictions.digests.items() if object_type in images[index].labelled
        }
        digests = list(dict.fromkeys(wanted.values()))
        known = cache.get_detections(predictions.keys[object_type], object_type, digests)
        for index, digest in wanted.items():
            if digest in known:
                predictions.detections[object_type][index] = known[digest]
            else:
                missing[index].append(object_type)
    return dict(missing)


def _batches(
    order: Sequence[int],
    images: Sequence[LabelledImage],
    problems: Problems,
    predictions: Predictions,
    bar: tqdm[Never],
) -> Iterator[tuple[list[int], list[Image]]]:
    """Batches of image indices and pixels; the next images are read while the detectors run."""
    indices: list[int] = []
    pixels: list[Image] = []
    for index, image in _read_images(order, images):
        if isinstance(image, ValueError):
            predictions.digests.pop(index)
            for of_image in predictions.detections.values():
                of_image.pop(index, None)
            bar.update(1)
            problems.add(ProblemKind.PICTURE_BROKEN, str(images[index].path), str(image))
            continue
        indices.append(index)
        pixels.append(image)
        if len(indices) == _BATCH_IMAGES or sum(array.size for array in pixels) > 3 * _BATCH_PIXELS:
            yield indices, pixels
            indices, pixels = [], []
    if indices:
        yield indices, pixels


def _read_images(order: Sequence[int], images: Sequence[LabelledImage]) -> Iterator[tuple[int, Image | ValueError]]:
    """The index and the pixels of each image, or what is wrong with its file; a few are read in advance."""

    def pixels(index: int) -> Image | ValueError:
        try:
            return images[index].pixels()
        except ValueError as error:
            return error

    ahead = _BATCH_IMAGES // 2
    with ThreadPoolExecutor(1) as pool:
        pending = [(index, pool.submit(pixels, index)) for index in order[:ahead]]
        for number in range(len(order)):
            index, future = pending.pop(0)
            if number + ahead < len(order):
                later = order[number + ahead]
                pending.append((later, pool.submit(pixels, later)))
            yield index, future.result()


def labelled_types(images: Iterable[LabelledImage]) -> tuple[ObjectType, ...]:
    """Get the object types that are fully labelled in at least one image.

    Args:
        images: the labelled images.
    """
    labelled = {object_type for image in images for object_type in image.labelled}
    return tuple(object_type for object_type in ObjectType if object_type in labelled)
