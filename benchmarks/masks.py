"""Measure ways to make masks of persons and vehicles against the polygons of the source `street-masks` of val.

    python -m benchmarks.masks [--data ../shared/data] [--sam sam_vit_b_01ec64.pth] [--device cpu] [--limit N]

It prints a Markdown table with a row for each way: IoU, coverage, changed area, and milliseconds for each object. The
boxes are those of the ground truth whose shorter side has at least 24 pixels. IoU is that of the mask itself; coverage
and changed area are those of what `blacken` changes with a margin of 0.1.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.pipeline.segmentation.mask_head import MaskHead
from anonymizer.pipeline.segmentation.mask_rules import box_mask
from anonymizer.pipeline.segmentation.sam import Sam

LEAST = 24
#: the margin that all figures of masks in the code are measured with
MARGIN = 0.1
_TYPES = {3: ObjectType.PERSON, 4: ObjectType.VEHICLE}

Image = NDArray[np.uint8]
Way = Callable[[Image, NDArray[np.float32], NDArray[np.uint8]], list[Mask | None]]


@dataclass(frozen=True)
class Street:
    """One image and its objects."""

    image: Image
    boxes: NDArray[np.float32]
    types: NDArray[np.uint8]
    outlines: list[NDArray[np.bool_]]


@dataclass
class Figures:
    """The figures of one way, a number for each object."""

    ious: list[float] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def row(self, name: str) -> str:
        ious, types, covered = np.array(self.ious), np.array(self.types), np.array(self.covered)
        by_type = " | ".join(f"{ious[types == each.number].mean():.3f}" for each in _TYPES.values())
        return (
            f"| {name} | {ious.mean():.3f} | {by_type} | {covered.mean():.4f} | {(covered < 0.9).mean():.3f} "
            f"| {np.mean(self.changed):.3f} | {1000 * self.seconds / len(ious):.1f} |"
        )


def streets(data: Path, *, limit: int | None = None) -> Iterator[Street]:
    """The images of `street-masks`, with their objects of at least `LEAST` pixels."""
    labels = json.loads((data / "val.json").read_text())
    pictures = [each for each in labels["images"] if each["source"] == "street-masks"]
    for picture in pictures[:limit]:
        rows = [
            each
            for each in labels["annotations"]
            if each["image_id"] == picture["id"] and each.get("segmentation") and min(each["bbox"][2:]) >= LEAST
        ]
        if not rows:
            continue
        image = cv2.cvtColor(cv2.imread(str(data / "val" / picture["file_name"])), cv2.COLOR_BGR2RGB)
        boxes = np.array([each["bbox"] for each in rows], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        types = np.array([_TYPES[each["category_id"]].number for each in rows], np.uint8)
        yield Street(np.asarray(image), boxes, types, [_filled(each["segmentation"], image.shape[:2]) for each in rows])


def _filled(polygons: list[list[float]], size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    out = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(out, [np.rint(np.reshape(part, (-1, 2))).astype(np.int32) for part in polygons], 1)
    return out > 0


def measure(way: Way, street: Street, into: Figures) -> None:
    """Add the objects of one image."""
    started = time.perf_counter()
    masks = way(street.image, street.boxes, street.types)
    into.seconds += time.perf_counter() - started
    size_hw = street.outlines[0].shape
    found = Detections(
        street.boxes, np.ones(len(masks)), street.types, np.full(len(masks), "truth"), masks=tuple(masks)
    )
    by_row = {shape.row: shape for shape in redaction_regions(found, (size_hw[0], size_hw[1]), Options(margin=MARGIN))}
    for row, (mask, truth) in enumerate(zip(masks, street.outlines, strict=True)):
        own = mask or box_mask(street.boxes[row], size_hw)
        assert own is not None
        whole = np.zeros(size_hw, np.bool_)
        whole[own.y : own.y + own.pixels.shape[0], own.x : own.x + own.pixels.shape[1]] = own.pixels
        changed = np.zeros(size_hw, np.bool_)
        changed[by_row[row].crop] = by_row[row].alpha > 0
        width, height = street.boxes[row, 2:] - street.boxes[row, :2]
        into.ious.append(float((whole & truth).sum() / (whole | truth).sum()))
        into.covered.append(float((changed & truth).sum() / truth.sum()))
        into.changed.append(float(changed.sum() / (width * height)))
        into.types.append(int(street.types[row]))


def boxes_only(image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
    return [None] * len(boxes)


def _each(draw: Callable[[Image, NDArray[np.int64]], NDArray[np.bool_]]) -> Way:
    """Turn a function for one box into a way for all boxes of an image."""

    def way(image: Image, boxes: NDArray[np.float32], types: NDArray[np.uint8]) -> list[Mask | None]:
        whole = np.rint(boxes).astype(int)
        return [Mask(int(box[0]), int(box[1]), draw(image, box), "benchmark") for box in whole]

    return way


def rounded(image: Image, box: NDArray[np.int64], *, power: float = 2.5, share: float = 1.0) -> NDArray[np.bool_]:
    """A box with round corners: |x|^p + |y|^p <= 1; p = 2 is an ellipse."""
    width, height = box[2:] - box[:2]
    x = np.abs((np.arange(width) + 0.5) * 2 / width - 1) / share
    y = np.abs((np.arange(height) + 0.5) * 2 / height - 1) / share
    return np.asarray(x**power + y[:, None] ** power <= 1)


def grabcut(image: Image, box: NDArray[np.int64], *, side: int = 96) -> NDArray[np.bool_]:
    """GrabCut in a box and a fifth of it around, scaled down to `side` pixels."""
    width, height = box[2:] - box[:2]
    edge = np.array([width, height]) // 5
    x1, y1 = np.maximum(box[:2] - edge, 0)
    crop = image[y1 : box[3] + edge[1], x1 : box[2] + edge[0]]
    scale = min(side / max(crop.shape[:2]), 1.0)
    size = (max(round(crop.shape[1] * scale), 4), max(round(crop.shape[0] * scale), 4))
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA))
    start = np.full((size[1], size[0]), cv2.GC_BGD, np.uint8)
    inside = [round((v - o) * scale) for v, o in zip(box, (x1, y1, x1, y1), strict=True)]
    start[inside[1] : inside[3], inside[0] : inside[2]] = cv2.GC_PR_FGD
    if len(np.unique(start)) < 2:
        return np.ones((height, width), np.bool_)
    cv2.setRNGSeed(1)
    cv2.grabCut(small, start, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    found = ((start == cv2.GC_FGD) | (start == cv2.GC_PR_FGD)).astype(np.float32)
    wide = cv2.resize(found, (crop.shape[1], crop.shape[0]))
    return np.asarray(wide[box[1] - y1 : box[3] - y1, box[0] - x1 : box[2] - x1] > 0.5)


def grabcut_and_ellipse(image: Image, box: NDArray[np.int64]) -> NDArray[np.bool_]:
    return grabcut(image, box) | rounded(image, box, power=2, share=0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--head", type=Path, default=MODELS_FOLDER / "own-masks.safetensors")
    parser.add_argument("--base", type=Path, default=MODELS_FOLDER / "own-detector.safetensors")
    parser.add_argument("--sam", type=Path, help="a checkpoint of Segment Anything; default: it is not measured")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="the most images; default: all")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    ways: dict[str, Way] = {
        "box": boxes_only,
        "ellipse": _each(lambda image, box: rounded(image, box, power=2)),
        "rounded box": _each(rounded),
        "GrabCut, 96 px": _each(grabcut),
        "GrabCut and ellipse": _each(grabcut_and_ellipse),
        "refinement": HeuristicSegmenter().segment,
    }
    if given.head.is_file():
        ways["own-masks"] = MaskHead(given.head, given.base, device=given.device).segment
    if given.sam:
        sam = Sam(given.sam, device=given.device)
        ways[sam.id] = sam.segment
    figures = {name: Figures() for name in ways}
    for street in streets(given.data, limit=given.limit):
        for name, way in ways.items():
            measure(way, street, figures[name])
    print("| way | mean IoU | person | vehicle | covered | covered < .9 | changed / box | ms an object |")
    print("|---|---|---|---|---|---|---|---|")
    for name, each in figures.items():
        print(each.row(name))
    print(f"\n{len(figures['box'].ious)} objects")


if __name__ == "__main__":
    main()
