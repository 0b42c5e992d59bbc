"""Choose the cost of a miss: recall against false blurs a picture, at the default thresholds, for several costs.

    python -m benchmarks.miss_cost [--set ../shared/data/val.json] [--models embedded] [--costs 1 2 4 8 16]
                                   [--source S ...] [--limit N] [--format whole] [--cache FILE] [--device cpu]

It prints a Markdown table with a row for each object type and source, and one for all sources of a type. Each cell is
the recall and the number of false blurs a picture. The detectors run once: the detections are kept in the cache as
plain chances, and another cost is another threshold for them. So a changed `miss-cost` needs no new run.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.matching import DetectionCounts, merge_counts
from anonymizer.evaluation.metrics.predictions import labelled_types, predict
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import unweigh_misses
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.formats import Format, parse_format
from anonymizer.pipeline.options.options import Options

COSTS = (1.0, 2.0, 4.0, 8.0, 16.0)
ALL = "all"

#: by object type and source, the detections with their chances
Counts = Mapping[tuple[ObjectType, str], DetectionCounts]


def count(
    images: Sequence[LabelledImage],
    models: str,
    form: Format,
    cache: DetectionCache,
    *,
    folder: Path | None = None,
    device: str = "cpu",
) -> Counts:
    """Detect objects in each image, for the types that are labelled in it, and count hits and false blurs.

    Args:
        images: the labelled images.
        models: as `named_models` takes them.
        form: how images are cut into views.
        cache: of detections.
        folder: of the models; default: the installed ones.
        device: for the models.

    Returns:
        The counts by type and source, with chances as scores; those of all sources of a type under `ALL`.
    """
    store, served = named_models(models, folder, device=device)
    # without a cost the scores are the chances, and the cache stays valid when the cost in the registry changes
    store.registry = replace(store.registry, miss_costs={})
    types = [object_type for object_type in labelled_types(images) if object_type in served]
    problems = Problems(strict=True)
    predictions = predict(images, Anonymizer(store=store), types, form, cache=cache, problems=problems)
    groups = defaultdict[tuple[ObjectType, str], list[DetectionCounts]](list)
    for object_type in types:
        for index, found in predictions.detections[object_type].items():
            counts, image = DetectionCounts(Options().threshold(object_type)), images[index]
            counts.add(found.detections.boxes, found.detections.scores, image.objects[object_type])
            groups[object_type, image.source].append(counts)
            groups[object_type, ALL].append(counts)
    return {key: merge_counts(group) for key, group in groups.items()}


def at_cost(counts: DetectionCounts, miss_cost: float) -> DetectionCounts:
    """The same counts at the chance from which a weighted score reaches the threshold."""
    return replace(counts, threshold=float(unweigh_misses(counts.threshold, miss_cost)))


def table(counts: Counts, costs: Sequence[float]) -> str:
    """Format the table in Markdown: recall and false blurs a picture by object type, source and cost of a miss."""
    lines = [
        "| type | source | pictures | objects | AP50 | " + " | ".join(f"k = {cost:g}" for cost in costs) + " |",
        "|" + "---|" * (5 + len(costs)),
    ]
    order = sorted(counts, key=lambda key: (OBJECT_TYPES.index(key[0]), key[1] == ALL, key[1]))
    for object_type, source in order:
        of_row = counts[object_type, source]
        at_costs = [at_cost(of_row, cost) for cost in costs]
        cells = [object_type.words, source, str(of_row.images), str(of_row.objects)]
        cells.append(f"{of_row.average_precision:.3f}")
        cells += [f"{_recall(each)} / {each.false_positives:.2f}" for each in at_costs]
        lines.append(f"| {' | '.join(f'**{cell}**' if source == ALL else cell for cell in cells)} |")
    return "\n".join(lines)


def _recall(counts: DetectionCounts) -> str:
    return f"{counts.recall:.3f}" if counts.objects else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--models", nargs="+", default=["embedded"], help="profiles, ids, or TYPE=ID+ID")
    parser.add_argument("--folder", type=Path, help="of the models; default: the installed ones")
    parser.add_argument("--costs", nargs="+", type=float, default=COSTS, help="default: 1 2 4 8 16")
    parser.add_argument("--source", nargs="+", help="only these data sets; default: all with a labelled type")
    parser.add_argument("--limit", type=int, help="the most images of each source; default: all")
    parser.add_argument("--format", default="whole", help="how images are cut into views; default: whole")
    parser.add_argument("--cache", type=Path, help="SQLite file of the detections; default: the user's cache")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    labelled, cache = LabelledSet.read(given.set), DetectionCache(given.cache)
    sources = given.source or sorted({image.source for image in labelled.images})
    images = list(labelled.of(sources, given.limit))
    for models in given.models:
        form = parse_format("--format", given.format)
        counts = count(images, models, form, cache, folder=given.folder, device=given.device)
        print(f"\n{models}, {form}: recall / false blurs a picture\n\n{table(counts, given.costs)}", flush=True)


if __name__ == "__main__":
    main()
