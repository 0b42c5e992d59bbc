"""A few pictures that installed packages bring, free to use: what a notebook shows where there are no others.

All are in the public domain or CC0. Others of the same packages (scikit-image's motorcycle and faces) come without a
licence and are not used. What is made of them is written once and appears whole or not at all.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.images.io import load_image

__all__ = ["labelled", "pictures", "video"]

_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Sample:
    """One picture, and all that is in it of the four object types: none shows a license plate or a vehicle.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels, measured by eye in the enlarged pictures; a face from the hairline, or what
            hides it, to the chin.
    """

    package: str
    file: str
    size_wh: tuple[int, int]
    licence: str
    boxes: dict[ObjectType, _Box] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        spec = importlib.util.find_spec(self.package)
        places = [] if spec is None else [Path(each, self.file) for each in spec.submodule_search_locations or ()]
        for path in places:
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"The package {self.package} does not have {self.file}: `make setup` installs what does, "
            "or name a folder of your own."
        )


_FACE, _PERSON = ObjectType.FACE, ObjectType.PERSON
_SAMPLES = (
    _Sample(
        "skimage", "data/astronaut.png", (512, 512), "NASA, public domain",
        {_FACE: (178, 66, 272, 180), _PERSON: (20, 15, 363, 512)},
    ),
    _Sample(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (512, 600), "US Navy, public domain",
        {_FACE: (160, 120, 370, 332), _PERSON: (8, 22, 512, 600)},
    ),
    _Sample(
        "skimage", "data/camera.png", (512, 512), "CC0, Lav Varshney",
        {_FACE: (182, 116, 256, 198), _PERSON: (0, 62, 332, 512)},
    ),
    # nothing to be found: what is redacted here is a false blur
    _Sample("skimage", "data/chelsea.png", (451, 300), "CC0, Stefan van der Walt"),
    _Sample("skimage", "data/coffee.png", (600, 400), "CC0, Rachel Michetti"),
    _Sample("skimage", "data/rocket.jpg", (640, 427), "SpaceX, public domain"),
)  # fmt: skip

_VIDEO_WH, _VIDEO_RATE, _VIDEO_FRAMES = (640, 360), 25, 75


def pictures() -> list[Path]:
    """All of them, where the packages have them; those with persons first.

    Raises:
        FileNotFoundError: a package does not have its picture.
    """
    return [each.path for each in _SAMPLES]


def labelled(folder: Path) -> Path:
    """The same with labels: `builtin.json` (COCO, all four types complete) and the pictures in `builtin/`.

    Args:
        folder: where to write them; they are not written again.
    """
    target, beside = folder / "builtin.json", folder / "builtin"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder) as part:
            beside.mkdir(exist_ok=True)
            for each in _SAMPLES:
                copy = Path(shutil.copyfile(each.path, Path(part, each.path.name)))
                copy.replace(beside / copy.name)
            written = Path(part, target.name)
            written.write_text(json.dumps(_coco(), indent=1))
            # last: it is what says that all are there
            written.replace(target)
    return target


def video(folder: Path) -> Path:
    """Three seconds in which the camera passes over a portrait and comes closer: MP4, 640 x 360, 25/s, no sound.

    Args:
        folder: where to write it; it is not written again.
    """
    target = folder / "builtin.mp4"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder) as part:
            written = Path(part, target.name)
            _write(written, load_image(_SAMPLES[0].path))
            written.replace(target)
    return target


def _coco() -> dict[str, Any]:
    numbers = {each: number for number, each in enumerate(OBJECT_TYPES, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(_SAMPLES, 1):
        width, height = sample.size_wh
        images.append(
            {
                "id": number, "file_name": Path(sample.file).name, "width": width, "height": height,
                "source": "builtin", "labelled": list(OBJECT_TYPES), "licence": sample.licence,
            }
        )  # fmt: skip
        for object_type, (x1, y1, x2, y2) in sample.boxes.items():
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": numbers[object_type],
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "ignore": 0,
                }
            )  # fmt: skip
    categories = [{"id": number, "name": each} for each, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _write(path: Path, portrait: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=_VIDEO_RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *_VIDEO_WH, "yuv420p"
        for number, picture in enumerate(_flight(portrait)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _VIDEO_RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _flight(portrait: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """What a camera sees that starts with the whole width and ends near the face; each (h, w, 3) uint8 RGB."""
    width, height = _VIDEO_WH
    for share in np.linspace(0, 1, _VIDEO_FRAMES):
        # in pixels of the portrait: what is seen, and its middle
        across = portrait.shape[1] * (1 - 0.5 * share)
        x, y = portrait.shape[1] * (0.5 - 0.15 * share), portrait.shape[0] * (0.3 - 0.03 * share)
        scale = width / across
        move = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
        yield np.asarray(cv2.warpAffine(portrait, move, _VIDEO_WH, flags=cv2.INTER_CUBIC), np.uint8)
