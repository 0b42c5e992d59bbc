"""Measure the installed detectors, as users get them, on the ground truth of the set val.

    python -m benchmarks.detectors [--data ../shared/data] [--models ID ...] [--source S ...] [--limit N]
                                   [--device cpu] [--table val sizes attributes large pass batches ...]

It prints Markdown tables:
val: AP50, recall, false positives and time, by object type, models and source.
sizes: recall by the size of the object.
attributes: recall of faces of WIDER by blur, occlusion and set, as its labels have them.
large: what is detected in a very large image and in a close-up, by format.
pass: milliseconds of one pass for all four types, beside two small networks.
batches: images per second by batch size.
"""

from __future__ import annotations

import argparse
import json
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
from anonymizer.evaluation.metrics.matching import SIZES, DetectionCounts, match_detections, merge_counts
from anonymizer.evaluation.thresholds.calibrate import reliability_error
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import unweigh_misses
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Auto, Format, Thorough, Whole
from anonymizer.pipeline.options.options import Options
from benchmarks.pictures import close_up, large_picture

SOURCES = (
    "fddb", "wider", "masks", "anpr", "cars", "dashcam", "plates-world", "voc", "coco-person", "coco", "street-masks",
    "kitti", "cctv-traffic", "highway",
)  # fmt: skip
TABLES = ("val", "sizes", "attributes", "large", "pass", "batches")
#: least AP50 of the own detector, by type and source (issue "Finding")
BARS = {
    ("face", "fddb"): 0.965,
    ("face", "wider"): 0.80,
    ("face", "masks"): 0.84,
    ("license-plate", "anpr"): 0.96,
    ("license-plate", "cars"): 0.82,
    ("license-plate", "dashcam"): 0.985,
    ("license-plate", "plates-world"): 0.75,
    ("person", "voc"): 0.88,
    ("person", "coco-person"): 0.82,
    ("person", "coco"): 0.72,
    ("vehicle", "voc"): 0.91,
    ("vehicle", "cctv-traffic"): 0.72,
    ("vehicle", "kitti"): 0.86,
    ("vehicle", "highway"): 0.85,
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
        " at .5 | share of that at .3 | error of the chance | ms an image |\n" + "|---" * 13 + "|"
    )
    for (kind, name, source), each in _ordered(measured):
        tally, least = each.tally, each.tally.recall_at(AT_FALSE_POSITIVES)
        ap, bar = each.rows.average_precision(), BARS.get((kind, source)) if name.startswith("own-") else None
        reached = "" if bar is None else f" ({'at least' if ap >= bar else 'UNDER'} {bar:.3f})"
        print(
            f"| {kind} | {name} | {source} | {tally.images} | {ap:.3f}{reached} | {tally.recall:.3f} |"
            f" {tally.false_positives:.2f} | {tally.recall_at(0.1):.3f} | {least:.3f} |"
            f" {tally.recall_at(0.5):.3f} | {tally.recall / max(least, 1e-9):.2f} |"
            f" {_error(tally, each.miss_cost):.3f} |"
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


def print_attributes(models: dict[str, tuple[ModelStore, list[ObjectType]]], data: Path, val: LabelledSet) -> None:
    """Print the recall of WIDER's faces by the attributes in the label file, at the default threshold."""
    attributes = defaultdict[int, dict[tuple[int, ...], dict[str, object]]](dict)
    for row in json.loads((data / "val.json").read_text())["annotations"]:
        if "attributes" in row:
            attributes[row["image_id"]][_corner(row["bbox"])] = row["attributes"]
    print("\n| models | attribute | faces | recall |\n|---|---|---|---|")
    for name, (store, types) in models.items():
        if ObjectType.FACE not in types:
            continue
        counts, anonymizer = defaultdict[str, list[bool]](list), Anonymizer(store=store)
        for image in tqdm(list(val.of(["wider"])), desc=name, mininterval=5):
            (found,) = anonymizer.detect([image.pixels()], [ObjectType.FACE], Whole())
            sure, faces = found[found.scores >= Options().threshold(ObjectType.FACE)], image.objects[ObjectType.FACE]
            hits = set(match_detections(sure.boxes, faces))
            for row in np.flatnonzero(~faces.ignored):
                for key, value in attributes[image.id].get(_corner(faces.boxes[row]), {}).items():
                    counts[f"{key} {value}"].append(int(row) in hits)
        for key, each in sorted(counts.items()):
            print(f"| {name} | {key} | {len(each)} | {np.mean(each):.3f} |")


def _corner(box: Sequence[float] | NDArray[np.float32]) -> tuple[int, ...]:
    return round(float(box[0])), round(float(box[1]))


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
    if "attributes" in given.table:
        print_attributes(models, given.data, val)
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
