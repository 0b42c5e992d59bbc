"""`python -m anonymizer.evaluation.thresholds.calibrate`: what a model's scores mean, measured, and kept in the registry.

Fitted on every other picture of a labelled set, judged on the rest: knots for `models/registry.toml`, and a table.
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
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import Options

__all__ = ["LEAST_FOUND", "entry_of", "fit", "line", "reliability_error", "tallies"]

KNOTS = 12
BINS = 10
CERTAIN = 0.99
#: a group of fewer detections says nothing, and a calibration takes so many
LEAST, LEAST_FOUND = 10, 50

Found = Sequence[tuple[float, bool]]


def fit(found: Found, *, knots: int = KNOTS) -> Calibration:
    """The rising map from scores to chances that is nearest to what was found (isotonic regression).

    Args:
        found: (score, whether it was an object) of each detection.
        knots: at most so many.

    Raises:
        ValueError: there are fewer than `LEAST_FOUND` detections, or none was an object.
    """
    if len(found) < LEAST_FOUND or not any(hit for _, hit in found):
        raise ValueError(f"{len(found)} detections are too few for a calibration, or none of them was an object.")
    scores, hits = np.array(sorted(found), float).T
    chances = isotonic_regression(hits).x
    # a knot at the mean of each group: as many groups follow the objects as follow all that was found
    halves = np.linspace(0, 1, knots // 2 + 1)[:-1]
    edges = np.unique(np.concatenate([np.quantile(scores, halves), np.quantile(scores[hits > 0], halves)]))
    group = np.searchsorted(edges, scores, side="right")
    rows = [group == n for n in np.unique(group) if (group == n).sum() >= LEAST]
    pairs = [(0.0, 0.0), *((scores[each].mean(), chances[each].mean()) for each in rows), (1.0, 1.0)]
    at, level = np.round(pairs, 4).T
    kept = np.concatenate([np.diff(at) > 0.005, [True]])
    # nothing is certain; and a hair between knots of one level keeps the order of scores
    level = np.append(np.minimum(level[kept][:-1], CERTAIN) + 1e-4 * np.arange(kept.sum() - 1), 1)
    return Calibration.read(np.stack([at[kept], np.maximum.accumulate(level)], 1).round(4).tolist())


def reliability_error(found: Found, chance: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015), 0..1: how far chances are from what came true, by tenths.

    Args:
        chance: maps scores to chances; without, scores are taken as chances.
    """
    scores, hits = np.array(found, float).reshape(-1, 2).T
    chances = chance(scores)
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    apart = [abs(chances[bins == n].mean() - hits[bins == n].mean()) * (bins == n).sum() for n in np.unique(bins)]
    return float(sum(apart) / max(1, len(found)))


def tallies(
    detector: Detector,
    images: Iterable[LabelledImage],
    *,
    object_types: Sequence[ObjectType],
    problems: Problems | None = None,
) -> dict[ObjectType, dict[int, DetectionCounts]]:
    """What a detector finds, scores as they are, by type and image number; only completely labelled types count.

    Args:
        problems: pictures that cannot be read are added, and left out.

    Raises:
        ValueError: a picture cannot be read, and there are no `problems` to add it to.
    """
    options, found_of = Options(), defaultdict[ObjectType, dict[int, DetectionCounts]](dict)
    for image in images:
        types = [each for each in object_types if each in image.labelled]
        if types and (pixels := _pixels(image, problems)) is not None:
            (found,) = detect_windows([pixels], Whole(), detector, types)
            for each in types:
                mine, tally = found.of_type(each), DetectionCounts(options.threshold(each))
                tally.add(mine.boxes, mine.scores, image.objects[each])
                found_of[each][image.id] = tally
    return found_of


def _pixels(image: LabelledImage, problems: Problems | None) -> NDArray[np.uint8] | None:
    try:
        return image.pixels()
    except ValueError as error:
        if problems is None:
            raise
        problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), str(error))
        return None


def write(registry: Path, model_id: str, calibration: Mapping[ObjectType, Calibration]) -> None:
    """Put a calibration into a model's entry of the registry, in place of the one it has.

    Raises:
        ValueError: the registry has no such model.
    """
    text = registry.read_text(encoding="utf-8")
    entry = entry_of(text, model_id)
    if not entry:
        raise ValueError(f"{registry} has no model {model_id!r}.")
    rest = re.sub(r"^calibration = .*\n", "", entry, flags=re.M)
    registry.write_text(text.replace(entry, f"{rest}{line(calibration)}\n"), encoding="utf-8")


def entry_of(text: str, model_id: str) -> str:
    """The lines of a registry's text that describe a model, its id first; empty where there are none."""
    found = re.search(rf'^\[\[model\]\]\nid = "{re.escape(model_id)}"\n(?:(?!\[|#|\n).*\n)*', text, re.M)
    return found[0] if found else ""


def line(calibration: Mapping[ObjectType, Calibration]) -> str:
    """The line of the registry that holds a calibration."""
    maps = ", ".join(
        f"{each} = [{', '.join(f'[{score:g}, {chance:g}]' for score, chance in chances.knots)}]"
        for each, chances in calibration.items()
    )
    return f"calibration = {{ {maps} }}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="ids of the registry")
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--source", nargs="+", default=("fddb", "anpr", "cars", "dashcam", "voc", "highway"))
    parser.add_argument("--limit", type=int, help="images of each source")
    parser.add_argument("--folder", type=Path, default=Path("models"), help="of the registry and the models")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="put the result into the registry")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    images = list(LabelledSet.read(given.set).of(given.source, given.limit))
    # every other picture of each source, not of the whole
    by_source: defaultdict[str, list[int]] = defaultdict(list)
    for image in images:
        by_source[image.source].append(image.id)
    fitted_on = {number for numbers in by_source.values() for number in numbers[::2]}
    store = ModelStore(given.folder, device=given.device)
    print("| model | type | detections | error as scored | error calibrated |\n|---|---|---|---|---|")
    for model_id in given.models:
        detector = store.detector(model_id)
        found_of = tallies(detector, tqdm(images, desc=model_id), object_types=detector.object_types)
        calibration = {}
        for each, of_image in found_of.items():
            first = [row for number, tally in of_image.items() if number in fitted_on for row in tally.found]
            other = [row for number, tally in of_image.items() if number not in fitted_on for row in tally.found]
            calibration[each] = fit(first)
            before, after = reliability_error(other), reliability_error(other, calibration[each])
            print(f"| {model_id} | {each} | {len(other)} | {before:.3f} | {after:.3f} |", flush=True)
        if given.write:
            write(given.folder / store.registry.models[model_id].registry, model_id, calibration)


if __name__ == "__main__":
    main()
