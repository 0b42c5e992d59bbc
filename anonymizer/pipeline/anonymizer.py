"""The library's entry point: `Anonymizer` finds and redacts pictures and videos."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.images.io import Picture, load_picture
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Format, Whole
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata, overlay
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.results import ImageResult, VideoProgress, VideoResult
from anonymizer.pipeline.segmentation.mask_rules import BOX

__all__ = ["Anonymizer"]

#: a picture is analysed much smaller than it is from this ratio on
MUCH_SMALLER = 1.25

Source = str | PathLike[str] | bytes | BinaryIO


class Anonymizer:
    """Finds and redacts objects in pictures and videos. It loads each model once; one thread at a time may use it.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: where models come from; default: the installed models.
        limits: the largest file that is accepted.
        noise_key: secret that the noise of `blur` and `pixelate` depends on besides the picture.
        legacy_masks: write instance masks in the older layout.
        segment: the object types that get a segmentation mask.

    Raises:
        DetectorFailed: the device does not exist, or the registry of models cannot be read.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        store: ModelStore | None = None,
        limits: Limits | None = None,
        noise_key: bytes = b"",
        legacy_masks: bool = False,
        segment: Sequence[ObjectType] = (ObjectType.PERSON, ObjectType.VEHICLE),
    ) -> None:
        self.engine = Engine(
            device=device, store=store, limits=limits, noise_key=noise_key, legacy_masks=legacy_masks, segment=segment
        )

    @property
    def store(self) -> ModelStore:
        """Where models come from."""
        return self.engine.store

    @property
    def limits(self) -> Limits:
        """The largest file that is accepted."""
        return self.engine.limits

    def image(self, source: Source, options: Options | None = None, *, name: str | None = None) -> ImageResult:
        """Anonymise one picture.

        Args:
            source: path, bytes or binary file.
            name: shown in the metadata; the file's name without.

        Raises:
            AnonymizerError: one of its kinds, for a bad file, a missing model or a detector that failed.
        """
        options = options or Options()
        picture = load_picture(source, limits=self.limits, name=name)
        started = time.perf_counter()
        object_types = options.object_types(tuple(self.store.serves()))
        (found,) = self.engine.detect([picture.rgb()], object_types, options.format)
        return self.render(picture, found, object_types, options, seconds=time.perf_counter() - started)

    def images(self, sources: Iterable[Source], options: Options | None = None) -> Iterator[ImageResult]:
        """Anonymise many, one after the other, with what `image` raises."""
        for source in sources:
            yield self.image(source, options)

    def detect(
        self,
        images: Sequence[Source | NDArray[np.uint8]],
        object_types: Sequence[ObjectType] | None = None,
        format: Format | None = None,  # noqa: A002 (the contract's name)
    ) -> list[Detections]:
        """All that the detectors give for each picture, whatever the score.

        Args:
            images: paths, bytes, files, or (h, w, 3) uint8 RGB arrays.
            object_types: what to look for; every installed type without.
        """
        pixels = [
            image if isinstance(image, np.ndarray) else load_picture(image, limits=self.limits).rgb()
            for image in images
        ]
        return self.engine.detect(pixels, object_types or tuple(self.store.serves()), format or Whole())

    def render(
        self,
        picture: Picture,
        found: Detections,
        object_types: Sequence[ObjectType],
        options: Options,
        *,
        seconds: float = 0.0,
    ) -> ImageResult:
        """Apply the options to what was found: no detector runs.

        What is to be redacted and has no mask yet gets one here, unless boxes are asked for; `found` of the result
        holds it, so that other options for the same picture cost nothing more.

        Args:
            seconds: that finding took.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory: masks could not be made.
        """
        started = time.perf_counter()
        found = found.of_type(*object_types)
        over = metadata.over_threshold(found, options)
        if not options.bbox:
            found = self.engine.add_masks(picture.size_hw, picture.rgb, found, over)
        chosen = found[over]
        regions = redaction_regions(chosen, picture.size_hw, options)
        pixels = redact(picture.pixels, regions, options, seed=self._seed(picture))
        if options.debug:
            pixels = overlay.draw(pixels, chosen, regions, scores=options.score)
        detectors = self.store.detectors(object_types)
        return ImageResult(
            picture=picture,
            pixels=pixels,
            detections=chosen,
            found=found,
            regions=regions,
            options=options,
            object_types=tuple(object_types),
            models=tuple(dict.fromkeys([*(each.id for each in detectors), *_mask_models(chosen, options)])),
            warnings=tuple(_downscale_warnings(picture.size_hw, options.format, detectors)),
            review_counts=metadata.review_counts(
                found, picture.size_hw, options, {d.id: d.least_size for d in detectors}
            ),
            seconds=seconds + time.perf_counter() - started,
            legacy_masks=self.engine.legacy_masks,
        )

    def video(
        self,
        source: str | PathLike[str],
        folder: str | PathLike[str],
        options: Options | None = None,
        *,
        name: str | None = None,
        progress: Callable[[VideoProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> VideoResult:
        """Anonymise one video.

        Args:
            source: path of the video.
            folder: where the result's files go; exists.
            name: shown in the metadata; the file's name without.
            progress: told about twice a second how far it is, from the calling thread.
            stop: asked as often; True ends the work.

        Raises:
            Cancelled: `stop` said so.
            AnonymizerError: one of its kinds, for a bad file, a missing model, a detector or an encoder that failed.
        """
        from anonymizer.pipeline.video.job import anonymise_video

        return anonymise_video(
            self.engine, Path(source), Path(folder), options or Options(), name=name, progress=progress, stop=stop
        )

    def _seed(self, picture: Picture) -> int:
        digest = hashlib.blake2b(cast("Any", np.ascontiguousarray(picture.pixels)), key=self.engine.noise_key)
        return int.from_bytes(digest.digest()[:8], "big")


def _mask_models(chosen: Detections, options: Options) -> list[str]:
    """The models that made masks of what is redacted."""
    if options.bbox:
        return []
    return [mask.source for mask in chosen.masks if mask is not None and mask.source not in ("", BOX)]


def _downscale_warnings(size_hw: tuple[int, int], format: Format, detectors: Sequence[Detector]) -> Iterator[str]:  # noqa: A002
    """A warning for each detector that saw a large picture only made much smaller."""
    long_side = max(size_hw)
    for each in detectors if isinstance(format, Whole) else ():
        largest = max(each.sides(long_side))
        least = each.least_size * long_side / largest
        if long_side > MUCH_SMALLER * largest:
            yield (
                f"The picture has {long_side} pixels on its long side and {each.id} looked at it in {largest}: "
                f"objects under {least:.0f} pixels may be missed. format=auto looks closer."
            )
