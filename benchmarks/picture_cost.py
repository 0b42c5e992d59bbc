"""Measure the milliseconds of one picture by its size, alone or beside another checkout of this repository.

    python -m benchmarks.picture_cost [--picture FILE] [--against FOLDER] [--format NAME ...] [--runs 5] [--threads 2]

The picture is scaled to 0.5, 2, 12 and 24 megapixels and saved as JPEG. Reading, detection and redaction of faces
alone and of all types are timed, and the writing of the result. With `--against`, both checkouts run in turn, so that
a noisy machine disturbs them alike; the ratio is the median of the ratios of the runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

MEGAPIXELS = (0.5, 2, 12, 24)
_ROOT = Path(__file__).resolve().parent.parent

#: It times one picture for each line of its input: the path, the types and the format ("-": the default).
_CHILD = """
import sys, time, torch, cv2
from anonymizer import Anonymizer, Options
threads = int(sys.argv[1])
torch.set_num_threads(threads); cv2.setNumThreads(threads)
anonymizer = Anonymizer()
for line in sys.stdin:
    path, types, form = line.split()
    options = Options(**({"face": True} if types == "faces" else {}), **({} if form == "-" else {"format": form}))
    content = open(path, "rb").read()
    start = time.perf_counter()
    anonymizer.image(content, options).encode()
    print(time.perf_counter() - start, flush=True)
"""


class Checkout:
    """A process that times pictures with the code in a folder.

    Args:
        folder: the root of a checkout.
        threads: of the process.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(threads)], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def seconds(self, *request: str) -> float:
        """Time one picture.

        Args:
            request: path, types and format.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(request) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, default=Path("../shared/data/images/portrait.jpg"))
    parser.add_argument("--against", type=Path, help="root of another checkout, the one before")
    parser.add_argument("--format", nargs="+", default=["-"], help="default: that of each checkout")
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    given = parser.parse_args()
    folders = [_ROOT, *([given.against.resolve()] if given.against else [])]
    checkouts = [Checkout(folder, given.threads) for folder in folders]
    print("| MP | types | format | ms |" + (" ms before | ratio |" if given.against else ""))
    print("|" + "---|" * (6 if given.against else 4))
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in MEGAPIXELS:
            path = _scaled(given.picture, megapixels, Path(folder))
            for types in ("faces", "all"):
                for form in given.format:
                    for checkout in checkouts:  # loads the models
                        checkout.seconds(str(path), types, form)
                    runs = [
                        [checkout.seconds(str(path), types, form) for checkout in checkouts]
                        for _ in tqdm(range(given.runs), desc=f"{megapixels} MP, {types}", leave=False)
                    ]
                    cells = [f"{1000 * statistics.median(of_one):.0f}" for of_one in zip(*runs, strict=True)]
                    if given.against:
                        cells.append(f"{statistics.median(now / before for now, before in runs):.2f}")
                    name = "default" if form == "-" else form
                    print(f"| {megapixels} | {types} | {name} | {' | '.join(cells)} |", flush=True)
    for checkout in checkouts:
        checkout.close()


def _scaled(picture: Path, megapixels: float, folder: Path) -> Path:
    pixels = cv2.imread(str(picture))
    if pixels is None:
        raise SystemExit(f"{picture} cannot be read.")
    scale = float(np.sqrt(megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    path = folder / f"{megapixels}.jpg"
    cv2.imwrite(str(path), cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=way))
    return path


if __name__ == "__main__":
    main()
