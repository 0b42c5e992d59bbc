"""Measure how fast an evaluation answers, and whether chosen thresholds keep what they promise.

    python -m benchmarks.evaluation [--set ../shared/data/val.json] [--cache FILE] [--models embedded recommended ...]
                                    [--table sweep halves] [--pictures 2000] [--splits 20]

It prints Markdown tables:
sweep: seconds of reading, judging and sweeping thresholds, medians of five runs. The detections come from the cache.
The images of the set are repeated, each time with another hash, until there are enough.
halves: thresholds are chosen on one random half of each source; the table shows what they reach on the other half.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.predictions import detection_key
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.thresholds.choose import ThresholdChoice, Verdict, choose_thresholds
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.options.options import Options

SOURCES = ("fddb", "anpr", "cars", "dashcam", "voc", "highway")
TABLES = ("sweep", "halves")
TARGETS = (0.90, 0.95, 0.98)
RUNS = 5
#: seconds for judging and the sweep together (issue "Notebooks, evaluation, and thresholds")
BAR_S = 2.0


def many(result: EvaluationResult, anonymizer: Anonymizer, cache: DetectionCache, folder: Path, count: int) -> Path:
    """Write a labelled set of `count` files, each with its own hash, and put their detections into the cache."""
    pictures = folder / "many"
    pictures.mkdir()
    images = [image for image in result.images if image.size_hw is not None]
    old = cache.digests({image.path for image in images})
    copies = {pictures / f"{n}{image.path.suffix}": image for n, image in enumerate(islice(cycle(images), count))}
    for n, (path, image) in enumerate(copies.items()):
        # bytes after the end of an image change its hash and nothing else
        path.write_bytes(image.path.read_bytes() + n.to_bytes(4))
    new = cache.digests(copies)
    for each in result.types:
        key = detection_key(anonymizer, each, result.format)
        known = cache.get_detections(key, each, list(old.values()))
        rows = {new[path]: known[old[image.path]] for path, image in copies.items() if old[image.path] in known}
        cache.put_detections(key, rows)
    file = folder / "many.json"
    file.write_text(json.dumps(_coco(copies)))
    return file


def _coco(copies: dict[Path, LabelledImage]) -> dict[str, list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, (path, image) in enumerate(copies.items(), start=1):
        height, width = image.size_hw or (0, 0)
        row = {"id": number, "file_name": path.name, "width": width, "height": height, "source": image.source}
        images.append(row | {"labelled": list(image.labelled)})
        for each, objects in image.objects.items():
            for (x1, y1, x2, y2), ignored in zip(objects.boxes.tolist(), objects.ignored, strict=True):
                row = {"id": len(annotations) + 1, "image_id": number, "category_id": each.number + 1}
                annotations.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1], "ignore": int(ignored)})
    categories: list[dict[str, object]] = [{"id": each.number + 1, "name": each.value} for each in ObjectType]
    return {"images": images, "annotations": annotations, "categories": categories}


def print_sweep(labelled: LabelledSet, given: argparse.Namespace) -> None:
    store, types = named_models(given.models[0], given.folder, device=given.device)
    anonymizer = Anonymizer(store=store)
    with tempfile.TemporaryDirectory() as folder:
        cache = DetectionCache(Path(folder) / "cache.sqlite3")
        Path(cache.file).write_bytes(DetectionCache(given.cache).file.read_bytes())

        def judge(of: LabelledSet) -> EvaluationResult:
            return evaluate(of, anonymizer, object_types=types, cache=cache, progress=False)

        file = many(judge(labelled), anonymizer, cache, Path(folder), given.pictures)
        whole = LabelledSet.read(file)
        # the first run computes what is covered, and caches it
        first = _seconds(lambda: judge(whole), runs=1)
        result = judge(whole)
        at = np.linspace(0, 1, 100)
        seconds = {
            "labels and sizes of the pictures read": _seconds(lambda: LabelledSet.read(file)),
            "judged for the first time, detections from the cache": first,
            "judged again, all from the cache": _seconds(lambda: judge(whole)),
            "sweep of 100 thresholds, all figures of all types": _seconds(
                lambda: [each.curve(at) for each in result.types.values()]
            ),
            "thresholds for .98, all types": _seconds(lambda: choose_thresholds(result, 0.98)),
        }
        both = _seconds(lambda: [each.curve(at) for each in judge(whole).types.values()])
    detections = sum(len(each.scores) for each in result.types.values())
    objects = sum(each.objects for each in result.types.values())
    print(f"\n{len(whole.images)} pictures, {objects} objects, {detections} detections; {given.models[0]}\n")
    print("| what | seconds |\n|---|---|")
    for what, each in seconds.items():
        print(f"| {what} | {each:.3f} |")
    print(f"| judged again and sweep together ({'under' if both < BAR_S else 'NOT UNDER'} {BAR_S:g}) | {both:.3f} |")


def _seconds(run: Callable[[], object], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


@dataclass(frozen=True)
class Case:
    """What one half promised, and the recall that the other half reached."""

    choice: ThresholdChoice
    reached: float

    @property
    def in_interval(self) -> bool:
        """Whether the reached recall lies in the interval of the true recall."""
        return self.choice.recall.low <= self.reached <= self.choice.recall.high

    @property
    def as_stated(self) -> bool:
        """Whether the reached recall lies in the wider interval, that of as many other images."""
        return self.choice.recall_elsewhere.low <= self.reached <= self.choice.recall_elsewhere.high


def cases(result: EvaluationResult, target: float, splits: int) -> Iterator[Case]:
    for seed in range(splits):
        first = _half(result, seed)
        for choice in choose_thresholds(_of(result, first), target):
            other = _of(result, ~first)[choice.object_type]
            yield Case(choice, float((other.match_score >= choice.threshold).mean()))


def _half(result: EvaluationResult, seed: int) -> NDArray[np.bool_]:
    """(images,) bool: a random half of the images of each source."""
    chance = np.random.default_rng(seed)
    sources = np.array([image.source for image in result.images])
    first = np.zeros(len(sources), bool)
    for source in np.unique(sources):
        rows = chance.permutation(np.flatnonzero(sources == source))
        first[rows[::2]] = True
    return first


def _of(result: EvaluationResult, kept: NDArray[np.bool_]) -> EvaluationResult:
    return replace(result, types={each: of.of_pictures(kept[of.image_indices]) for each, of in result.types.items()})


def print_halves(labelled: LabelledSet, given: argparse.Namespace) -> None:
    print(f"\n{given.splits} random halves; means over them; `at least` is what the first half promises (95 %)\n")
    print(
        "| models | type | target | verdicts | threshold | recall on the first half | at least | recall on the other |"
        " reaches the target, where promised | in the interval for other pictures | in that of the true recall |\n"
        + "|---" * 11
        + "|"
    )
    found: list[Case] = []
    for name in given.models:
        store, types = named_models(name, given.folder, device=given.device)
        result = evaluate(
            labelled, Anonymizer(store=store), name=name, object_types=types, options=Options(format=Whole()),
            cache=DetectionCache(given.cache),
        )  # fmt: skip
        for target in TARGETS:
            rows = list(cases(result, target, given.splits))
            found += rows
            for each in result.types:
                _print_row(name, target, [row for row in rows if row.choice.object_type is each])
    kept = [row for row in found if row.choice.verdict is Verdict.REACHED]
    print("\nOf all models, types and targets; the other half is a sample too.\n")
    print("| what | expected | measured |\n|---|---|---|")
    print(f"| in the interval stated for other pictures | 95 % | {_share([row.as_stated for row in found])} |")
    print(f"| in the interval of the true recall | 83 % | {_share([row.in_interval for row in found])} |")
    promised = _share([row.reached >= row.choice.target for row in kept])
    print(f"| reaches the target, where that was promised with 95 % | about 88 % | {promised} |")


def _print_row(name: str, target: float, rows: Sequence[Case]) -> None:
    verdicts = [row.choice.verdict for row in rows]
    counted = ", ".join(f"{each} {verdicts.count(each)}" for each in Verdict if each in verdicts)
    first = [np.mean([getattr(row.choice.recall, end) for row in rows]) for end in ("value", "low", "high")]
    promised = [row.reached >= target for row in rows if row.choice.verdict is Verdict.REACHED]
    print(
        f"| {name} | {rows[0].choice.object_type} | {target:.2f} | {counted} |"
        f" {np.mean([row.choice.threshold for row in rows]):.3f} | {first[0]:.3f} ({first[1]:.3f} to {first[2]:.3f}) |"
        f" {np.mean([row.choice.recall_at_least for row in rows]):.3f} | {np.mean([row.reached for row in rows]):.3f} |"
        f" {_share(promised)} | {_share([row.as_stated for row in rows])} |"
        f" {_share([row.in_interval for row in rows])} |",
        flush=True,
    )


def _share(values: Sequence[bool]) -> str:
    return f"{sum(values)} of {len(values)} ({np.mean(values):.0%})" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="the labelled set")
    parser.add_argument("--source", nargs="+", default=SOURCES)
    parser.add_argument("--limit", type=int, help="the most images of each source; default: all")
    parser.add_argument("--cache", type=Path, help="the file of cached detections; default: in ~/.cache")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), help="the folder with the registry and the models"
    )
    parser.add_argument(
        "--models", nargs="+", default=["embedded"], help="ids, profiles or TYPE=ID+ID; sweep takes the first"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--pictures", type=int, default=2000, help="how many images the sweep has; default: 2000")
    parser.add_argument("--splits", type=int, default=20, help="how many random halves; default: 20")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    whole = LabelledSet.read(given.set)
    labelled = whole.subset(whole.of(given.source, given.limit))
    if "sweep" in given.table:
        print_sweep(labelled, given)
    if "halves" in given.table:
        print_halves(labelled, given)


if __name__ == "__main__":
    main()
