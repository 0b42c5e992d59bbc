"""What the tests of detectors from ONNX files share: onnxruntime, a plain decoder's parts, and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections

Image = NDArray[np.uint8]


def photos(data: Path, source: str, count: int) -> list[tuple[Image, NDArray[np.float32]]]:
    """The first photos of one source with an object, and the boxes x1, y1, x2, y2 in each."""
    rows = json.loads((data / "val.json").read_text())
    found = []
    for each in rows["images"]:
        boxes = [row["bbox"] for row in rows["annotations"] if row["image_id"] == each["id"] and not row["ignore"]]
        if each["source"] == source and boxes and len(found) < count:
            pixels = cv2.cvtColor(cv2.imread(str(data / "val" / each["file_name"])), cv2.COLOR_BGR2RGB)
            array = np.array(boxes, np.float32)
            found.append((np.asarray(pixels, np.uint8), np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], 1)))
    return found


def run(path: Path, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The outputs of onnxruntime for one picture (1, 3, h, w), by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: inputs}), strict=True))


def on_canvas(image: Image, size_wh: tuple[int, int], canvas_wh: tuple[int, int], pad: int) -> NDArray[np.float32]:
    """(1, 3, h, w), red first, 0..255."""
    smaller = size_wh[0] < image.shape[1]
    resized = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    canvas = np.full((*canvas_wh[::-1], 3), pad, np.float32)
    canvas[: size_wh[1], : size_wh[0]] = resized
    return canvas.transpose(2, 0, 1)[None]


def cells(canvas_wh: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """(n, 2) x, y, row by row."""
    return np.array(
        [(x, y) for y in range(canvas_wh[1] // stride) for x in range(canvas_wh[0] // stride)], np.float32
    ).reshape(-1, 2)


def kept(boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float) -> list[int]:
    """What non-maximum suppression leaves, by falling score."""
    left, keep = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left.pop(0)
        keep.append(int(best))
        left = [each for each in left if overlap(boxes[best], boxes[each]) <= iou]
    return keep


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    shared = np.prod(np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


def same(one: Detections, other: Detections, *, pixels: float = 0.1, scores: float = 2e-3) -> bool:
    """Whether two results are one but for rounding: same objects, in whatever order."""
    if len(one) != len(other):
        return False
    left = list(range(len(other)))
    for row in range(len(one)):
        gaps = [
            (np.abs(one.boxes[row] - other.boxes[each]).max(), abs(one.scores[row] - other.scores[each]), each)
            for each in left
            if one.types[row] == other.types[each]
        ]
        fitting = [each for gap, step, each in gaps if gap <= pixels and step <= scores]
        if not fitting:
            return False
        left.remove(fitting[0])
    return True


def crowd(piece: Image, columns: int, rows: int) -> Image:
    """The same thing again and again."""
    return np.tile(piece, (rows, columns, 1))


def cut(image: Image, box: NDArray[np.float32], margin: float, size_wh: tuple[int, int]) -> Image:
    """A box of a picture with some of what is round it, scaled."""
    width, height = box[2:] - box[:2]
    x1, y1 = np.maximum(box[:2] - margin * np.array([width, height]), 0).astype(int)
    x2, y2 = (box[2:] + margin * np.array([width, height])).astype(int)
    return np.asarray(cv2.resize(image[y1:y2, x1:x2], size_wh, interpolation=cv2.INTER_AREA), np.uint8)
