"""The one place where the steps meet: load, detect, choose, redact, encode."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline import masks, metadata, overlay, redaction
from anonymizer.pipeline.calibration import Calibration
from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter
from anonymizer.pipeline.image_io import Limits, Picture, encode_picture, encode_png, load_picture
from anonymizer.pipeline.mask_cover import BOX, box_mask, covering
from anonymizer.pipeline.model_store import ModelStore
from anonymizer.pipeline.objects import Detections, Mask, ObjectType
from anonymizer.pipeline.options import Format, Method, Options, Whole
from anonymizer.pipeline.refinement import Refinement
from anonymizer.pipeline.shapes import Shape, shapes
from anonymizer.pipeline.tiling import View, at_sides, find, merged

if TYPE_CHECKING:
    from anonymizer.pipeline.detectors.base import Detector
    from anonymizer.pipeline.segmentation import Segmenter
    from anonymizer.pipeline.video import VideoProgress, VideoResult

__all__ = ["Anonymizer", "ImageResult"]

#: a picture is looked at much smaller than it is from this ratio on
MUCH = 1.25

Source = str | PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True)
class ImageResult:
    """All that came of one picture.

    Attributes:
        picture: what was loaded.
        pixels: the redacted picture, upright, in the shape and dtype of `picture.pixels`.
        detections: what reached its threshold.
        found: all that the detectors gave, whatever the score.
        shapes: where pixels were changed.
        object_types: what was looked for.
        models: the models that looked.
        warnings: what a caller should know of how it was looked at.
        coverage: what a reviewer would want to look at, in numbers.
        seconds: of detection and redaction, without reading and writing.
    """

    picture: Picture
    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    detections: Detections
    found: Detections
    shapes: Sequence[Shape]
    options: Options
    object_types: tuple[ObjectType, ...]
    models: tuple[str, ...]
    warnings: tuple[str, ...]
    coverage: Mapping[str, int]
    seconds: float
    legacy_masks: bool = False

    @property
    def name(self) -> str:
        return self.picture.name or "image" + self.picture.info.extension

    @property
    def counts(self) -> dict[str, int]:
        """How many were redacted of each object type that was looked for."""
        return metadata.counts(self.detections, self.object_types)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The redacted picture as (h, w, 3) uint8 RGB, upright."""
        return replace(self.picture, pixels=self.pixels).rgb()

    @property
    def binary_mask(self) -> NDArray[np.uint8]:
        """(h, w) uint8, 255 = anonymised."""
        return masks.binary_mask(self.shapes, self.picture.size_hw)

    @property
    def instance_mask(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8, as the contract says."""
        return masks.instance_mask(self.shapes, self.picture.size_hw, legacy=self.legacy_masks)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the contract."""
        return metadata.image_metadata(
            self.name, self.picture.size_hw, self.detections, self.shapes, self.options, seconds=self.seconds
        )

    def encode(self) -> bytes:
        """The redacted picture as a file of the format that came in.

        Raises:
            InvalidParameter: the method is `detect`, which makes no picture.
        """
        if self.options.method is Method.DETECT:
            raise InvalidParameter("method", "detect", "blur, pixelate or blacken for an anonymised picture")
        return encode_picture(
            self.picture,
            self.pixels,
            quality=self.options.quality,
            compress_level=self.options.compress_level,
            strip_metadata=self.options.strip_metadata,
        )

    def save(self, path: str | PathLike[str], *, any_ending: bool = False) -> None:
        """Write the redacted picture, in the format that came in; the file appears whole or not at all.

        Args:
            any_ending: do not mind an ending of another format.

        Raises:
            InvalidParameter: the path's ending is of another format, or the method is `detect`.
        """
        path = Path(path)
        if not any_ending and not self.picture.info.accepts(path.name):
            ending = self.picture.info.extension
            raise InvalidParameter("path", path.name, f"a name that ends in {ending}, the format that came in")
        write_whole(path, self.encode())

    def save_extras(self, folder: str | PathLike[str], stem: str) -> None:
        """Write the masks that the options ask for, and the metadata, beside each other in a folder."""
        folder, options = Path(folder), self.options
        if options.save_mask.binary:
            write_whole(
                folder / f"{stem}.binary-mask.png", encode_png(masks.scaled(self.binary_mask, options.mask_scale))
            )
        if options.save_mask.instance:
            write_whole(
                folder / f"{stem}.instance-mask.png", encode_png(masks.scaled(self.instance_mask, options.mask_scale))
            )
        write_whole(folder / f"{stem}.json", json.dumps(self.metadata, indent=1).encode())


class Anonymizer:
    """Finds and redacts. One of them loads each model once; it may be used by one thread at a time.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: where models come from; without, those that are installed.
        limits: what is too large.
        noise_key: secret that the noise under blur and pixelate depends on besides the picture.
        legacy_masks: instance masks in the older layout.
        segment: the object types that get a segmentation: by the installed model for it, or without one.
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
        self.store = store or ModelStore(device=device)
        self.limits = limits or Limits()
        self._noise_key = noise_key
        self._legacy_masks = legacy_masks
        self._segment = tuple(segment)

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
        (found,) = self.find([picture.rgb()], object_types, options.format)
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
        return self.find(pixels, object_types or tuple(self.store.serves()), format or Whole())

    def find(
        self,
        images: Sequence[NDArray[np.uint8]],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the contract's name)
        *,
        sides: Callable[[Detector], tuple[int, ...]] | None = None,
    ) -> list[Detections]:
        """Run every detector that the object types need over every pixel of each (h, w, 3) RGB image.

        Args:
            sides: the scales in which a detector looks at whole images; its own without.

        Scores are mapped to chances by each model's calibration. Where several models serve a type, each object is
        there once, with the higher score: a second model only adds.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        detectors, serves = self.store.detectors(object_types), self.store.serves()
        parts = []
        for detector in detectors:
            types = [each for each in object_types if detector.id in serves[each]]
            calibration = self.store.calibration(detector.id)
            looking = detector if sides is None else at_sides(detector, sides(detector))
            parts.append([_calibrated(each, calibration) for each in find(images, format, looking, types)])
        together = any(len(serves[each]) > 1 for each in object_types)
        return [
            _of_all(of_one, image.shape[:2]) if together else Detections.merge(of_one)
            for image, of_one in zip(images, zip(*parts, strict=True), strict=True)
        ]

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
            found = self.segmented(picture.size_hw, picture.rgb, found, over)
        chosen = found[over]
        where = shapes(chosen, picture.size_hw, options)
        pixels = redaction.redact(picture.pixels, where, options, seed=self._seed(picture))
        if options.debug:
            pixels = overlay.draw(pixels, chosen, where, scores=options.score)
        detectors = self.store.detectors(object_types)
        return ImageResult(
            picture=picture,
            pixels=pixels,
            detections=chosen,
            found=found,
            shapes=where,
            options=options,
            object_types=tuple(object_types),
            models=tuple(dict.fromkeys([*(each.id for each in detectors), *_mask_models(chosen, options)])),
            warnings=tuple(_squeezed(picture.size_hw, options.format, detectors)),
            coverage=metadata.coverage(found, picture.size_hw, options, {d.id: d.least_size for d in detectors}),
            seconds=seconds + time.perf_counter() - started,
            legacy_masks=self._legacy_masks,
        )

    def segmented(
        self,
        size_hw: tuple[int, int],
        rgb: Callable[[], NDArray[np.uint8]],
        found: Detections,
        over: NDArray[np.bool_],
    ) -> Detections:
        """With masks for those objects that are to have one and have none.

        Args:
            size_hw: of the picture.
            rgb: gives the picture, (h, w, 3) uint8; called only where a mask is to be made.
            over: (n,) which of the objects are redacted.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory: masks could not be made.
        """
        found = replace(found, masks=tuple(_believed(found, row, size_hw) for row in range(len(found))))
        wanted = over & np.isin(found.types, [each.number for each in self._segment])
        rows = [int(row) for row in np.flatnonzero(wanted) if found.masks[row] is None]
        if not rows:
            return found
        segmenter: Segmenter = self.store.segmenter() or Refinement()
        made = segmenter.segment(rgb(), found.boxes[rows], found.types[rows])
        if len(made) != len(rows):
            raise DetectorFailed(f"The segmenter {segmenter.id} gave {len(made)} masks for {len(rows)} objects.")
        all_masks = list(found.masks)
        for row, mask in zip(rows, made, strict=True):
            # what could not be segmented is kept as a box, so that it is not tried again; a face keeps its ellipse
            all_masks[row] = mask or _unsegmented(found, row, size_hw)
        return replace(found, masks=tuple(all_masks))

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
        from anonymizer.pipeline.video import anonymise_video

        return anonymise_video(
            self, Path(source), Path(folder), options or Options(), name=name, progress=progress, stop=stop
        )

    @property
    def legacy_masks(self) -> bool:
        """Whether instance masks have the older layout."""
        return self._legacy_masks

    @property
    def noise_key(self) -> bytes:
        """The secret that noise depends on."""
        return self._noise_key[:64]

    def _seed(self, picture: Picture) -> int:
        digest = hashlib.blake2b(cast("Any", np.ascontiguousarray(picture.pixels)), key=self._noise_key[:64])
        return int.from_bytes(digest.digest()[:8], "big")


def _calibrated(found: Detections, calibration: Mapping[ObjectType, Calibration]) -> Detections:
    """With chances in place of scores, for the types that have a calibration; by falling score."""
    scores = found.scores.copy()
    for each, chance in calibration.items():
        mine = found.types == each.number
        scores[mine] = chance(scores[mine])
    return replace(found, scores=scores)[np.argsort(-scores, kind="stable")]


def _of_all(parts: Sequence[Detections], size_hw: tuple[int, ...]) -> Detections:
    """What several models found in one picture, each object once."""
    height, width = size_hw
    whole = View(0, 0, width, height, max(height, width))
    return merged([(whole, each) for each in parts], (height, width), agreement=0, one_of_each=True)


def _believed(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    """A detector's own mask held to what every segmenter's has to keep; those of segmenters are."""
    mask, (height, width) = found.masks[row], size_hw
    if mask is None or mask.source:
        return mask
    box = np.clip(found.boxes[row], 0, np.array([width, height] * 2, np.float32))
    return covering(mask.pixels, mask.x, mask.y, box, size_hw, mask.source)


def _unsegmented(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    return None if found.object_type(row) is ObjectType.FACE else box_mask(found.boxes[row], size_hw)


def _mask_models(chosen: Detections, options: Options) -> list[str]:
    """The models that made masks of what is redacted."""
    if options.bbox:
        return []
    return [mask.source for mask in chosen.masks if mask is not None and mask.source not in ("", BOX)]


def _squeezed(size_hw: tuple[int, int], format: Format, detectors: Sequence[Detector]) -> Iterator[str]:  # noqa: A002
    """A warning for each detector that saw a large picture only made much smaller."""
    long_side = max(size_hw)
    for each in detectors if isinstance(format, Whole) else ():
        largest = max(each.sides(long_side))
        least = each.least_size * long_side / largest
        if long_side > MUCH * largest:
            yield (
                f"The picture has {long_side} pixels on its long side and {each.id} looked at it in {largest}: "
                f"objects under {least:.0f} pixels may be missed. format=auto looks closer."
            )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is visible only when it is complete; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
