"""Looking at every picture of a labelled set, once: what is kept from before is not looked for again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Never

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache, Kept
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.formats import Format

__all__ = ["Predictions", "detection_key", "analyse", "types_of"]

#: raised where the same model and format give other detections than before
VERSION = 1
#: pictures in one batch, and their pixels together
_PICTURES, _PIXELS = 16, 32_000_000

Image = NDArray[np.uint8]


@dataclass
class Predictions:
    """What was found in a set, whatever the score.

    Attributes:
        found: by type and place of the picture in the sequence given, for types that are labelled there.
        digests: by place, of each picture that could be read.
        keys: by type, what the detections depend on.
    """

    found: dict[ObjectType, dict[int, Kept]] = field(default_factory=lambda: defaultdict(dict))
    digests: dict[int, str] = field(default_factory=dict)
    keys: dict[ObjectType, str] = field(default_factory=dict)


def detection_key(anonymizer: Anonymizer, object_type: ObjectType, format: Format) -> str:  # noqa: A002 (the contract's name)
    """What detections of a type depend on besides the picture: models, their sums and calibration, and the format."""
    return f"{VERSION} {object_type} {anonymizer.store.keys([object_type])[object_type.value]} {format}"


def analyse(
    images: Sequence[LabelledImage],
    anonymizer: Anonymizer,
    object_types: Sequence[ObjectType],
    format: Format,  # noqa: A002 (the contract's name)
    *,
    cache: DetectionCache,
    problems: Problems,
    progress: bool = True,
) -> Predictions:
    """What the models find in each picture, of the types that are labelled there.

    Args:
        problems: pictures that cannot be read are added, and left out of what is returned.
        progress: show a bar with the time left while models look.

    Raises:
        BadSet: a picture cannot be read, and problems are strict.
        ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    anonymizer.store.require(object_types)
    looked = Predictions(keys={each: detection_key(anonymizer, each, format) for each in object_types})
    digests = cache.digests(dict.fromkeys(image.path for image in images))
    for place, image in enumerate(images):
        if image.path in digests:
            looked.digests[place] = digests[image.path]
        else:
            problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), "it cannot be read")
    missing = _kept(looked, images, object_types, cache)
    # pictures of one size next to each other, as only these share a batch, and of the same types, as all are looked for
    order = sorted(missing, key=lambda place: (missing[place], images[place].size_hw or (0, 0)))
    with tqdm(total=len(order), desc="looking", unit="picture", disable=not (progress and order)) as bar:
        for image_indices, pixels in _batches(order, images, problems, looked, bar):
            wanted = [each for each in object_types if any(each in missing[place] for place in image_indices)]
            found = anonymizer.engine.detect(pixels, wanted, format)
            for each in wanted:
                new = {
                    place: Kept((image.shape[0], image.shape[1]), of_image.of_type(each))
                    for place, image, of_image in zip(image_indices, pixels, found, strict=True)
                    if each in missing[place]
                }
                looked.found[each] |= new
                # at once: who stops in the middle goes on from here
                cache.keep_found(looked.keys[each], {looked.digests[place]: kept for place, kept in new.items()})
            bar.update(len(image_indices))
    return looked


def _kept(
    looked: Predictions, images: Sequence[LabelledImage], object_types: Sequence[ObjectType], cache: DetectionCache
) -> dict[int, list[ObjectType]]:
    """Take what is kept from before; by place, the types that are still to be looked for."""
    missing: defaultdict[int, list[ObjectType]] = defaultdict(list)
    for each in object_types:
        wanted = {place: digest for place, digest in looked.digests.items() if each in images[place].labelled}
        known = cache.found(looked.keys[each], each, list(dict.fromkeys(wanted.values())))
        for place, digest in wanted.items():
            if digest in known:
                looked.found[each][place] = known[digest]
            else:
                missing[place].append(each)
    return dict(missing)


def _batches(
    order: Sequence[int], images: Sequence[LabelledImage], problems: Problems, looked: Predictions, bar: tqdm[Never]
) -> Iterator[tuple[list[int], list[Image]]]:
    """Pictures that are read while the batch before is looked at."""
    image_indices: list[int] = []
    pixels: list[Image] = []
    for place, image in _read(order, images):
        if isinstance(image, ValueError):
            looked.digests.pop(place)
            for each in looked.found.values():
                each.pop(place, None)
            bar.update(1)
            problems.add(ProblemKind.PICTURE_BROKEN, str(images[place].path), str(image))
            continue
        image_indices.append(place)
        pixels.append(image)
        if len(image_indices) == _PICTURES or sum(each.size for each in pixels) > 3 * _PIXELS:
            yield image_indices, pixels
            image_indices, pixels = [], []
    if image_indices:
        yield image_indices, pixels


def _read(order: Sequence[int], images: Sequence[LabelledImage]) -> Iterator[tuple[int, Image | ValueError]]:
    """Pixels, or what is wrong with the file; a few ahead."""

    def pixels(place: int) -> Image | ValueError:
        try:
            return images[place].pixels()
        except ValueError as error:
            return error

    ahead = _PICTURES // 2
    with ThreadPoolExecutor(1) as pool:
        coming = [(place, pool.submit(pixels, place)) for place in order[:ahead]]
        for number in range(len(order)):
            place, result = coming.pop(0)
            if number + ahead < len(order):
                later = order[number + ahead]
                coming.append((later, pool.submit(pixels, later)))
            yield place, result.result()


def types_of(images: Iterable[LabelledImage]) -> tuple[ObjectType, ...]:
    """The types that are labelled completely in at least one picture."""
    there = {each for image in images for each in image.labelled}
    return tuple(each for each in ObjectType if each in there)
