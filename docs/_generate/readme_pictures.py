"""Make the pictures of README and docs from free pictures that installed packages bring.

python docs/_generate/readme_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from anonymizer import Anonymizer, Options, load_image  # noqa: E402
from anonymizer.examples import builtin  # noqa: E402

ASSETS = ROOT / "docs" / "assets"


def main() -> None:
    """Write the picture before and after, and the thumbnails of the notebooks that have a page."""
    picture = load_image(builtin.pictures()[0])
    result = Anonymizer().image(picture, Options(face=True))
    assert result.image is not None
    both = np.hstack([picture, np.full((picture.shape[0], 16, 3), 255, np.uint8), result.image])
    write(ASSETS / "before-after.jpg", both)
    for page in sorted((ROOT / "docs" / "notebooks").iterdir()):
        if page.is_dir() and (found := sorted(page.glob("*.webp"))):
            write(ASSETS / "notebooks" / f"{page.name}.jpg", thumbnail(load_image(most_detailed(found))))


def most_detailed(files: list[Path]) -> Path:
    """The picture with most bytes: a photo says more than a plot."""
    return max(files, key=lambda file: file.stat().st_size)


def thumbnail(image: np.ndarray, width: int = 240, height: int = 135) -> np.ndarray:
    """The upper part of an image, scaled to a width."""
    scaled = cv2.resize(
        image, (width, max(1, round(image.shape[0] * width / image.shape[1]))), interpolation=cv2.INTER_AREA
    )
    page = np.full((height, width, 3), 255, np.uint8)
    shown = scaled[:height]
    page[: shown.shape[0]] = shown
    return page


def write(file: Path, image: np.ndarray) -> None:
    """Write a JPEG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
