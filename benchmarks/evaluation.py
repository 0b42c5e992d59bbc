"""How quick questions about labelled pictures are answered, and whether chosen thresholds keep what they promise.

python -m benchmarks.evaluation [--set ../shared/data/val.json] [--cache FILE] [--models embedded recommended ...]
                                [--table sweep halves] [--pictures 2000] [--splits 20]

sweep: pictures whose detections are in the cache (those of the set, each again under another hash until there are
enough), medians of five runs. halves: thresholds chosen on one random half of each source, and what they reach on the
other half.
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
from anonymizer.evaluation.thresholds.choose import Choice, Verdict, choose_thresholds
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.options import Options

SOURCES = ("fddb", "anpr", "cars", "dashcam", "voc", "highway")
TABLES = ("sweep", "halves")
TARGETS = (0.90, 0.95, 0.98)
RUNS = 5
#: seconds for judging and the sweep together (issue "Notebooks, evaluation, and thresholds")
BAR_S = 2.0


def many(findings: EvaluationResult, anonymizer: Anonymizer, cache: DetectionCache, folder: Path, count: int) -> Path:
    """A labelled set of so many files, each with a hash of its own, whose detections are in the cache."""
    pictures = folder / "many"
    pictures.mkdir()
    images = [image for image in findings.images if image.size_hw is not None]
    old = cache.digests({image.path for image in images})
    copies = {pictures / f"{n}{image.path.suffix}": image for n, image in enumerate(islice(cycle(images), count))}
    for n, (path, image) in enumerate(copies.items()):
        # what stands behind the end of a picture changes its hash and nothing else
        path.write_bytes(image.path.read_bytes() + n.to_bytes(4))
    new = cache.digests(copies)
    for each in findings.types:
        key = detection_key(anonymizer, each, findings.format)
        known = cache.found(key, each, list(old.values()))
        rows = {new[path]: known[old[image.path]] for path, image in copies.items() if old[image.path] in known}
        cache.keep_found(key, rows)
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
        # the first time what is covered is computed, and kept
        first = _seconds(lambda: judge(whole), runs=1)
        findings = judge(whole)
        at = np.linspace(0, 1, 100)
        seconds = {
            "labels and sizes of the pictures read": _seconds(lambda: LabelledSet.read(file)),
            "judged for the first time, detections from the cache": first,
            "judged again, all from the cache": _seconds(lambda: judge(whole)),
            "sweep of 100 thresholds, all figures of all types": _seconds(
                lambda: [each.curve(at) for each in findings.types.values()]
            ),
            "thresholds for .98, all types": _seconds(lambda: choose_thresholds(findings, 0.98)),
        }
        both = _seconds(lambda: [each.curve(at) for each in judge(whole).types.values()])
    detections = sum(len(each.scores) for each in findings.types.values())
    objects = sum(each.objects for each in findings.types.values())
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
    """What was promised by one half, and the recall that came true on the other."""

    choice: Choice
    reached: float

    @property
    def in_interval(self) -> bool:
        """Whether it lies in the interval that holds the true recall."""
        return self.choice.recall.low <= self.reached <= self.choice.recall.high

    @property
    def as_stated(self) -> bool:
        """Whether it lies in the wider one that holds the recall of as many other pictures."""
        return self.choice.recall_elsewhere.low <= self.reached <= self.choice.recall_elsewhere.high


def cases(findings: EvaluationResult, target: float, splits: int) -> Iterator[Case]:
    for seed in range(splits):
        first = _half(findings, seed)
        for choice in choose_thresholds(_of(findings, first), target):
            other = _of(findings, ~first)[choice.object_type]
            yield Case(choice, float((other.match_score >= choice.threshold).mean()))


def _half(findings: EvaluationResult, seed: int) -> NDArray[np.bool_]:
    """(pictures,) every other picture of each source, in random order."""
    chance = np.random.default_rng(seed)
    sources = np.array([image.source for image in findings.images])
    first = np.zeros(len(sources), bool)
    for source in np.unique(sources):
        rows = chance.permutation(np.flatnonzero(sources == source))
        first[rows[::2]] = True
    return first


def _of(findings: EvaluationResult, kept: NDArray[np.bool_]) -> EvaluationResult:
    return replace(findings, types={each: of.of_pictures(kept[of.places]) for each, of in findings.types.items()})


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
        findings = evaluate(
            labelled, Anonymizer(store=store), name=name, object_types=types, options=Options(),
            cache=DetectionCache(given.cache),
        )  # fmt: skip
        for target in TARGETS:
            rows = list(cases(findings, target, given.splits))
            found += rows
            for each in findings.types:
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
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--source", nargs="+", default=SOURCES)
    parser.add_argument("--limit", type=int, help="images of each source")
    parser.add_argument("--cache", type=Path, help="of detections (~/.cache)")
    parser.add_argument("--folder", type=Path, default=Path("models"), help="of the registry and the models")
    parser.add_argument("--models", nargs="+", default=["embedded"], help="ids, profiles, TYPE=ID+ID; sweep: the first")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--pictures", type=int, default=2000, help="of the sweep")
    parser.add_argument("--splits", type=int, default=20, help="random halves")
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
