"""Soft mask labels for objects that only have boxes, from colours, shape and a teacher for persons.

No mask drawn by hand is used. Each box has several estimates: GrabCut (Rother, Kolmogorov, Blake 2004), a box with
round corners, and for persons MediaPipe's selfie segmentation (Apache-2.0), a teacher of 250 KB. Their weighted mean is
a soft label. It is noisy for one object, but right on average, and the network learns the average.
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
from anonymizer.pipeline.segmentation.heuristic import CUT_SIDE, INSIDE, colour_probability, shape_probability

__all__ = ["REACH", "SIDE", "MaskSamples", "load_mask_samples"]

#: Width of a window in pixels, and the ratio of the window's width to the longer side of the object's box.
SIDE, REACH = 192, 1.5
#: Objects with a shorter side below this, in pixels, are not used.
LEAST = 40
#: By type: weights of teacher, GrabCut and rounded box, and the weighted mean at which a label becomes 0.5.
_WEIGHTS = {2: (0.5, 0.3, 0.2, 0.35), 3: (0.0, 0.5, 0.5, 0.3)}
#: colour of a window beyond the image
_GREY = (127, 127, 127)
#: COCO category in the data: index of the type in `OBJECT_TYPES`
_TYPES = {3: 2, 4: 3}
_PERSON, _VEHICLE = 2, 3
#: Packages for the teacher. The last version with the model in the wheel needs an older NumPy than the project.
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


@dataclass(frozen=True, repr=False)
class MaskSamples:
    """n objects in square windows with soft mask labels. The object's box is in the middle of the window.

    Attributes:
        images: (n, SIDE, SIDE, 3) uint8 RGB.
        labels: (n, SIDE, SIDE) uint8, the probability that a pixel belongs to the object; 255 is certain.
        sizes: (n, 2) float32, width and height of the box in pixels of the window.
        types: (n,) uint8, index into `OBJECT_TYPES`.
        agreement: (n,) float32, 0..1, the overlap of the estimates.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    sizes: NDArray[np.float32]
    types: NDArray[np.uint8]
    agreement: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"MaskSamples({len(self)} objects)"


def load_mask_samples(data: Path, work: Path, *, limit: int | None = None) -> MaskSamples:
    """Load the objects of `data/train` with labels. They are made once, and then read from the folder `work`.

    The labels do not depend on any network of the project, so a new detector can use them.

    Args:
        data: folder with `train.json` and the images in `train`.
        work: folder in which the labels and the teacher's environment are kept.
        limit: the most objects, if the labels are made now; default: all.

    Raises:
        OSError: a file is missing.
        subprocess.CalledProcessError: the teacher cannot be installed or run.
    """
    file = work / "pieces.npz"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        samples = _make_labels(data, work, limit)
        part = file.with_name("part.npz")
        np.savez(part, images=samples.images, labels=samples.labels, sizes=samples.sizes, types=samples.types,
                 agreement=samples.agreement)  # fmt: skip
        part.replace(file)
    with np.load(file) as archive:
        return MaskSamples(**archive)


def _make_labels(data: Path, work: Path, limit: int | None) -> MaskSamples:
    windows = list(_read_windows(data))[:limit]
    images = np.stack([image for image, _, _ in windows])
    sizes = np.array([size for _, size, _ in windows], np.float32)
    types = np.array([number for _, _, number in windows], np.uint8)
    print(f"{len(windows)} objects; segmenting persons with the teacher", flush=True)
    persons = np.flatnonzero(types == _PERSON)
    teacher_masks = dict(zip(persons, _teacher_masks(images[persons], work), strict=True))
    labels = np.empty(images.shape[:3], np.uint8)
    agreement = np.empty(len(windows), np.float32)
    for n, image in enumerate(images):
        label, agreement[n] = _label(image, sizes[n], teacher_masks.get(n))
        back = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        labels[n] = cv2.warpAffine(label, _stretch(sizes[n]), (SIDE, SIDE), flags=back)
        if n % 500 == 0:
            print(f"labelled {n} of {len(windows)}", flush=True)
    return MaskSamples(images, labels, sizes, types, agreement)


