"""Measure what a model's scores mean, and store the calibrations in the registry of models.

Usage: `python -m anonymizer.evaluation.thresholds.calibrate MODEL ...`

A calibration maps a score to the probability that the detection is right. It is fitted on every other image of a
labelled set (isotonic regression; Zadrozny and Elkan, KDD 2002) and tested on the remaining images. Small objects and
enlarged views get a calibration of their own where the remaining images show clearly that they need one.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.metrics.matching import match_detections
from anonymizer.evaluation.thresholds.calibration_fit import (
    MIN_DETECTIONS,
    MIN_OBJECTS,
    JudgedDetections,
    every_other,
    fit_calibration,
    is_clearly_better,
    reliability_error,
)
from anonymizer.pipeline.detection.calibration import SMALL_PX, Calibration, Calibrations
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.second_look import MAX_ZOOM
from anonymizer.pipeline.detection.windows import detect_windows, with_scales
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.registry import CALIBRATION_KEYS
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Tiles, Whole

__all__ = [
    "MIN_DETECTIONS",
    "MIN_OBJECTS",
    "find_entry",
    "fit_calibration",
    "fit_calibrations",
    "format_calibrations",
    "judge_detections",
    "reliability_error",
    "write_calibrations",
]

#: the data sets of val in which a type is fully labelled
SOURCES = (
    "fddb", "wider", "masks", "anpr", "cars", "dashcam", "plates-world", "voc", "highway", "coco-person", "coco",
    "kitti", "cctv-traffic",
)  # fmt: skip
ALL, SMALL = "all", f"under {SMALL_PX} px"
#: by size of the table, the limits of the shorter side in pixels of the image
SIZES = {
    ALL: (0.0, np.inf),
    SMALL: (0.0, SMALL_PX),
    f"{SMALL_PX} to {2 * SMALL_PX} px": (SMALL_PX, 2 * SMALL_PX),
    f"{2 * SMALL_PX} px and more": (2 * SMALL_PX, np.inf),
}
#: enlarged views are measured on such tiles
CLOSE_TILES = Tiles(2, 2, 0.2, 0.2)
_COLUMNS = (
    "model", "type", "views", "size", "detections", "right", "error as scored", "error calibrated",
    "error with a map of its own",
)  # fmt: skip


def judge_detections(
    detector: Detector,
    images: Iterable[LabelledImage],
    *,
    object_types: Sequence[ObjectType],
    problems: Problems | None = None,
    close: bool = False,
) -> dict[ObjectType, JudgedDetections]:
    """Run a detector on labelled images and judge what it detects, with the scores as the detector gives them.

    Args:
        detector: the detector.
        images: the labelled images. In each image, only the types that are fully labelled count.
        object_types: the types to detect.
        problems: unreadable images are added to it and left out; default: raise an error for them.
        close: detect in enlarged tiles; default: in the whole image.

    Returns:
        The detections by object type, for types that are labelled in an image. Those of ignored objects are left out.

    Raises:
        ValueError: an image cannot be read, and there is no `problems`.
    """
    parts = defaultdict[ObjectType, list[JudgedDetections]](list)
    for image in images:
        types = [object_type for object_type in object_types if object_type in image.labelled]
        if types and (pixels := _read_pixels(image, problems)) is not None:
            found = _detect_close(pixels, detector, types) if close else _detect_whole(pixels, detector, types)
            for object_type in types:
                parts[object_type].append(_judge(found.of_type(object_type), image, object_type))
    return {object_type: JudgedDetections.merge(of_type) for object_type, of_type in parts.items()}


def _detect_whole(pixels: NDArray[np.uint8], detector: Detector, types: Sequence[ObjectType]) -> Detections:
    return detect_windows([pixels], Whole(), detector, types)[0]


def _detect_close(pixels: NDArray[np.uint8], detector: Detector, types: Sequence[ObjectType]) -> Detections:
    """What the detector finds in enlarged tiles of an image, with its own scores."""

    def only_close(detections: Detections, *, close: bool) -> Detections:
        return detections if close else Detections.empty()

    long_side = max(pixels.shape[:2])
    # a tile as large as the whole image at its largest scale, but not larger than a second look makes it
    most = MAX_ZOOM * long_side / (CLOSE_TILES.columns - (CLOSE_TILES.columns - 1) * CLOSE_TILES.overlap_x)
    enlarging = with_scales(detector, (min(max(detector.scales(long_side)), round(most)),))
    return detect_windows([pixels], CLOSE_TILES, enlarging, types, only_close)[0]


def _judge(found: Detections, image: LabelledImage, object_type: ObjectType) -> JudgedDetections:
    objects, found = image.objects[object_type], found[np.argsort(-found.scores, kind="stable")]
    rows = match_detections(found.boxes, objects)
    counts = np.array([row is None or not objects.ignored[row] for row in rows], bool)
    hits = np.array([row is not None for row in rows], bool)
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1, initial=np.inf)
    return JudgedDetections(found.scores, hits, sides, np.full(len(found), image.id, np.int64))[counts]


def _read_pixels(image: LabelledImage, problems: Problems | None) -> NDArray[np.uint8] | None:
    try:
        return image.pixels()
    except ValueError as error:
        if problems is None:
            raise
        problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
        return None


@dataclass(frozen=True)
class ReliabilityRow:
    """How well the chances of some detections come true, on images that no calibration was fitted to.

    Attributes:
        views: `whole` or `close`.
        size: which objects, a key of `SIZES`.
        detections: how many there are.
        right: how many of them are objects.
        as_scored: the expected calibration error of the scores.
        calibrated: that of the chances by the map of all objects.
        own: that of the chances by a map for these detections alone; None: there is none.
        is_kept: whether that map is clearly better, and therefore kept.
    """

    views: str
    size: str
    detections: int
    right: int
    as_scored: float
    calibrated: float
    own: float | None = None
    is_kept: bool = False


def fit_calibrations(
    object_type: ObjectType, whole: JudgedDetections, close: JudgedDetections, fitting: Collection[int]
) -> tuple[Calibrations, list[ReliabilityRow]]:
    """Fit the calibrations of one object type on some images, and judge them on the others.

    Small objects, and enlarged views, get a map of their own if it is clearly better on the images that it was not
    fitted to. Its Brier score must be lower there by more than 1.64 standard errors (`is_clearly_better`). It is shrunk
    to the map of all objects. If small objects have their own map, the other objects have one fitted without them.

    Args:
        object_type: of the detections.
        whole: detections in whole images.
        close: detections in enlarged views.
        fitting: the ids of the images to fit on; all others are judged on.

    Returns:
        The calibrations, and the rows of a table about them.

    Raises:
        ValueError: there are too few detections or objects for a calibration.
    """
    (fit, test), (close_fit, close_test) = whole.halves(fitting), close.halves(fitting)
    common = fit_calibration(fit.found)
    small, small_row = _own_map("whole", SMALL, _of_size(fit, SMALL), _of_size(test, SMALL), common)
    near, near_row = _own_map("close", ALL, close_fit, close_test, common)
    rows = [small_row if size == SMALL else _row("whole", size, _of_size(test, size), common) for size in SIZES]
    others = common if small is None else _fit_or_none(fit[fit.sides >= SMALL_PX]) or common
    maps = [{} if each is None else {object_type: each} for each in (others, small, near)]
    return Calibrations(*maps), [*rows, near_row]


def _own_map(
    views: str, size: str, fit: JudgedDetections, test: JudgedDetections, common: Calibration
) -> tuple[Calibration | None, ReliabilityRow]:
    """A map for some detections alone, if it is clearly better than the common one; and what was measured."""
    row, own = _row(views, size, test, common), _fit_or_none(fit, common)
    if own is None:
        return None, row
    is_kept = is_clearly_better(test.calibrated(own), test.calibrated(common))
    row = replace(row, own=reliability_error(test.found, own), is_kept=is_kept)
    return own if is_kept else None, row


def _row(views: str, size: str, test: JudgedDetections, common: Calibration) -> ReliabilityRow:
    errors = reliability_error(test.found), reliability_error(test.found, common)
    return ReliabilityRow(views, size, len(test), test.objects, *errors)


def _of_size(detections: JudgedDetections, size: str) -> JudgedDetections:
    low, high = SIZES[size]
    return detections[(detections.sides >= low) & (detections.sides < high)]


def _fit_or_none(detections: JudgedDetections, parent: Calibration | None = None) -> Calibration | None:
    try:
        return fit_calibration(detections.found, parent=parent)
    except ValueError:
        # too few
        return None


def write_calibrations(registry: Path, model_id: str, calibrations: Calibrations) -> None:
    """Write the calibrations of a model into its entry of the registry.

    They replace all existing maps of their object types. The maps of other types stay.

    Args:
        registry: the file `registry.toml`.
        model_id: the id of the model.
        calibrations: of the object types that were measured.

    Raises:
        ValueError: the registry has no such model.
    """
    text = registry.read_text(encoding="utf-8")
    entry = find_entry(text, model_id)
    if not entry:
        raise ValueError(f"{registry} has no model {model_id!r}.")
    (row,) = tomllib.loads(entry)["model"]
    before = Calibrations.read({name: row.get(key, {}) for key, name in CALIBRATION_KEYS.items()})
    others = [before.of_type(each) for each in OBJECT_TYPES if each not in calibrations.whole]
    rest = re.sub(rf"^({'|'.join(CALIBRATION_KEYS)}) = .*\n", "", entry, flags=re.M)
    lines = "".join(f"{line}\n" for line in format_calibrations(Calibrations.merge([calibrations, *others])))
    registry.write_text(text.replace(entry, rest + lines), encoding="utf-8")


def find_entry(text: str, model_id: str) -> str:
    """Find the lines of a model in the text of a registry, in which the id is the first line.

    Args:
        text: the content of `registry.toml`.
        model_id: the id of the model.

    Returns:
        The lines; empty if there is no such model.
    """
    entry = re.search(rf'^\[\[model\]\]\nid = "{re.escape(model_id)}"\n(?:(?!\[|#|\n).*\n)*', text, re.M)
    return entry[0] if entry else ""


def format_calibrations(calibrations: Calibrations) -> list[str]:
    """Format calibrations as lines of the registry.

    Args:
        calibrations: the maps of one model.

    Returns:
        A line for each kind of views and objects that has a map.
    """
    kinds = {key: getattr(calibrations, name) for key, name in CALIBRATION_KEYS.items()}
    return [f"{key} = {{ {_format_maps(maps)} }}" for key, maps in kinds.items() if maps]


def _format_maps(maps: Mapping[ObjectType, Calibration]) -> str:
    return ", ".join(
        f"{object_type} = [{', '.join(f'[{score:g}, {chance:g}]' for score, chance in of_type.knots)}]"
        for object_type, of_type in maps.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anonymizer.evaluation.thresholds.calibrate",
        description="Measure what the scores of models mean: fit calibrations on every other image of a labelled set, "
        "and print the calibration error on the remaining images.",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="id of a model in the registry")
    parser.add_argument(
        "--set", type=Path, default=Path("../shared/data/val.json"), metavar="PATH",
        help="a labelled set in the format of COCO, YOLO or Pascal VOC (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--source", nargs="+", default=SOURCES, metavar="NAME",
        help=f"use only the images from these data sets (default: {' '.join(SOURCES)})",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N images of each data set (default: all)")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), metavar="PATH",
        help="the folder with the registry and the weights (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--write", action="store_true",
        help="write the calibrations into the registry; those of small objects and enlarged views only where they are "
        "clearly better",
    )  # fmt: skip
    return parser


def main() -> None:
    """Calibrate the models that are named on the command line."""
    parser = _parser()
    args = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    try:
        images = list(LabelledSet.read(args.set).of(args.source, args.limit))
        store = ModelStore(args.folder, device=args.device)
        print(f"The errors are on the images that no calibration was fitted to.\n\n| {' | '.join(_COLUMNS)} |")
        print("|" + "---|" * len(_COLUMNS))
        for model_id in args.models:
            calibrations = _calibrate(store.detector(model_id), model_id, images)
            if args.write:
                write_calibrations(args.folder / store.registry.models[model_id].registry, model_id, calibrations)
    except (ValueError, OSError, AnonymizerError) as error:
        parser.exit(1, f"{error}\n")


def _calibrate(detector: Detector, model_id: str, images: Sequence[LabelledImage]) -> Calibrations:
    """Fit the calibrations of a model, and print the rows of the table for each object type."""
    whole, close = (
        judge_detections(
            detector, tqdm(images, desc=f"{model_id}, {views}"), object_types=detector.object_types, close=close
        )
        for views, close in (("whole", False), ("close", True))
    )
    fitting, parts = every_other(images), []
    for object_type in whole:
        try:
            calibrations, rows = fit_calibrations(object_type, whole[object_type], close[object_type], fitting)
        except ValueError as error:
            raise ValueError(f"{model_id}, {object_type}: {error}") from error
        parts.append(calibrations)
        for row in rows:
            print(_table_line(model_id, object_type, row), flush=True)
    return Calibrations.merge(parts)


def _table_line(model_id: str, object_type: ObjectType, row: ReliabilityRow) -> str:
    own = "" if row.own is None else f"{row.own:.3f} ({'kept' if row.is_kept else 'not clearly better'})"
    cells = (model_id, object_type, row.views, row.size, row.detections, row.right)
    errors = (f"{row.as_scored:.3f}", f"{row.calibrated:.3f}", own)
    return f"| {' | '.join(map(str, (*cells, *errors)))} |"


if __name__ == "__main__":
    main()
