"""Measure what a model's scores mean, and store the calibration in the registry of models.

Usage: `python -m anonymizer.evaluation.thresholds.calibrate MODEL ...`

A calibration maps a score to the probability that the detection is right. It is fitted on every other image of a
labelled set (isotonic regression; Zadrozny and Elkan, KDD 2002) and tested on the remaining images.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from tqdm import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detection.windows import detect_windows
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import Options

__all__ = [
    "MIN_DETECTIONS",
    "count_detections",
    "find_entry",
    "fit_calibration",
    "format_calibration",
    "reliability_error",
    "write_calibration",
]

KNOTS = 12
BINS = 10
#: the highest chance: no score is certain
MAX_CHANCE = 0.99
#: the smallest group of detections for one knot, and the smallest number of detections for a calibration
MIN_GROUP, MIN_DETECTIONS = 10, 50

#: (score, whether the detection is an object) of each detection
ScoredHits = Sequence[tuple[float, bool]]


def fit_calibration(detections: ScoredHits, *, knots: int = KNOTS) -> Calibration:
    """Fit the rising function from scores to chances that is nearest to the data (isotonic regression).

    Args:
        detections: (score, whether it is an object) of each detection.
        knots: the most knots of the function.

    Returns:
        The calibration.

    Raises:
        ValueError: there are fewer than `MIN_DETECTIONS` detections, or none of them is an object.
    """
    if len(detections) < MIN_DETECTIONS or not any(hit for _, hit in detections):
        raise ValueError(f"{len(detections)} detections are too few for a calibration, or none of them is an object.")
    scores, hits = np.array(sorted(detections), float).T
    chances = isotonic_regression(hits).x
    # one knot at the mean of each group; half of the groups follow the scores of hits, half those of all detections
    shares = np.linspace(0, 1, knots // 2 + 1)[:-1]
    edges = np.unique(np.concatenate([np.quantile(scores, shares), np.quantile(scores[hits > 0], shares)]))
    group = np.searchsorted(edges, scores, side="right")
    members = [group == number for number in np.unique(group) if (group == number).sum() >= MIN_GROUP]
    pairs = [(0.0, 0.0), *((scores[rows].mean(), chances[rows].mean()) for rows in members), (1.0, 1.0)]
    at, level = np.round(pairs, 4).T
    kept = np.concatenate([np.diff(at) > 0.005, [True]])
    # tiny steps between knots of the same chance keep the order of the scores
    level = np.append(np.minimum(level[kept][:-1], MAX_CHANCE) + 1e-4 * np.arange(kept.sum() - 1), 1)
    return Calibration.read(np.stack([at[kept], np.maximum.accumulate(level)], 1).round(4).tolist())


def reliability_error(detections: ScoredHits, chance: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Compute the expected calibration error (Naeini et al., AAAI 2015).

    It is the mean difference between the predicted chance and the share of hits, over ten bins of the chance.

    Args:
        detections: (score, whether it is an object) of each detection.
        chance: a function from scores to chances; default: the score is the chance.

    Returns:
        The error, 0..1.
    """
    scores, hits = np.array(detections, float).reshape(-1, 2).T
    chances = chance(scores)
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    errors = [abs(chances[bins == n].mean() - hits[bins == n].mean()) * (bins == n).sum() for n in np.unique(bins)]
    return float(sum(errors) / max(1, len(detections)))


def count_detections(
    detector: Detector,
    images: Iterable[LabelledImage],
    *,
    object_types: Sequence[ObjectType],
    problems: Problems | None = None,
) -> dict[ObjectType, dict[int, DetectionCounts]]:
    """Run a detector on labelled images and count its hits, with the scores as the detector gives them.

    Args:
        detector: the detector.
        images: the labelled images. In each image, only the types that are fully labelled count.
        object_types: the types to detect.
        problems: unreadable images are added to it and left out; default: raise an error for them.

    Returns:
        The counts by object type and by the id of the image.

    Raises:
        ValueError: an image cannot be read, and there is no `problems`.
    """
    options, counts_of = Options(), defaultdict[ObjectType, dict[int, DetectionCounts]](dict)
    for image in images:
        types = [object_type for object_type in object_types if object_type in image.labelled]
        if types and (pixels := _read_pixels(image, problems)) is not None:
            (detections,) = detect_windows([pixels], Whole(), detector, types)
            for object_type in types:
                of_type, counts = detections.of_type(object_type), DetectionCounts(options.threshold(object_type))
                counts.add(of_type.boxes, of_type.scores, image.objects[object_type])
                counts_of[object_type][image.id] = counts
    return counts_of


