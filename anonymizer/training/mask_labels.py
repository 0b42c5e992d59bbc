"""Masks to learn from where nobody drew any: what colours, shape and a teacher for persons say about a box.

No mask drawn by hand is used. For each box there are several opinions: GrabCut (Rother, Kolmogorov, Blake, 2004), the
box with round corners, and for persons MediaPipe's selfie segmentation (Apache-2.0), a teacher of 250 KB. Their mean,
weighted, is a soft label: noisy for one object, and right on average, which is what a network learns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anonymizer.pipeline.segmentation.crops import SPAN
from anonymizer.pipeline.segmentation.heuristic import CUT_SIDE, INSIDE, by_colour, by_shape

__all__ = ["REACH", "SIDE", "Pieces", "pieces"]

#: Pixels of a piece's side, and how many times the longer side of its object's box fits in it.
SIDE, REACH = 192, 1.5
#: shorter side in pixels from which on an object is worth a label
LEAST = 40
#: Weights of teacher, GrabCut and rounded box, and the weighted sum from which on a pixel rather belongs to the object.
_WEIGHTS = {2: (0.5, 0.3, 0.2, 0.35), 3: (0.0, 0.5, 0.5, 0.3)}
#: what a piece shows beyond the picture
_GREY = (127, 127, 127)
#: COCO category in the data: number of the type in `OBJECT_TYPES`
_TYPES = {3: 2, 4: 3}
_PERSON, _VEHICLE = 2, 3
#: what the teacher runs on: the last versions to bring the model with the wheel want an older NumPy than we do
_TEACHER_WHEELS = (
    "numpy<2",
    "absl-py",
    "attrs",
    "flatbuffers",
    "matplotlib",
    "protobuf<5",
    "opencv-contrib-python<4.11",
)
_TEACHER = "mediapipe==0.10.14"


@dataclass(frozen=True)
class Pieces:
    """n objects cut out with what is around them, in square windows with the object's box in the middle.

    Attributes:
        images: (n, SIDE, SIDE, 3) uint8 RGB.
        labels: (n, SIDE, SIDE) uint8, 255 = surely the object.
        sizes: (n, 2) float32, width and height of the box in pixels of the piece.
        types: (n,) uint8, index into `OBJECT_TYPES`.
        agreement: (n,) float32, 0..1, how far the opinions on each are one.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    sizes: NDArray[np.float32]
    types: NDArray[np.uint8]
    agreement: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


def pieces(data: Path, work: Path, *, limit: int | None = None) -> Pieces:
    """The objects of `data/train` with labels; made once, then read from the folder `work`.

    The labels do not depend on any network of ours: they stay when the detector is trained again.
    """
    file = work / "pieces.npz"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        made = _labelled(data, work, limit)
        part = file.with_name("part.npz")
        np.savez(part, images=made.images, labels=made.labels, sizes=made.sizes, types=made.types,
                 agreement=made.agreement)  # fmt: skip
        part.replace(file)
    with np.load(file) as archive:
        return Pieces(**archive)


def _labelled(data: Path, work: Path, limit: int | None) -> Pieces:
    cut = list(_cut_out(data))[:limit]
    images = np.stack([image for image, _, _ in cut])
    sizes = np.array([size for _, size, _ in cut], np.float32)
    types = np.array([number for _, _, number in cut], np.uint8)
    print(f"{len(cut)} objects; asking the teacher", flush=True)
    taught = dict(zip(np.flatnonzero(types == _PERSON), _taught(images[types == _PERSON], work), strict=True))
    labels = np.empty(images.shape[:3], np.uint8)
    agreement = np.empty(len(cut), np.float32)
    for n, image in enumerate(images):
        label, agreement[n] = _label(image, sizes[n], taught.get(n))
        back = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        labels[n] = cv2.warpAffine(label, _stretch(sizes[n]), (SIDE, SIDE), flags=back)
        if n % 500 == 0:
            print(f"labelled {n} of {len(cut)}", flush=True)
    return Pieces(images, labels, sizes, types, agreement)


def _cut_out(data: Path) -> Iterator[tuple[NDArray[np.uint8], tuple[float, float], int]]:
    """Each person and vehicle of the training data that is large enough: piece, size of its box in it, type."""
    labels = json.loads((data / "train.json").read_text())
    paths = {each["id"]: data / "train" / each["file_name"] for each in labels["images"]}
    rows = sorted((each for each in labels["annotations"] if _useful(each)), key=lambda each: each["image_id"])
    for image_id, of_one in groupby(rows, key=lambda each: each["image_id"]):
        image = np.asarray(Image.open(paths[image_id]).convert("RGB"))
        for each in of_one:
            x, y, width, height = each["bbox"]
            scale = SIDE / (REACH * max(width, height))
            turn = np.array([
                [scale, 0, SIDE / 2 - (x + width / 2) * scale],
                [0, scale, SIDE / 2 - (y + height / 2) * scale],
            ])  # fmt: skip
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            piece = cv2.warpAffine(image, turn, (SIDE, SIDE), flags=how, borderValue=_GREY)
            yield np.asarray(piece), (width * scale, height * scale), _TYPES[each["category_id"]]


def _useful(row: dict[str, Any]) -> bool:
    return row["category_id"] in _TYPES and not row["ignore"] and not row["iscrowd"] and min(row["bbox"][2:]) >= LEAST


def _label(
    image: NDArray[np.uint8], size: NDArray[np.float32], taught: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], float]:
    """(CUT_SIDE, CUT_SIDE) uint8 label, and how far the opinions agree."""
    to_cut = _stretch(size)
    cut = cv2.warpAffine(image, to_cut, (CUT_SIDE, CUT_SIDE), borderValue=_GREY)
    colour, shape = by_colour(np.asarray(cut, np.uint8)), by_shape()
    teacher = 0.0 if taught is None else cv2.warpAffine(taught, to_cut, (CUT_SIDE, CUT_SIDE)) / np.float32(255)
    of_teacher, of_colour, of_shape, middle = _WEIGHTS[_VEHICLE if taught is None else _PERSON]
    mean = of_teacher * teacher + of_colour * colour + of_shape * shape
    label = np.where(INSIDE, 1 / (1 + np.exp((middle - mean) / 0.1)), 0)
    other = shape if taught is None else teacher
    agreement = np.minimum(colour, other).sum() / max(float(np.maximum(colour, other).sum()), 1.0)
    return np.asarray(np.rint(label * 255), np.uint8), float(agreement)


def _stretch(size: NDArray[np.float32]) -> NDArray[np.float64]:
    """From a piece to where its box is a square of fixed size, 2 x 3."""
    across, down = CUT_SIDE / (SPAN * size.astype(float))
    return np.array([[across, 0, (CUT_SIDE - SIDE * across) / 2], [0, down, (CUT_SIDE - SIDE * down) / 2]])


def _taught(persons: NDArray[np.uint8], work: Path) -> NDArray[np.uint8]:
    """What the teacher says, (n, SIDE, SIDE) uint8, 255 = surely a person, asked in a Python of its own."""
    answers = work / "taught.npy"
    if not answers.is_file():
        np.save(work / "persons.npy", persons)
        script = Path(__file__).with_name("selfie_teacher.py")
        subprocess.run([str(_teachers_python(work)), str(script), str(work / "persons.npy"), str(answers)], check=True)
    return np.asarray(np.load(answers))


def _teachers_python(work: Path) -> Path:
    python = work / "teacher" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(work / "teacher")], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *_TEACHER_WHEELS], check=True)
        # without what it only needs for sound and language
        subprocess.run([*pip, "--no-deps", _TEACHER], check=True)
    return python
