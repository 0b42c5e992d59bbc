"""Measure the installed detectors, as users get them, on the ground truth of the set val.

    python -m benchmarks.detectors [--data ../shared/data] [--models ID ...] [--source S ...] [--limit N]
                                   [--device cpu] [--table val sizes large pass batches ...]

It prints Markdown tables:
val: AP50, recall, false positives and time, by object type, models and source.
sizes: recall by the size of the object.
large: what is detected in a very large image and in a close-up, by format.
pass: milliseconds of one pass for all four types, beside two small networks.
batches: images per second by batch size.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.metrics.average_precision import CocoRows
from anonymizer.evaluation.metrics.matching import SIZES, DetectionCounts, merge_counts
from anonymizer.evaluation.thresholds.calibrate import reliability_error
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import unweigh_misses
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Auto, Format, Thorough, Whole
from anonymizer.pipeline.options.options import Options
from benchmarks.pictures import close_up, large_picture

SOURCES = ("fddb", "anpr", "cars", "dashcam", "voc", "highway")
TABLES = ("val", "sizes", "large", "pass", "batches")
#: least AP50 of the own detector, by type and source (issue "Better detectors")
BARS = {
    ("face", "fddb"): 0.965,
    ("license-plate", "anpr"): 0.95,
    ("license-plate", "cars"): 0.80,
    ("license-plate", "dashcam"): 0.95,
    ("person", "voc"): 0.78,
    ("vehicle", "voc"): 0.82,
    ("vehicle", "highway"): 0.82,
}
#: the recall at the default threshold is at least this share of that at so many false positives an image
LEAST_SHARE, AT_FALSE_POSITIVES = 0.80, 0.3

Image = NDArray[np.uint8]


@dataclass
class Results:
    """The detections of models that serve a type together, in the images of one source."""

    tally: DetectionCounts
    rows: CocoRows = field(default_factory=CocoRows)
    miss_cost: float = 1.0

    def add(self, detections: Detections, objects: Objects, seconds: float) -> None:
        self.tally.add(detections.boxes, detections.scores, objects, seconds)
        self.rows.add(detections.boxes, detections.scores, objects)


#: by type, models and source
Measured = dict[tuple[ObjectType, str, str], Results]


def stores(folder: Path, device: str, wanted: Sequence[str]) -> dict[str, tuple[ModelStore, list[ObjectType]]]:
    """By name of the models: a store in which they serve, and the types that they serve."""
    store = ModelStore(folder, device=device, models="embedded")
    usable = [
        model for model in store.registry.models.values() if not model.makes_masks and store.problem(model) is None
    ]
    sets: list[tuple[str, ...]] = [(model.id,) for model in usable]
    known = {model.id for model in usable}
    for rows in store.registry.profiles.values():
        sets += [ids for ids in rows.values() if len(ids) > 1 and known.issuperset(ids) and ids not in sets]
    found = {}
    for ids in sets:
        name = "+".join(ids)
        types = list(store.registry.models[ids[0]].object_types)
        if not wanted or name in wanted:
            choice = ",".join(f"{object_type}={name}" for object_type in types)
            found[name] = ModelStore(folder, device=device, models=f"embedded,{choice}"), types
    return found


def measure(models: dict[str, tuple[ModelStore, list[ObjectType]]], images: Sequence[LabelledImage]) -> Measured:
    options, measured = Options(), dict[tuple[ObjectType, str, str], Results]()
    for name, (store, types) in models.items():
        anonymizer = Anonymizer(store=store)
        for detector in store.detectors(types):
            detector.warm_up()
        for image in tqdm(images, desc=name, mininterval=5):
            wanted = [object_type for object_type in types if object_type in image.labelled]
            if not wanted:
                continue
            pixels = image.pixels()
            started = time.perf_counter()
            (found,) = anonymizer.detect([pixels], wanted, Whole())
            seconds = time.perf_counter() - started
            for object_type in wanted:
                results = measured.setdefault(
                    (object_type, name, image.source),
                    Results(DetectionCounts(options.threshold(object_type)), miss_cost=store.miss_cost(object_type)),
                )
                results.add(found.of_type(object_type), image.objects[object_type], seconds)
    return measured


def print_val(measured: Measured) -> None:
    print(
        "\n| type | models | source | images | AP50 | recall | false positives an image | recall at .1 | at .3 |"
        " share of that | error of the chance | ms an image |\n" + "|---" * 12 + "|"
    )
    for (kind, name, source), each in _ordered(measured):
        tally, least = each.tally, each.tally.recall_at(AT_FALSE_POSITIVES)
        ap, bar = each.rows.average_precision(), BARS.get((kind, source)) if name.startswith("own-") else None
        reached = "" if bar is None else f" ({'at least' if ap >= bar else 'UNDER'} {bar:.3f})"
        print(
            f"| {kind} | {name} | {source} | {tally.images} | {ap:.3f}{reached} | {tally.recall:.3f} |"
            f" {tally.false_positives:.2f} | {tally.recall_at(0.1):.3f} | {least:.3f} |"
            f" {tally.recall / max(least, 1e-9):.2f} | {_error(tally, each.miss_cost):.3f} |"
            f" {1000 * tally.seconds / tally.images:.0f} |"
        )
    print(f"\nAll sources of a type together (at least {LEAST_SHARE} of the recall at {AT_FALSE_POSITIVES}):\n")
    print("| type | models | recall | false positives an image | recall at .3 | share of that | error of the chance |")
    print("|---" * 7 + "|")
    costs = {(kind, name): each.miss_cost for (kind, name, _), each in measured.items()}
    for (kind, name), tally in _joined(measured).items():
        least = tally.recall_at(AT_FALSE_POSITIVES)
        print(
            f"| {kind} | {name} | {tally.recall:.3f} | {tally.false_positives:.2f} | {least:.3f} |"
            f" {tally.recall / max(least, 1e-9):.2f} | {_error(tally, costs[kind, name]):.3f} |"
        )


def _error(tally: DetectionCounts, miss_cost: float) -> float:
    """The calibration error of the chances that the scores were made of."""
    return reliability_error(tally.found, partial(unweigh_misses, miss_cost=miss_cost))


def print_sizes(measured: Measured) -> None:
    ends = [*(f"{low} to {high}" for low, high in pairwise(SIZES)), f"{SIZES[-1]} up"]
    print("\nRecall at the default threshold by the object's shorter side in pixels (number of objects):\n")
    print("| type | models | " + " | ".join(ends) + " |\n" + "|---" * (2 + len(ends)) + "|")
    for (kind, name), tally in _joined(measured).items():
        cells = [
            f"{tally.found_of_size[size] / tally.of_size[size]:.2f} ({tally.of_size[size]})"
            if tally.of_size[size]
            else ""
            for size in SIZES
        ]
        print(f"| {kind} | {name} | " + " | ".join(cells) + " |")


def _ordered(measured: Measured) -> list[tuple[tuple[ObjectType, str, str], Results]]:
    return sorted(measured.items(), key=lambda row: (row[0][0].number, SOURCES.index(row[0][2]), row[0][1]))


def _joined(measured: Measured) -> dict[tuple[ObjectType, str], DetectionCounts]:
    groups = defaultdict[tuple[ObjectType, str], list[DetectionCounts]](list)
    for (kind, name, _), each in _ordered(measured):
        groups[kind, name].append(each.tally)
    return {key: merge_counts(each) for key, each in groups.items()}


def print_large(models: dict[str, tuple[ModelStore, list[ObjectType]]], images: Iterable[LabelledImage]) -> None:
    images = list(images)
    print("\n| picture | models | format | type | found at the default threshold | seconds |\n" + "|---" * 6 + "|")
    pictures = {"6000 x 4000, small objects": large_picture(images), "2000 x 2000, close-up": close_up(images)}
    formats: tuple[Format, ...] = (Whole(), Auto(), Thorough())
    for title, (pixels, truths) in pictures.items():
        for name, (store, types) in models.items():
            for how in formats:
                for object_type in [object_type for object_type in types if object_type in truths]:
                    started = time.perf_counter()
                    (found,) = Anonymizer(store=store).detect([pixels], [object_type], how)
                    seconds = time.perf_counter() - started
                    tally = DetectionCounts(Options().threshold(object_type))
                    tally.add(found.boxes, found.scores, truths[object_type])
                    count = f"{round(tally.recall * tally.objects)} of {tally.objects}"
                    print(f"| {title} | {name} | {how} | {object_type} | {count} | {seconds:.1f} |", flush=True)


def print_pass(folder: Path, device: str, images: Iterable[LabelledImage]) -> None:
    """Time one pass for all four types: medians of alternating runs."""
    store = ModelStore(folder, device=device)
    pixels = np.asarray(cv2.resize(close_up(images)[0], (640, 480)), np.uint8)
    own = next(model.id for model in store.registry.models.values() if model.loader == "own")
    passes = {f"{own} at 416 x 320": [(own, 416)], "yolox-nano + yunet-n": [("yolox-nano", 416), ("yunet-n", 640)]}
    times = defaultdict[str, list[float]](list)
    for n in range(33):
        for name, steps in passes.items():
            detectors = [(store.detector(model_id), side) for model_id, side in steps]
            seconds = _seconds(partial(_all, detectors, pixels), device)
            if n > 2:
                times[name].append(seconds)
    base = float(np.median(times["yolox-nano + yunet-n"]))
    print("\n640 x 480, one pass:\n\n| models | ms | ratio |\n|---|---|---|")
    for name, each in times.items():
        print(f"| {name} | {1000 * float(np.median(each)):.1f} | {float(np.median(each)) / base:.2f} |")


def _all(detectors: Sequence[tuple[Detector, int]], pixels: Image) -> None:
    for detector, side in detectors:
        detector.detect([pixels], side)


def print_batches(models: dict[str, tuple[ModelStore, list[ObjectType]]], device: str) -> None:
    """Images per second in batches, each analysed as a whole at every scale; the median of three runs."""
    print("\n| models | size | batch | pictures/s | GPU memory, MiB |\n" + "|---" * 5 + "|")
    rng = np.random.default_rng(1)
    for name, (store, types) in models.items():
        anonymizer = Anonymizer(store=store)
        for width, height in ((1280, 720), (3840, 2160)):
            small = rng.integers(0, 255, (height // 40, width // 40, 3), np.uint8)
            pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
            for batch in (1, 4, 16, 64):
                if device == "cpu" and batch > 4:
                    continue
                if device != "cpu":
                    torch.cuda.reset_peak_memory_stats(device)
                run = partial(anonymizer.detect, [pixels] * batch, types, Whole())
                run()
                seconds = float(np.median([_seconds(run, device) for _ in range(3)]))
                memory = "" if device == "cpu" else f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f}"
                print(f"| {name} | {width} x {height} | {batch} | {batch / seconds:.1f} | {memory} |", flush=True)


def _seconds(run: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with val.json and val/")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), help="the folder with the registry and the models"
    )
    parser.add_argument("--models", nargs="+", default=(), help="ids, or ids joined by +; default: all usable models")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=SOURCES, help="default: all")
    parser.add_argument("--limit", type=int, help="the most images of each source; default: all")
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES, help="what to print; default: all")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    val = LabelledSet.read(given.data / "val.json")
    models = stores(given.folder, given.device, given.models)
    if "pass" in given.table:
        print_pass(given.folder, given.device, val.of(SOURCES))
    if "batches" in given.table:
        print_batches(models, given.device)
    if "large" in given.table:
        print_large(models, val.of(SOURCES))
    if {"val", "sizes"} & set(given.table):
        measured = measure(models, list(val.of(given.source, given.limit)))
        if "val" in given.table:
            print_val(measured)
        if "sizes" in given.table:
            print_sizes(measured)


if __name__ == "__main__":
    main()
