"""Measures the detectors as a user gets them, against the ground truth of val and against the package `deface`.

python -m benchmarks.detectors [--data ../shared/data] [--source S ...] [--limit N] [--device cpu]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.model_store import ModelStore
from anonymizer.pipeline.objects import Detections, ObjectType
from anonymizer.pipeline.options import Auto, Format, Options, Whole

SAME = 0.5
#: as many of an image count, best first
MOST = 100
#: AP50 of the draft at 416 pixels (shared/training/README.md), by type and source
DRAFT = {
    ("face", "fddb"): 0.960,
    ("license-plate", "anpr"): 0.872,
    ("license-plate", "cars"): 0.776,
    ("license-plate", "dashcam"): 0.870,
    ("person", "voc"): 0.736,
    ("person", "highway"): 0.473,
    ("vehicle", "voc"): 0.782,
    ("vehicle", "highway"): 0.804,
}
SOURCES = tuple(dict.fromkeys(source for _, source in DRAFT))
#: shorter side of an object in pixels; where the groups of the table by size begin
SIZES = (0, 16, 32, 96)

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass
class Truth:
    """The objects of one type in one image; those that are to be ignored are neither to be found nor to be missed."""

    boxes: Boxes
    ignored: NDArray[np.bool_]


@dataclass
class Tally:
    """What was found of one type in the images of one source."""

    threshold: float
    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    #: (score, whether it is an object) of each detection that counts
    found: list[tuple[float, bool]] = field(default_factory=list)
    of_size: Counter[int] = field(default_factory=Counter)
    found_of_size: Counter[int] = field(default_factory=Counter)

    def add(self, boxes: Boxes, scores: NDArray[np.float32], truth: Truth, seconds: float) -> None:
        order = np.argsort(-scores, kind="stable")[:MOST]
        boxes, scores = boxes[order], scores[order]
        hits = matches(boxes, truth)
        self.images += 1
        self.seconds += seconds
        self.objects += int((~truth.ignored).sum())
        self.found += [
            (float(score), hit is not None)
            for score, hit in zip(scores, hits, strict=True)
            if hit is None or not truth.ignored[hit]
        ]
        reached = {hit for score, hit in zip(scores, hits, strict=True) if score >= self.threshold}
        for row in np.flatnonzero(~truth.ignored):
            size = size_group(truth.boxes[row])
            self.of_size[size] += 1
            self.found_of_size[size] += row in reached

    @property
    def average_precision(self) -> float:
        ranked = sorted(self.found, key=lambda each: -each[0])
        if not ranked or not self.objects:
            return 0.0
        true = np.cumsum([hit for _, hit in ranked])
        recall, precision = true / self.objects, true / np.arange(1, len(ranked) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall, prepend=0) * precision))

    @property
    def recall(self) -> float:
        return sum(hit for score, hit in self.found if score >= self.threshold) / max(1, self.objects)

    @property
    def false_positives(self) -> float:
        return sum(not hit for score, hit in self.found if score >= self.threshold) / max(1, self.images)


def size_group(box: Boxes) -> int:
    shorter = min(box[2] - box[0], box[3] - box[1])
    return max(each for each in SIZES if each <= shorter)


def overlaps(box: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of a box with each of the others."""
    shared = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(1)
    both = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return np.asarray(shared / (both - shared + 1e-6), np.float32)


def matches(boxes: Boxes, truth: Truth) -> list[int | None]:
    """The object that each box found, boxes by falling score; each object is found once, ignored ones often."""
    used: set[int] = set()
    hits: list[int | None] = []
    for box in boxes:
        iou = overlaps(box, truth.boxes)
        fitting = [row for row in np.flatnonzero(iou >= SAME) if row not in used or truth.ignored[row]]
        best = min(fitting, key=lambda row: (truth.ignored[row], -iou[row]), default=None)
        hits.append(None if best is None else int(best))
        if best is not None:
            used.add(int(best))
    return hits


def val_images(
    data: Path, limit: int | None = None, sources: Sequence[str] = ()
) -> Iterator[tuple[dict[str, Any], Image, dict[str, Truth]]]:
    """Each image of val with the objects of the types that are labelled completely in it."""
    rows = json.loads((data / "val.json").read_text())
    names = {each["id"]: each["name"] for each in rows["categories"]}
    of_image = defaultdict(list)
    for each in rows["annotations"]:
        of_image[each["image_id"]].append(each)
    seen: Counter[str] = Counter()
    for image in rows["images"]:
        if not image["labelled"] or image["source"] not in (sources or SOURCES):
            continue
        seen[image["source"]] += 1
        if limit is None or seen[image["source"]] <= limit:
            truths = {
                name: truth([each for each in of_image[image["id"]] if names[each["category_id"]] == name])
                for name in image["labelled"]
            }
            yield image, read(data / "val" / image["file_name"]), truths


