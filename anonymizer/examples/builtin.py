"""A few free images that installed packages contain. Notebooks show them if there are no others.

All are in the public domain or CC0. Other images of the same packages (scikit-image's motorcycle and faces) have no
licence and are not used. Files that are made of them are written once; they are complete or they are not written.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["labelled", "pictures", "video", "with_persons"]

_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _PackagedImage:
    """One image of an installed package, and its objects. None shows a license plate or a vehicle.

    Attributes:
        package: name of the package.
        file: path in the package.
        size_wh: width and height in pixels.
        licence: who made the image, and its licence.
        boxes: x1, y1, x2, y2 in pixels, measured by eye in the enlarged image. A face reaches from the hairline, or
            what hides it, to the chin.
    """

    package: str
    file: str
    size_wh: tuple[int, int]
    licence: str
    boxes: dict[ObjectType, _Box] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        spec = importlib.util.find_spec(self.package)
        folders = [] if spec is None else spec.submodule_search_locations or ()
        for path in (Path(folder, self.file) for folder in folders):
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"The package {self.package} does not have {self.file}: `make setup` installs a version "
            "that has it, or name a folder of your own."
        )


_FACE, _PERSON = ObjectType.FACE, ObjectType.PERSON
_IMAGES = (
    _PackagedImage(
        "skimage", "data/astronaut.png", (512, 512), "NASA, public domain",
        {_FACE: (178, 66, 272, 180), _PERSON: (20, 15, 363, 512)},
    ),
    _PackagedImage(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (512, 600), "US Navy, public domain",
        {_FACE: (160, 120, 370, 332), _PERSON: (8, 22, 512, 600)},
    ),
    _PackagedImage(
        "skimage", "data/camera.png", (512, 512), "CC0, Lav Varshney",
        {_FACE: (182, 116, 256, 198), _PERSON: (0, 62, 332, 512)},
    ),
    # without objects: whatever is redacted here is a false detection
    _PackagedImage("skimage", "data/chelsea.png", (451, 300), "CC0, Stefan van der Walt"),
    _PackagedImage("skimage", "data/coffee.png", (600, 400), "CC0, Rachel Michetti"),
    _PackagedImage("skimage", "data/rocket.jpg", (640, 427), "SpaceX, public domain"),
)  # fmt: skip

_VIDEO_WH, _VIDEO_RATE, _VIDEO_FRAMES = (640, 360), 25, 75


def pictures() -> list[Path]:
    """The paths of all images of the packages, those with persons first.

    Raises:
        FileNotFoundError: a package is not installed, or does not have its image.
    """
    return [image.path for image in _IMAGES]


def with_persons(folder: Path) -> list[Path]:
    """The paths of images that all show persons: three of the packages, and three that are made of them.

    Made are a group of the three persons, a small group in front of a wall, and a dark, mirrored portrait.

    Args:
        folder: where the made ones are written, unless they are there already.

    Raises:
        FileNotFoundError: a package is not installed, or does not have its image.
    """
    paths = pictures()
    portraits = [path for path, image in zip(paths, _IMAGES, strict=True) if image.boxes]
    made = {folder / name: make for name, make in _MADE.items()}
    for path, make in made.items():
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            pixels = make([load_image(portrait) for portrait in portraits])
            written = path.with_suffix(".part.png")
            cv2.imwrite(str(written), pixels[..., ::-1])
            written.replace(path)
    return [*portraits, *made]


def _group(portraits: Sequence[NDArray[np.uint8]], height: int = 480) -> NDArray[np.uint8]:
    """The portraits side by side, all equally high."""
    sizes = [(round(height * portrait.shape[1] / portrait.shape[0]), height) for portrait in portraits]
    parts = [
        cv2.resize(portrait, size, interpolation=cv2.INTER_AREA)
        for portrait, size in zip(portraits, sizes, strict=True)
    ]
    return np.concatenate([np.asarray(part, np.uint8) for part in parts], axis=1)


def _small_group(portraits: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The group, small, at the foot of a grey wall."""
    wall = np.full((600, 900, 3), 150, np.uint8)
    wall += np.random.default_rng(0).integers(0, 12, wall.shape, np.uint8)
    group = _group(portraits, 200)
    wall[-200:, 120 : 120 + group.shape[1]] = group
    return wall


def _dark_portrait(portraits: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The first portrait, mirrored and with a third of its light."""
    return np.asarray(portraits[0][:, ::-1] // 3, np.uint8)


#: file names of the images that are made, and what makes them
_MADE: dict[str, Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.uint8]]] = {
    "group.png": _group,
    "small-group.png": _small_group,
    "dark.png": _dark_portrait,
}


def labelled(folder: Path) -> Path:
    """Write the images with labels: `builtin.json` (COCO, complete for all four object types) and `builtin/`.

    Args:
        folder: where they are written, unless they are there already.

    Returns:
        The path of the COCO file.

    Raises:
        FileNotFoundError: a package is not installed, or does not have its image.
    """
    target, images = folder / "builtin.json", folder / "builtin"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder) as part:
            images.mkdir(exist_ok=True)
            for image in _IMAGES:
                copy = Path(shutil.copyfile(image.path, Path(part, image.path.name)))
                copy.replace(images / copy.name)
            written = Path(part, target.name)
            written.write_text(json.dumps(_coco(), indent=1))
            # last: this file says that all are there
            written.replace(target)
    return target


def video(folder: Path) -> Path:
    """Write a video in which the camera moves over a portrait and comes closer.

    It has three seconds, 640 x 360 pixels and 25 frames per second (MP4, no sound).

    Args:
        folder: where it is written, unless it is there already.

    Returns:
        The path of the video.

    Raises:
        FileNotFoundError: a package is not installed, or does not have its image.
    """
    target = folder / "builtin.mp4"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".samples-", dir=folder) as part:
            written = Path(part, target.name)
            _write_video(written, load_image(_IMAGES[0].path))
            written.replace(target)
    return target


def _coco() -> dict[str, Any]:
    numbers = {object_type: number for number, object_type in enumerate(OBJECT_TYPES, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(_IMAGES, 1):
        width, height = image.size_wh
        images.append(
            {
                "id": number, "file_name": Path(image.file).name, "width": width, "height": height,
                "source": "builtin", "labelled": list(OBJECT_TYPES), "licence": image.licence,
            }
        )  # fmt: skip
        for object_type, (x1, y1, x2, y2) in image.boxes.items():
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": numbers[object_type],
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "ignore": 0,
                }
            )  # fmt: skip
    categories = [{"id": number, "name": object_type} for object_type, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _write_video(path: Path, portrait: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=_VIDEO_RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *_VIDEO_WH, "yuv420p"
        for number, picture in enumerate(_camera_move(portrait)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _VIDEO_RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _camera_move(portrait: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Frames of a camera that starts with the whole width and ends near the face: (h, w, 3) uint8 RGB."""
    width, height = _VIDEO_WH
    for share in np.linspace(0, 1, _VIDEO_FRAMES):
        # in pixels of the portrait: the width that is seen, and its centre
        across = portrait.shape[1] * (1 - 0.5 * share)
        x, y = portrait.shape[1] * (0.5 - 0.15 * share), portrait.shape[0] * (0.3 - 0.03 * share)
        scale = width / across
        move = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
        yield np.asarray(cv2.warpAffine(portrait, move, _VIDEO_WH, flags=cv2.INTER_CUBIC), np.uint8)
