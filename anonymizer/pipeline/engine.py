"""The engine that images and videos share: models, limits, detection in all views, and segmentation masks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detection.calibration import unweigh_misses, weigh_misses
from anonymizer.pipeline.detection.composites import cover_all_looks, further_looks
from anonymizer.pipeline.detection.detail import detailed_views
from anonymizer.pipeline.detection.looks import run_looks
from anonymizer.pipeline.detection.merging import join_doubles, merge_views
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.second_look import CARRIERS, RegionShare, SecondLook, find_regions
from anonymizer.pipeline.detection.turned import Orientation, look_at_orientations, same_objects, turn, turn_back
from anonymizer.pipeline.detection.windows import View, closest_scale, detect_all_windows, merge_looks, with_scales
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.devices import check_device
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.images.io import Picture
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Tiles
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.pipeline.segmentation.mask_rules import apply_mask_rules, box_mask, with_box_masks
from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["Engine"]

#: from this score on, a person or a vehicle that a turned image shows may lie on its side
SIDEWAYS = 0.2
#: In a frame of a video, the regions of a second look take at most this share of the pixels of the image, and one
#: region more. Canvases are about twice as large, as they are not filled.
CLOSER_SHARE = 0.3


class Engine:
    """Runs detectors and segmenters. It loads each model once. Several threads may use it at once.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: the models; default: the installed models.
        limits: the largest file that is accepted; default: `Limits()`.
        noise_key: secret from which, together with the image, the noise of `blur` and `pixelate` is made;
            default: a random one, so that the same image gets other noise in another process.
        legacy_masks: write instance masks in the older layout.
        segment: the object types that get a segmentation mask.

    Raises:
        InvalidParameter: the device has another name.
        DetectorFailed: the registry of models cannot be read.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        store: ModelStore | None = None,
        limits: Limits | None = None,
        noise_key: bytes | None = None,
        legacy_masks: bool = False,
        segment: Sequence[ObjectType] = (ObjectType.PERSON, ObjectType.VEHICLE),
    ) -> None:
        check_device(device)
        self.store = store or ModelStore(device=device)
        self.limits = limits or Limits()
        #: at most the 64 bytes that BLAKE2b takes
        self.noise_key = (secrets.token_bytes(32) if noise_key is None else noise_key)[:64]
        self.legacy_masks = legacy_masks
        self._segment = tuple(segment)

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the API's name)
        *,
        scales: Callable[[Detector], tuple[int, ...]] | None = None,
        closer_turns: Sequence[int] | None = None,
    ) -> list[Detections]:
        """Run all detectors that the object types need, on all pixels of each image.

        With the format `auto`, they run a second time where the first time found or suspected something. So they do in
        frames of a video with `closer_turns`, in a share of the regions that takes a bounded time.

        The calibration of a model maps its scores to chances. If several models serve a type, each object is returned
        once, with the higher chance and the mean of the boxes: a second model only adds objects. At the end, the
        chances are weighted by what a miss costs (`weigh_misses`).

        Args:
            images: (h, w, 3) uint8 RGB, of any sizes.
            object_types: the types to detect; none: nothing is found.
            format: how images are cut into views.
            scales: for a detector, the long sides in pixels at which it analyses whole images; none: it does not run.
                Default: its own.
            closer_turns: of each image, a number that counts up from frame to frame: which regions are looked at a
                second time, where these are too many for one frame. Default: no second time, unless for `auto`.

        Returns:
            One `Detections` for each image, whatever the scores.

        Raises:
            ModelMissing: no working model serves a type.
            DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        if not object_types:
            return [Detections.empty() for _ in images]
        detectors, serves = self.store.detectors(object_types), self.store.serves()
        if scales is not None:
            detectors = [detector for detector in detectors if scales(detector)]
        scaled = [detector if scales is None else with_scales(detector, scales(detector)) for detector in detectors]
        served = [
            [object_type for object_type in object_types if detector.id in serves[object_type]]
            for detector in detectors
        ]
        looks_closer, runs = isinstance(format, Auto) or closer_turns is not None, []
        for detector, types in zip(scaled, served, strict=True):
            # persons and vehicles show where a second look is worth it, also where they are not asked for
            carriers = set(CARRIERS) & set(detector.object_types) if looks_closer else set()
            runs.append((detector, [*{*types, *carriers}], self.store.calibrations(detector.id).apply))
        parts = detect_all_windows(images, format, runs)
        if looks_closer:
            parts = self._after_second_look(images, scaled, served, parts, format, closer_turns)
        together = any(len(serves[object_type]) > 1 for object_type in object_types)
        merged = [
            _merged_models(of_image, image.shape[:2]) if together else Detections.merge(of_image)
            for image, of_image in zip(images, zip(*parts, strict=True), strict=True)
        ]
        return [self._weighted(of_image) for of_image in merged]

    def detect_more(
        self,
        images: Sequence[NDArray[np.uint8]],
        first: Sequence[Detections],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the API's name)
        *,
        scales: Callable[[Detector], tuple[int, ...]],
    ) -> list[Detections]:
        """Run further detectors, or further scales, after `detect`.

        Args:
            images: (h, w, 3) uint8 RGB, of any sizes.
            first: of each image, what was detected before.
            object_types: the types to detect.
            format: how images are cut into views.
            scales: for a detector, the long sides in pixels at which it analyses whole images; none: it does not run.

        Returns:
            One `Detections` for each image, with each object once.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        more = self.detect(images, object_types, format, scales=scales)
        # boxes are fused by their chances, as in `detect`
        looks = [[self._unweighted(look) for look in pair] for pair in zip(first, more, strict=True)]
        pairs = zip(images, looks, strict=True)
        return [self._weighted(_merged_models(of_image, image.shape[:2])) for image, of_image in pairs]

    def detect_images(
        self,
        images: Sequence[NDArray[np.uint8]],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the API's name)
    ) -> list[Detections]:
        """Run `detect` on images, and again in each orientation that shows more than upright (`look_at_orientations`).

        Panoramas, and images with tiles that the caller chose, are analysed upright only.

        Args:
            images: (h, w, 3) uint8 RGB, of any sizes.
            object_types: the types to detect.
            format: how images are cut into views.

        Returns:
            One `Detections` for each image, whatever the scores, with each object once. A person who may lie has the
            whole box as its mask, as no rule tells where the head is; so has a vehicle that a turned image shows.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        found = self.detect(images, object_types, format)
        if not object_types or isinstance(format, Pano | Tiles):
            return found
        scout = max(self.store.detectors(object_types), key=lambda detector: len(detector.object_types))
        calibrate = self.store.calibrations(scout.id).apply
        seen = look_at_orientations(images, found, object_types, scout, calibrate)
        return [
            self._after_turns(image, of_image, orientation, object_types, format)
            for image, of_image, orientation in zip(images, found, seen, strict=True)
        ]

    def _after_turns(
        self,
        image: NDArray[np.uint8],
        found: Detections,
        orientation: Orientation,
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the API's name)
    ) -> Detections:
        """Analyse an image in further orientations, and give persons who may lie their boxes as masks."""
        size_hw = image.shape[0], image.shape[1]
        sideways = [
            turn_back(self.detect([turn(image, quarters)], object_types, format)[0], quarters, size_hw)
            for quarters in orientation.turns
        ]
        merged = _merged_models([found, *sideways], size_hw) if sideways else found
        turned = Detections.merge(sideways)
        rows = same_objects(merged, turned[turned.scores >= SIDEWAYS])
        if orientation.may_lie:
            rows |= merged.types == ObjectType.PERSON.number
        # the source of a detection's own mask: it stays if another segmenter makes all others again
        return with_box_masks(merged, rows, size_hw, source="")

    def detect_pictures(
        self,
        pictures: Sequence[Picture],
        object_types: Sequence[ObjectType],
        format: Format,  # noqa: A002 (the API's name)
    ) -> list[Detections]:
        """Run `detect_images` on images that may have transparency or 16 bits.

        Args:
            pictures: of any sizes. Those that may show an object in another way too (`further_looks`) are looked at
                again in each of these ways.
            object_types: the types to detect.
            format: how images are cut into views.

        Returns:
            One `Detections` for each image, whatever the scores, with each object once.

        Raises:
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        found = self.detect_images([picture.rgb() for picture in pictures], object_types, format)
        for number, picture in enumerate(pictures):
            # one look at a time: together they would take much memory
            more = [self.detect_images([look], object_types, format)[0] for look in further_looks(picture)]
            if more:
                looks = Detections.merge([found[number], *more])
                merged = cover_all_looks(_merged_models([found[number], *more], picture.size_hw), looks)
                rows = same_objects(merged, looks[_has_whole_box(looks)])
                found[number] = with_box_masks(merged, rows, picture.size_hw, source="")
        return found

    def _after_second_look(
        self,
        images: Sequence[NDArray[np.uint8]],
        detectors: Sequence[Detector],
        served: Sequence[Sequence[ObjectType]],
        first: Sequence[Sequence[Detections]],
        format: Format,  # noqa: A002 (the API's name)
        closer_turns: Sequence[int] | None,
    ) -> list[list[Detections]]:
        """Look again where the first look of all detectors found or suspected something.

        Args:
            images: (h, w, 3) uint8 RGB, of any sizes.
            detectors: that ran.
            served: by detector, the object types that are asked of it.
            first: by detector and image, what its first look found.
            format: of the first look.
            closer_turns: of each image; None: without a limit, and in detailed parts of the images too.

        Returns:
            By detector and image, what it found of its object types in both looks.
        """
        wanted = {object_type for types in served for object_type in types}
        regions = [
            find_regions(Detections.merge(of_image), image.shape[:2], wanted)
            for image, of_image in zip(images, zip(*first, strict=True), strict=True)
        ]
        details = cache(lambda index, side: detailed_views(images[index], side) if closer_turns is None else [])
        shares = None
        if closer_turns is not None:
            shares = [
                RegionShare(CLOSER_SHARE * image[..., 0].size, number)
                for image, number in zip(images, closer_turns, strict=True)
            ]
        planned = []
        for detector, types in zip(detectors, served, strict=True):
            scales = [closest_scale(image.shape[:2], format, detector) for image in images]
            planned.append(SecondLook.plan(images, regions, details, detector, types, scales, shares=shares))
        parts = []
        results = run_looks([second.look for second in planned])
        for second, of_canvases, types, found in zip(planned, results, served, first, strict=True):
            again = second.parts(of_canvases, self.store.calibrations(second.look.detector.id).apply)
            parts.append(
                [
                    merge_looks(of_image.of_type(*types), closer, image.shape[:2])
                    for image, of_image, closer in zip(images, found, again, strict=True)
                ]
            )
        return parts

    def _unweighted(self, found: Detections) -> Detections:
        """Get the chances back."""
        miss_costs = np.array(list(self.store.miss_costs(OBJECT_TYPES).values()))
        return replace(found, scores=unweigh_misses(found.scores, miss_costs[found.types]))

    def _weighted(self, found: Detections) -> Detections:
        """Weight chances by what a miss of the type costs; sorted by falling score."""
        miss_costs = np.array(list(self.store.miss_costs(OBJECT_TYPES).values()))
        scores = weigh_misses(found.scores, miss_costs[found.types])
        return replace(found, scores=scores)[np.argsort(-scores, kind="stable")]

    def add_masks(
        self,
        size_hw: tuple[int, int],
        rgb: Callable[[], NDArray[np.uint8]],
        found: Detections,
        over: NDArray[np.bool_],
    ) -> Detections:
        """Add the missing segmentation masks.

        Args:
            size_hw: height and width of the image in pixels.
            rgb: returns the image, (h, w, 3) uint8 RGB; called only if a mask has to be made.
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
            # an object that the segmenter missed gets a box as its mask, so that it is not tried again
            all_masks[row] = mask or _unsegmented(found, row, size_hw)
        return replace(found, masks=tuple(all_masks))


def _merged_models(parts: Sequence[Detections], size_hw: tuple[int, ...]) -> Detections:
    """Merge the detections of several models in one image, so that each object is there once."""
    height, width = size_hw
    whole = View(0, 0, width, height, max(height, width))
    merged = merge_views([(whole, part) for part in parts], (height, width), agreement=0, one_of_each=True)
    # Plates are not joined: a box that holds two finds of one plate is much larger than the plate.
    return join_doubles(merged, ObjectType.FACE)


def _has_whole_box(found: Detections) -> NDArray[np.bool_]:
    """Which objects have their whole box as the mask that their detection gave them."""
    return np.array([mask is not None and not mask.source and bool(mask.pixels.all()) for mask in found.masks], bool)


def _validated_mask(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    """Apply the rules of segmenters to the mask of a detector; masks of segmenters stay as they are."""
    mask, (height, width) = found.masks[row], size_hw
    if mask is None or mask.source:
        return mask
    box = np.clip(found.boxes[row], 0, np.array([width, height] * 2, np.float32))
    return apply_mask_rules(mask.pixels, mask.x, mask.y, box, size_hw, mask.source, found.object_type(row))


def _unsegmented(found: Detections, row: int, size_hw: tuple[int, int]) -> Mask | None:
    return None if found.object_type(row) is ObjectType.FACE else box_mask(found.boxes[row], size_hw)
