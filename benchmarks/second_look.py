"""Measure the second look of `format=auto` beside `whole` and `thorough`, and what pieces do for wide pictures.

    python -m benchmarks.second_look [--data ../shared/data] [--models embedded] [--device cpu] [--threads 1]
                                     [--canvases 4] [--pictures 40] [--streets 4] [--strips 6]
                                     [--table canvases streets strips]

It prints Markdown tables:
canvases: images of 6000 x 4000 pixels. Pictures of val lie on an enlarged street, at their own scale or smaller. Each
picture counts only for the types that are labelled in it.
streets: seconds of `whole` and `auto` for images of 6000 x 4000 pixels, each made of nine enlarged street pictures.
strips: images of 4800 x 800 pixels, made of street pictures side by side. AP50 is compared with that of the same
pictures alone, scaled in the same way.
Objects under 8 pixels are ignored. Everything is chosen by the seed.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.metrics.average_precision import CocoRows
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.options import Options

SOURCES = ("voc", "kitti", "cctv-traffic", "coco", "coco-person", "plates-world", "wider")
STREET_SOURCES = ("voc", "kitti", "cctv-traffic", "coco", "coco-person")
TABLES = ("canvases", "streets", "strips")
FORMATS = ("whole", "auto", "thorough")
CANVAS_WH, STRIP_WH = (6000, 4000), (4800, 800)
#: how much smaller pictures are made, at most
LEAST_SCALE = 0.3
#: objects with a shorter side under this many pixels are ignored
LEAST_PX = 8
#: the bars of the issue: time of `auto` against `whole` and `thorough`, and AP50 that a strip may lose
MOST_TIMES_WHOLE, MOST_OF_THOROUGH, MOST_AP_LOST = 3.0, 1 / 3, 0.05

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """A labelled picture, scaled, and where it lies in a larger image.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        x, y: in pixels of the larger image.
    """

    image: LabelledImage
    pixels: Image
    scale: float
    x: int = 0
    y: int = 0

    def objects(self, object_type: ObjectType) -> Objects:
        """The labelled objects, in pixels of the scaled picture."""
        of_type = self.image.objects[object_type]
        boxes = (of_type.boxes * self.scale).astype(np.float32)
        small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < LEAST_PX
        return Objects(boxes, of_type.ignored | small)

    def own(self, found: Detections) -> Detections:
        """The detections whose centre lies in the picture, with boxes in pixels of the larger image."""
        height, width = self.pixels.shape[:2]
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - [self.x, self.y]
        return found[np.flatnonzero(((centres >= 0) & (centres < [width, height])).all(axis=1))]


@dataclass
class Figures:
    """What was found, picture by picture, by object type."""

    counts: dict[ObjectType, DetectionCounts] = field(default_factory=dict)
    rows: dict[ObjectType, CocoRows] = field(default_factory=lambda: defaultdict(CocoRows))
    seconds: float = 0.0

    def add(self, placed: Placed, found: Detections, types: Sequence[ObjectType]) -> None:
        """Add one picture; `found` has boxes in pixels of the larger image."""
        own = placed.own(found)
        for object_type in types:
            if object_type in placed.image.labelled:
                of_type, objects = own.of_type(object_type), placed.objects(object_type)
                boxes = (of_type.boxes - np.array([placed.x, placed.y] * 2)).astype(np.float32)
                counts = self.counts.setdefault(object_type, DetectionCounts(Options().threshold(object_type)))
                counts.add(boxes, of_type.scores, objects)
                self.rows[object_type].add(boxes, of_type.scores, objects)

    @property
    def recall(self) -> float:
        """Of all types together, at the default thresholds."""
        hits = sum(counts.recall * counts.objects for counts in self.counts.values())
        return hits / max(1, sum(counts.objects for counts in self.counts.values()))


def scaled(image: LabelledImage, scale: float) -> Placed:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = np.asarray(cv2.resize(image.pixels(), None, fx=scale, fy=scale, interpolation=how), np.uint8)
    return Placed(image, pixels, scale)


def at(placed: Placed, onto: Image, x: int, y: int) -> Placed:
    """Paste a picture into a larger image."""
    height, width = placed.pixels.shape[:2]
    onto[y : y + height, x : x + width] = placed.pixels
    return Placed(placed.image, placed.pixels, placed.scale, x, y)


def canvas(images: Sequence[LabelledImage], count: int, chance: np.random.Generator) -> tuple[Image, list[Placed]]:
    """An enlarged street, with `count` pictures at random places of a grid, at their own scale or smaller."""
    streets = [image for image in images if image.source == "kitti"]
    street = streets[int(chance.integers(len(streets)))].pixels()
    height = street.shape[0]
    cut = street[:, : round(height * CANVAS_WH[0] / CANVAS_WH[1])]
    pixels = np.asarray(cv2.resize(cut, CANVAS_WH, interpolation=cv2.INTER_CUBIC), np.uint8)
    columns = int(np.ceil(np.sqrt(count * CANVAS_WH[0] / CANVAS_WH[1])))
    rows = -(-count // columns)
    width, height = CANVAS_WH[0] // columns, CANVAS_WH[1] // rows
    placed = []
    for cell in chance.permutation(columns * rows)[:count]:
        image = _pick(images, chance)
        size = image.pixels().shape
        most = min(1.0, width / size[1], height / size[0])
        piece = scaled(image, most * float(chance.uniform(LEAST_SCALE, 1)))
        free = [width - piece.pixels.shape[1], height - piece.pixels.shape[0]]
        x, y = (int(chance.integers(max(1, each + 1))) for each in free)
        placed.append(at(piece, pixels, int(cell % columns) * width + x, int(cell // columns) * height + y))
    return pixels, placed


def street(images: Sequence[LabelledImage], chance: np.random.Generator) -> Image:
    """Nine street pictures, each cut and enlarged to a ninth of the image: objects are as large as in such photos."""
    width, height = CANVAS_WH[0] // 3, -(-CANVAS_WH[1] // 3)
    pixels = np.zeros((3 * height, 3 * width, 3), np.uint8)
    for cell in range(9):
        picture = _pick(images, chance).pixels()
        scale = max(width / picture.shape[1], height / picture.shape[0])
        large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        x, y = cell % 3 * width, cell // 3 * height
        pixels[y : y + height, x : x + width] = large[:height, :width]
    return pixels[: CANVAS_WH[1]]


def print_streets(
    anonymizer: Anonymizer, types: Sequence[ObjectType], images: Sequence[LabelledImage], given: argparse.Namespace
) -> None:
    chance = np.random.default_rng(given.seed)
    print("\n| street | whole, s | auto, s | ratio |\n|---|---|---|---|")
    times: dict[str, list[float]] = defaultdict(list)
    for number in range(given.streets):
        pixels = street(images, chance)
        for name in ("whole", "auto"):
            started = time.perf_counter()
            anonymizer.detect([pixels], types, name)
            times[name].append(time.perf_counter() - started)
        whole, auto = times["whole"][-1], times["auto"][-1]
        print(f"| {number + 1} | {whole:.1f} | {auto:.1f} | {auto / whole:.2f} |", flush=True)
    ratio = sum(times["auto"]) / sum(times["whole"])
    print(f"\nTogether {ratio:.2f}; at most {MOST_TIMES_WHOLE:g}: {_bar(reached=ratio <= MOST_TIMES_WHOLE)}")


def _bar(*, reached: bool) -> str:
    return "reached" if reached else "NOT REACHED"


def strip(images: Sequence[LabelledImage], chance: np.random.Generator) -> tuple[Image, list[Placed]]:
    """Street pictures side by side, all scaled to its height; it ends with the last one that fits."""
    pixels = np.full((STRIP_WH[1], STRIP_WH[0], 3), 114, np.uint8)
    placed: list[Placed] = []
    used = 0
    while True:
        image = _pick(images, chance)
        piece = scaled(image, STRIP_WH[1] / image.pixels().shape[0])
        if used + piece.pixels.shape[1] > STRIP_WH[0]:
            return pixels[:, :used] if used > 2 * STRIP_WH[1] else pixels, placed
        placed.append(at(piece, pixels, used, 0))
        used += piece.pixels.shape[1]


def _pick(images: Sequence[LabelledImage], chance: np.random.Generator) -> LabelledImage:
    """Any picture of any source: each source is as likely as the others."""
    sources = sorted({image.source for image in images})
    of_source = [image for image in images if image.source == sources[int(chance.integers(len(sources)))]]
    return of_source[int(chance.integers(len(of_source)))]


def measure_canvases(
    anonymizer: Anonymizer, types: Sequence[ObjectType], images: Sequence[LabelledImage], given: argparse.Namespace
) -> dict[str, Figures]:
    figures = {name: Figures() for name in FORMATS}
    chance = np.random.default_rng(given.seed)
    for number in range(given.canvases):
        pixels, placed = canvas(images, given.pictures, chance)
        for name in FORMATS:
            started = time.perf_counter()
            (found,) = anonymizer.detect([pixels], types, name)
            seconds = time.perf_counter() - started
            figures[name].seconds += seconds
            for each in placed:
                figures[name].add(each, found, types)
            print(f"canvas {number + 1}, {name}: {len(found)} detections, {seconds:.1f} s", flush=True)
    return figures


def print_canvases(figures: dict[str, Figures], canvases: int) -> None:
    print(f"\n{canvases} images of {CANVAS_WH[0]} x {CANVAS_WH[1]}, default thresholds, false blurs a picture:\n")
    print("| type | objects | format | recall | 8 to 16 px | 16 to 32 px | false blurs | AP50 |\n" + "|---" * 8 + "|")
    for object_type in ObjectType:
        for name, each in figures.items():
            if object_type not in each.counts:
                continue
            counts = each.counts[object_type]
            sizes = [
                f"{counts.found_of_size[size] / counts.of_size[size]:.2f}" if counts.of_size[size] else ""
                for size in (0, 16)
            ]
            print(
                f"| {object_type} | {counts.objects} | {name} | {counts.recall:.3f} | {' | '.join(sizes)} |"
                f" {counts.false_positives:.2f} | {each.rows[object_type].average_precision():.3f} |"
            )
    print("\n| format | recall of all | seconds an image |\n|---|---|---|")
    for name, each in figures.items():
        print(f"| {name} | {each.recall:.3f} | {each.seconds / canvases:.1f} |")
    auto, thorough = figures["auto"], figures["thorough"]
    rows = (
        ("recall of auto - recall of thorough", auto.recall - thorough.recall, auto.recall >= thorough.recall, "0 up"),
        ("time of auto / time of thorough", ratio := auto.seconds / thorough.seconds, ratio <= MOST_OF_THOROUGH, "1/3"),
    )
    print("\n| what | measured | bar | |\n|---|---|---|---|")
    for what, value, reached, bar in rows:
        print(f"| {what} | {value:.3f} | {bar} | {_bar(reached=reached)} |")


def measure_strips(
    anonymizer: Anonymizer, types: Sequence[ObjectType], images: Sequence[LabelledImage], given: argparse.Namespace
) -> Iterator[tuple[str, Figures, Figures]]:
    """For each format: its name, the figures of the pictures alone, and those of the strips."""
    for name in ("whole", "auto"):
        chance = np.random.default_rng(given.seed)
        alone, together = Figures(), Figures()
        for _ in range(given.strips):
            pixels, placed = strip(images, chance)
            started = time.perf_counter()
            (found,) = anonymizer.detect([pixels], types, name)
            together.seconds += time.perf_counter() - started
            for each in placed:
                together.add(each, found, types)
                started = time.perf_counter()
                (of_picture,) = anonymizer.detect([each.pixels], types, name)
                alone.seconds += time.perf_counter() - started
                alone.add(Placed(each.image, each.pixels, each.scale), of_picture, types)
        yield name, alone, together


def print_strips(name: str, alone: Figures, together: Figures, strips: int) -> None:
    print(f"\n{strips} strips up to {STRIP_WH[0]} x {STRIP_WH[1]}, {name}: AP50 of the pictures alone and in strips\n")
    print("| type | objects | alone | in strips | lost | bar |\n" + "|---" * 6 + "|")
    for object_type, counts in alone.counts.items():
        if counts.objects:
            before = alone.rows[object_type].average_precision()
            after = together.rows[object_type].average_precision()
            bar = _bar(reached=before - after <= MOST_AP_LOST)
            print(
                f"| {object_type} | {counts.objects} | {before:.3f} | {after:.3f} | {before - after:.3f} |"
                f" {bar} ({MOST_AP_LOST}) |"
            )
    print(f"\nseconds: alone {alone.seconds:.1f}, in strips {together.seconds:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with val.json and val/")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), help="the folder with the registry and the models"
    )
    parser.add_argument("--models", default="embedded", help="ids, a profile or TYPE=ID+ID")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; default: 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--canvases", type=int, default=4, help="default: 4")
    parser.add_argument("--pictures", type=int, default=40, help="pictures on a canvas; default: 40")
    parser.add_argument("--streets", type=int, default=4, help="default: 4")
    parser.add_argument("--strips", type=int, default=6, help="default: 6")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    val = LabelledSet.read(given.data / "val.json")
    store, types = named_models(given.models, given.folder, device=given.device)
    anonymizer = Anonymizer(store=store)
    for detector in store.detectors(types):
        detector.warm_up()
    if "canvases" in given.table:
        print_canvases(measure_canvases(anonymizer, types, list(val.of(SOURCES)), given), given.canvases)
    if "streets" in given.table:
        print_streets(anonymizer, types, list(val.of(STREET_SOURCES)), given)
    if "strips" in given.table:
        for name, alone, together in measure_strips(anonymizer, types, list(val.of(STREET_SOURCES)), given):
            print_strips(name, alone, together, given.strips)


if __name__ == "__main__":
    main()