def truth(rows: Sequence[dict[str, Any]]) -> Truth:
    boxes = np.array([each["bbox"] for each in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Truth(boxes, np.array([bool(each.get("ignore") or each.get("iscrowd")) for each in rows], bool))


def read(path: Path) -> Image:
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise SystemExit(f"{path} cannot be read.")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def measure(
    anonymizer: Anonymizer, data: Path, limit: int | None, sources: Sequence[str]
) -> dict[tuple[str, str], Tally]:
    """By type and source; the package `deface` under the type `deface`."""
    from deface.centerface import CenterFace

    with contextlib.redirect_stdout(io.StringIO()):
        package = CenterFace()
    options, tallies = Options(), dict[tuple[str, str], Tally]()
    for image, pixels, truths in val_images(data, limit, sources):
        types = [ObjectType(each) for each in truths]
        started = time.perf_counter()
        (found,) = anonymizer.detect([pixels], types, Whole())
        seconds = time.perf_counter() - started
        for each in types:
            tally = tallies.setdefault((each, image["source"]), Tally(options.threshold(each)))
            of_type = found.of_type(each)
            tally.add(of_type.boxes, of_type.scores, truths[each], seconds)
        if image["source"] == "fddb":
            started = time.perf_counter()
            rows, _ = package(pixels, threshold=0.5)
            seconds = time.perf_counter() - started
            tally = tallies.setdefault(("deface", "fddb"), Tally(0.5))
            tally.add(rows[:, :4].astype(np.float32), rows[:, 4], truths["face"], seconds)
    return tallies


def print_val(tallies: dict[tuple[str, str], Tally]) -> None:
    print("| type | source | images | AP50 | draft at 416 | recall | false positives an image | ms an image | bar |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, source), each in sorted(tallies.items()):
        figures = f"{each.recall:.3f} | {each.false_positives:.3f} | {1000 * each.seconds / each.images:.0f}"
        if name == "deface":
            print(f"| face (the package deface) | {source} | {each.images} | | | {figures} | |")
            continue
        draft, ap = DRAFT[name, source], each.average_precision
        reached = each.recall >= tallies["deface", "fddb"].recall if name == "face" else ap >= draft - 0.005
        print(
            f"| {name} | {source} | {each.images} | {ap:.3f} | {draft:.3f} | {figures} | {'yes' if reached else 'NO'} |"
        )


def print_sizes(tallies: dict[tuple[str, str], Tally]) -> None:
    ends = [*(f"{low} to {high}" for low, high in pairwise(SIZES)), f"{SIZES[-1]} up"]
    print("\nRecall at the default threshold by the object's shorter side in pixels (number of objects):\n")
    print("| type | " + " | ".join(ends) + " |")
    print("|---|" + "---|" * len(ends))
    for name in ObjectType:
        mine = [each for (owner, _), each in tallies.items() if owner == name]
        cells = []
        for size in SIZES:
            objects = sum(each.of_size[size] for each in mine)
            hits = sum(each.found_of_size[size] for each in mine)
            cells.append(f"{hits / objects:.2f} ({objects})" if objects else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


def large_picture(data: Path, count: int = 20) -> tuple[Image, dict[ObjectType, Truth]]:
    """A photo enlarged to 6000 x 4000, with small faces and plates pasted on a grid, and some of what is round them."""
    chance = np.random.default_rng(1)
    background: Image | None = None
    cuts: dict[ObjectType, list[tuple[Image, Boxes]]] = {ObjectType.FACE: [], ObjectType.LICENSE_PLATE: []}
    for image, pixels, truths in val_images(data):
        if background is None and image["source"] == "voc" and image["width"] > image["height"]:
            background = np.asarray(cv2.resize(pixels, (6000, 4000), interpolation=cv2.INTER_CUBIC), np.uint8)
        for name in cuts.keys() & truths.keys():
            good = np.flatnonzero(~truths[name].ignored)
            if len(cuts[name]) < count // 2 and image["source"] in ("fddb", "dashcam", "cars") and len(good):
                cuts[name].append((pixels, truths[name].boxes[good[0]]))
    if background is None:
        raise SystemExit(f"{data} has no photo that can be enlarged.")
    placed = {}
    cells = chance.permutation(24)[:count]
    for kind, (name, mine) in enumerate(cuts.items()):
        boxes = []
        for (pixels, box), cell in zip(mine, cells[kind * count // 2 :], strict=False):
            at = np.array([cell % 6 * 1000 + 300, cell // 6 * 1000 + 300]) + chance.integers(0, 300, 2)
            boxes.append(paste(background, pixels, box, at, float(chance.uniform(24, 60))))
        placed[name] = Truth(np.array(boxes, np.float32), np.zeros(len(boxes), bool))
    return background, placed


def paste(onto: Image, pixels: Image, box: Boxes, at: NDArray[np.int_], side: float) -> Boxes:
    """Put an object with its surroundings into a picture, its longer side scaled to `side`; returns its box."""
    scale = side / float(max(box[2] - box[0], box[3] - box[1]))
    low = np.maximum(box[:2] - 1.5 * (box[2:] - box[:2]), 0).astype(int)
    high = np.minimum(box[2:] + 1.5 * (box[2:] - box[:2]), pixels.shape[1::-1]).astype(int)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    piece = cv2.resize(pixels[low[1] : high[1], low[0] : high[0]], None, fx=scale, fy=scale, interpolation=how)
    onto[at[1] : at[1] + piece.shape[0], at[0] : at[0] + piece.shape[1]] = piece
    return np.asarray((box - np.tile(low, 2)) * scale + np.tile(at, 2), np.float32)


def close_up(data: Path) -> tuple[Image, dict[ObjectType, Truth]]:
    """A face that fills 80 % of the height of a picture of 2000 pixels."""
    for _, pixels, truths in val_images(data, sources=("fddb",)):
        if len(truths["face"].boxes) != 1 or truths["face"].ignored.any():
            continue
        (box,) = truths["face"].boxes
        side = (box[3] - box[1]) / 0.8
        low = ((box[:2] + box[2:]) / 2 - side / 2).round().astype(int)
        high = low + round(side)
        if (low >= 0).all() and (high <= pixels.shape[1::-1]).all():
            face = cv2.resize(pixels[low[1] : high[1], low[0] : high[0]], (2000, 2000), interpolation=cv2.INTER_CUBIC)
            placed = (box - np.tile(low, 2)) * 2000 / (high - low)[0]
            return np.asarray(face, np.uint8), {ObjectType.FACE: Truth(placed[None], np.zeros(1, bool))}
    raise SystemExit(f"{data} has no face that can be enlarged.")


def print_large(anonymizer: Anonymizer, data: Path) -> None:
    print("| picture | format | type | found at the default threshold | seconds |\n|---|---|---|---|---|")
    pictures = {"6000 x 4000, small objects": large_picture(data), "2000 x 2000, close-up": close_up(data)}
    formats: tuple[Format, ...] = (Whole(), Auto())
    for title, (pixels, truths) in pictures.items():
        for how in formats:
            for each, wanted in truths.items():
                started = time.perf_counter()
                (found,) = anonymizer.detect([pixels], [each], how)
                seconds = time.perf_counter() - started
                count = f"{hits(found, each, wanted)} of {len(wanted.boxes)}"
                print(f"| {title} | {how} | {each} | {count} | {seconds:.1f} |", flush=True)


def hits(found: Detections, name: ObjectType, truth: Truth) -> int:
    mine = found.of_type(name)
    mine = mine[mine.scores >= Options().threshold(name)]
    return sum(hit is not None for hit in matches(mine.boxes, truth))


def print_speed(anonymizer: Anonymizer, data: Path) -> None:
    """One picture of 640 x 480, median of five."""
    pixels = np.asarray(cv2.resize(close_up(data)[0], (640, 480)), np.uint8)
    print("\n640 x 480, whole:", end="")
    for types in ([ObjectType.FACE], [ObjectType.LICENSE_PLATE], list(ObjectType)):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            anonymizer.detect([pixels], types, Whole())
            times.append(time.perf_counter() - started)
        print(f" {' + '.join(types)} {1000 * float(np.median(times)):.0f} ms;", end="")
    print("\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of val.json and val/")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=(), help="only these of val, no large pictures")
    parser.add_argument("--limit", type=int, help="images of each source")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", default="embedded", help="as ANONYMIZER_MODELS: a profile, TYPE=ID+ID, or both")
    arguments = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    anonymizer = Anonymizer(store=ModelStore(device=arguments.device, models=arguments.models))
    for each in anonymizer.store.detectors(tuple(ObjectType)):
        each.warm_up()
    if not arguments.source:
        print_large(anonymizer, arguments.data)
        print_speed(anonymizer, arguments.data)
    tallies = measure(anonymizer, arguments.data, arguments.limit, arguments.source)
    print_val(tallies)
    print_sizes(tallies)


if __name__ == "__main__":
    main()