def _read_pixels(image: LabelledImage, problems: Problems | None) -> NDArray[np.uint8] | None:
    try:
        return image.pixels()
    except ValueError as error:
        if problems is None:
            raise
        problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
        return None


def write_calibration(registry: Path, model_id: str, calibration: Mapping[ObjectType, Calibration]) -> None:
    """Write a calibration into a model's entry of the registry. It replaces the existing one.

    Args:
        registry: the file `registry.toml`.
        model_id: the id of the model.
        calibration: by object type.

    Raises:
        ValueError: the registry has no such model.
    """
    text = registry.read_text(encoding="utf-8")
    entry = find_entry(text, model_id)
    if not entry:
        raise ValueError(f"{registry} has no model {model_id!r}.")
    rest = re.sub(r"^calibration = .*\n", "", entry, flags=re.M)
    registry.write_text(text.replace(entry, f"{rest}{format_calibration(calibration)}\n"), encoding="utf-8")


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


def format_calibration(calibration: Mapping[ObjectType, Calibration]) -> str:
    """Format a calibration as a line of the registry.

    Args:
        calibration: by object type.
    """
    maps = ", ".join(
        f"{object_type} = [{', '.join(f'[{score:g}, {chance:g}]' for score, chance in of_type.knots)}]"
        for object_type, of_type in calibration.items()
    )
    return f"calibration = {{ {maps} }}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anonymizer.evaluation.thresholds.calibrate",
        description="Measure what the scores of models mean: fit a calibration on every other image of a labelled set, "
        "and print the calibration error on the remaining images.",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="id of a model in the registry")
    parser.add_argument(
        "--set", type=Path, default=Path("../shared/data/val.json"), metavar="PATH",
        help="a labelled set in the format of COCO, YOLO or Pascal VOC (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--source", nargs="+", default=("fddb", "anpr", "cars", "dashcam", "voc", "highway"), metavar="NAME",
        help="use only the images from these data sets (default: fddb anpr cars dashcam voc highway)",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N images of each data set (default: all)")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), metavar="PATH",
        help="the folder with the registry and the weights (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the calibrations into the registry")
    return parser


def main() -> None:
    """Calibrate the models that are named on the command line."""
    parser = _parser()
    args = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    try:
        images = list(LabelledSet.read(args.set).of(args.source, args.limit))
        store = ModelStore(args.folder, device=args.device)
        print("| model | type | detections | error as scored | error calibrated |\n|---|---|---|---|---|")
        for model_id in args.models:
            calibration = _calibrate(store.detector(model_id), model_id, images)
            if args.write:
                write_calibration(args.folder / store.registry.models[model_id].registry, model_id, calibration)
    except (ValueError, OSError, AnonymizerError) as error:
        parser.exit(1, f"{error}\n")


def _calibrate(detector: Detector, model_id: str, images: Sequence[LabelledImage]) -> dict[ObjectType, Calibration]:
    """Fit a calibration for each object type of a model, and print a row of the table for each."""
    fitting_ids, calibration = _every_other(images), {}
    counts_of = count_detections(detector, tqdm(images, desc=model_id), object_types=detector.object_types)
    for object_type, of_image in counts_of.items():
        fitting = [row for number, counts in of_image.items() if number in fitting_ids for row in counts.found]
        testing = [row for number, counts in of_image.items() if number not in fitting_ids for row in counts.found]
        try:
            calibration[object_type] = fit_calibration(fitting)
        except ValueError as error:
            raise ValueError(f"{model_id}, {object_type}: {error}") from error
        before, after = reliability_error(testing), reliability_error(testing, calibration[object_type])
        print(f"| {model_id} | {object_type} | {len(testing)} | {before:.3f} | {after:.3f} |", flush=True)
    return calibration


def _every_other(images: Iterable[LabelledImage]) -> set[int]:
    """The ids of every other image of each data set."""
    by_source: defaultdict[str, list[int]] = defaultdict(list)
    for image in images:
        by_source[image.source].append(image.id)
    return {number for numbers in by_source.values() for number in numbers[::2]}


if __name__ == "__main__":
    main()
