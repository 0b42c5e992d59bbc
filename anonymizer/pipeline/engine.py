"""What pictures and videos share: the models, the limits, detection in every view, and masks for what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detection.merging import merged
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.windows import View, at_sides, detect_windows
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Format
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.pipeline.segmentation.mask_rules import box_mask, covering
from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["Engine"]


class Engine:
    """Runs detectors and segmenters. It loads each model once; one thread at a time may use it.

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
        self.store = store or ModelStore(device=device)
        self.limits = limits or Limits()
        #: at most the 64 bytes that BLAKE2b takes
        self.noise_key = noise_key[:64]
        self.legacy_masks = legacy_masks
        self._segment = tuple(segment)

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the contract's name)
        *,
        sides: Callable[[Detector], tuple[int, ...]] | None = None,
    ) -> list[Detections]:
        """Run every detector that the object types need over every pixel of each image.

        Scores are mapped to chances by each model's calibration. Where several models serve a type, each object is
        returned once, with the higher score: a second model only adds.

        Args:
            images: (h, w, 3) uint8 RGB, of any sizes.
            object_types: the types to detect.
            format: how large images are cut into views.
            sides: the scales, as long sides in pixels, in which a detector sees whole images; default: its own.

        Returns:
            One `Detections` for each image, whatever the scores.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        detectors, serves = self.store.detectors(object_types), self.store.serves()
        parts = []
        for detector in detectors:
            types = [object_type for object_type in object_types if detector.id in serves[object_type]]
            calibration = self.store.calibration(detector.id)
            scaled = detector if sides is None else at_sides(detector, sides(detector))
            found = detect_windows(images, format, scaled, types)
            parts.append([_calibrated(detections, calibration) for detections in found])
        together = any(len(serves[object_type]) > 1 for object_type in object_types)
        return [
            _merged_models(of_image, image.shape[:2]) if together else Detections.merge(of_image)
            for image, of_image in zip(images, zip(*parts, strict=True), strict=True)
        ]

    def add_masks(
        self,
        size_hw: tuple[int, int],
        rgb: Callable[[], NDArray[np.uint8]],
        found: Detections,
        over: NDArray[np.bool_],
    ) -> Detections:
        """Add the missing segmentation masks.

        Args:
            size_hw: height and width of the picture in pixels.
            rgb: gives the picture, (h, w, 3) uint8; called only where a mask has to be made.
            found: n objects.
            over: (n,) which of the objects are redacted; the others get no mask.

        Returns:
            The same objects with masks.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory: masks could not be made.
        """
        found = replace(found, masks=tuple(_validated_mask(found, row, size_hw) for row in range(len(found))))
        wanted = over & np.isin(found.types, [object_type.number for object_type in self._segment])
        rows = [int(row) for row in np.flatnonzero(wanted) if found.masks[row] is None]
        if not rows:
            return found
        segmenter: Segmenter = self.store.segmenter() or HeuristicSegmenter()
        made = segmenter.segment(rgb(), found.boxes[rows], found.types[rows])
        if len(made) != len(rows):
            raise DetectorFailed(f"The segmenter {segmenter.id} gave {len(made)} masks for {len(rows)} objects.")
        all_masks = list(found.masks)
        for row, mask in zip(rows, made, strict=True):
            # what could not be segmented is kept as a box, so that it is not tried again; a face keeps its ellipse
            all_masks[row] = mask or _unsegmented(found, row, size_hw)
        return replace(found, masks=tuple(all_masks))


def _calibrated(found: Detections, calibration: Mapping[ObjectType, Calibration]) -> Detections:
    """Chances in place of scores, for the types that have a calibration; by falling score."""
    scores = found.scores.copy()
    for object_type, chance in calibration.items():
        of_type = found.types == object_type.number
        scores[of_type] = chance(scores[of_type])
    return replace(found, scores=scores)[np.argsort(-scores, kind="stable")]


def _merged_models(parts: Sequence[Detections], size_hw: tuple[int, ...]) -> Detections:
    """What several models found in one picture, each object once."""
    height, width = size_hw
    whole = View(0, 0, width, height, max(height, width))
    return merged([(whole, part) for part in parts], (height, width), agreement=0, one_of_each=True)


def _validated_mask(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    """A detector's own mask, held to the rules that every segmenter keeps; the masks of segmenters as they are."""
    mask, (height, width) = found.masks[row], size_hw
    if mask is None or mask.source:
        return mask
    box = np.clip(found.boxes[row], 0, np.array([width, height] * 2, np.float32))
    return covering(mask.pixels, mask.x, mask.y, box, size_hw, mask.source)


def _unsegmented(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    return None if found.object_type(row) is ObjectType.FACE else box_mask(found.boxes[row], size_hw)