def _read_windows(data: Path) -> Iterator[tuple[NDArray[np.uint8], tuple[float, float], int]]:
    """For each person and vehicle that is large enough: the window, the size of the box in it, and the type."""
    labels = json.loads((data / "train.json").read_text())
    paths = {row["id"]: data / "train" / row["file_name"] for row in labels["images"]}
    rows = sorted((row for row in labels["annotations"] if _is_usable(row)), key=lambda row: row["image_id"])
    for image_id, of_image in groupby(rows, key=lambda row: row["image_id"]):
        image = np.asarray(Image.open(paths[image_id]).convert("RGB"))
        for row in of_image:
            x, y, width, height = row["bbox"]
            scale = SIDE / (REACH * max(width, height))
            matrix = np.array([
                [scale, 0, SIDE / 2 - (x + width / 2) * scale],
                [0, scale, SIDE / 2 - (y + height / 2) * scale],
            ])  # fmt: skip
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            window = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=interpolation, borderValue=_GREY)
            yield np.asarray(window), (width * scale, height * scale), _TYPES[row["category_id"]]


def _is_usable(row: dict[str, Any]) -> bool:
    return row["category_id"] in _TYPES and not row["ignore"] and not row["iscrowd"] and min(row["bbox"][2:]) >= LEAST


def _label(
    image: NDArray[np.uint8], size: NDArray[np.float32], teacher_mask: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], float]:
    """The label, (CUT_SIDE, CUT_SIDE) uint8, and the agreement of the estimates, 0..1."""
    to_cut = _stretch(size)
    cut = cv2.warpAffine(image, to_cut, (CUT_SIDE, CUT_SIDE), borderValue=_GREY)
    colour, shape = colour_probability(np.asarray(cut, np.uint8)), shape_probability()
    teacher = (
        0.0 if teacher_mask is None else cv2.warpAffine(teacher_mask, to_cut, (CUT_SIDE, CUT_SIDE)) / np.float32(255)
    )
    of_teacher, of_colour, of_shape, middle = _WEIGHTS[_VEHICLE if teacher_mask is None else _PERSON]
    mean = of_teacher * teacher + of_colour * colour + of_shape * shape
    label = np.where(INSIDE, 1 / (1 + np.exp((middle - mean) / 0.1)), 0)
    other = shape if teacher_mask is None else teacher
    agreement = np.minimum(colour, other).sum() / max(float(np.maximum(colour, other).sum()), 1.0)
    return np.asarray(np.rint(label * 255), np.uint8), float(agreement)


def _stretch(size: NDArray[np.float32]) -> NDArray[np.float64]:
    """(2, 3) matrix from a window to coordinates in which the box is a square of fixed size."""
    across, down = CUT_SIDE / (SPAN * size.astype(float))
    return np.array([[across, 0, (CUT_SIDE - SIDE * across) / 2], [0, down, (CUT_SIDE - SIDE * down) / 2]])


def _teacher_masks(persons: NDArray[np.uint8], work: Path) -> NDArray[np.uint8]:
    """(n, SIDE, SIDE) uint8 masks of persons from the teacher, which runs in its own Python environment."""
    masks = work / "taught.npy"
    if not masks.is_file():
        np.save(work / "persons.npy", persons)
        script = Path(__file__).with_name("selfie_teacher.py")
        subprocess.run([str(_teacher_python(work)), str(script), str(work / "persons.npy"), str(masks)], check=True)
    return np.asarray(np.load(masks))


def _teacher_python(work: Path) -> Path:
    python = work / "teacher" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(work / "teacher")], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *_TEACHER_WHEELS], check=True)
        # without the dependencies that it only needs for audio and text
        subprocess.run([*pip, "--no-deps", _TEACHER], check=True)
    return python
