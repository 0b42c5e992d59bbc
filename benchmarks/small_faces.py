"""Measure in how many frames small faces that move stay bare: real faces, pasted into a picture that pans.

    python -m benchmarks.small_faces [--data ../shared/data] [--beside CHECKOUT ...] [--seconds 2] [--sizes 16 24 30 40]
                                     [--rates 10 25] [--speed 250] [--every]

Each clip has 1920 x 1080 pixels. Six faces of a size move in it at the given speed, to the left or to the right. A face
is bare in a frame if less than 70 % of its box is covered. The table has a row for each size and frame rate: the share
of bare faces in all frames, and for the whole work with method `detect` frames per second and CPU milliseconds a frame.
--beside runs the same clips with another checkout of the project, one after the other, for a table of before and after.
--every adds what is possible: all scales of the detectors run in every frame.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.video.dropout_test import covered_share
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.options.options import Options

SIZE_WH, FACES = (1920, 1080), 6
#: Share of a labelled box that is covered, at least. The boxes of detectors have 78 to 95 % of those of FDDB.
COVERED = 0.7
#: pixels a second at which the picture pans
PAN = 120.0
#: what is pasted around a face, as a share of its box on each side
AROUND = 0.3
#: least side of a face in its photo, in pixels
LEAST = 60

Image = NDArray[np.uint8]


def faces(data: Path) -> list[tuple[Image, NDArray[np.float32]]]:
    """Photos of heads, with the box of the face in each."""
    labels = json.loads((data / "val.json").read_text())
    of_image: dict[int, list[list[float]]] = {}
    for row in labels["annotations"]:
        of_image.setdefault(row["image_id"], []).append(row["bbox"])
    heads = []
    for image in labels["images"]:
        boxes = of_image.get(image["id"], [])
        if image["source"] != "fddb" or len(boxes) != 1 or min(boxes[0][2:]) < LEAST:
            continue
        photo = cv2.cvtColor(cv2.imread(str(data / "val" / image["file_name"])), cv2.COLOR_BGR2RGB)
        x, y, width, height = boxes[0]
        x1, y1 = round(x - AROUND * width), round(y - AROUND * height)
        x2, y2 = round(x + (1 + AROUND) * width), round(y + (1 + AROUND) * height)
        if x1 >= 0 and y1 >= 0 and x2 <= photo.shape[1] and y2 <= photo.shape[0]:
            heads.append((photo[y1:y2, x1:x2], np.array([x - x1, y - y1, x - x1 + width, y - y1 + height], np.float32)))
        if len(heads) == FACES:
            break
    return heads


def make_clip(
    path: Path, data: Path, size: int, rate: int, seconds: float, speed: float
) -> list[list[NDArray[np.float32]]]:
    """Write a clip; return the boxes of the faces in each frame."""
    ground = cv2.cvtColor(cv2.imread(str(data / "images" / "parking.png")), cv2.COLOR_BGR2RGB)
    heads = []
    for head, box in faces(data):
        scale = size / float(box[3] - box[1])
        small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        high, wide = small.shape[:2]
        y, x = np.mgrid[:high, :wide]
        distance = np.hypot((x + 0.5) / wide - 0.5, (y + 0.5) / high - 0.5)
        heads.append((small, np.clip((0.5 - distance) / 0.08, 0, 1)[..., None], box * scale))
    boxes = []
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        for number in range(round(seconds * rate)):
            time_s = number / rate
            picture = ground[400 : 400 + SIZE_WH[1], round(PAN * time_s) :][:, : SIZE_WH[0]].copy()
            of_frame = []
            for lane, (head, alpha, box) in enumerate(heads):
                start = 200 + 150 * lane if lane % 2 == 0 else 1700 - 150 * lane
                x = round(start + (1 if lane % 2 == 0 else -1) * speed * time_s)
                y = 60 + lane * 160
                part = picture[y : y + head.shape[0], x : x + head.shape[1]]
                part[:] = part * (1 - alpha) + head * alpha
                of_frame.append(np.asarray(box + np.array([x, y, x, y]), np.float32))
            boxes.append(of_frame)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return boxes


def measure(
    anonymizer: Anonymizer, clip: Path, boxes: Sequence[Sequence[NDArray[np.float32]]]
) -> tuple[int, float, float]:
    """The bare faces in all frames, frames per second, and CPU milliseconds a frame."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(face=True, method="detect", save_mask="none")  # type: ignore[arg-type]
        started, busy = time.perf_counter(), time.process_time()
        result = anonymizer.video(clip, folder, options)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        frames = json.loads(result.metadata.read_text())
    bare = 0
    for frame, of_frame in zip(frames, boxes, strict=True):
        found = np.array([row["bbox"] for row in frame["detections"]], np.float32).reshape(-1, 4)
        bare += sum(covered_share(box, found) < COVERED for box in of_frame)
    return bare, len(frames) / seconds, 1000 * busy / len(frames)


def measure_here(folder: Path, *, every: bool) -> None:
    """Print a line for each clip of a folder: bare faces, and frames per second."""
    anonymizer = Anonymizer()
    for file in sorted(folder.glob("*.mp4")):
        boxes = [
            [np.array(box, np.float32) for box in frame] for frame in json.loads(file.with_suffix(".json").read_text())
        ]
        with ExitStack() as patches:
            if every:
                # at first use: another checkout may have no such module
                from anonymizer.pipeline.video.detection_schedule import DetectionSchedule, Turn

                patches.enter_context(patch.object(DetectionSchedule, "turn", return_value=Turn.ALL))
                patches.enter_context(patch.object(DetectionSchedule, "closer_turn", return_value=None))
            figures = measure(anonymizer, file, boxes)
        print(json.dumps([file.stem, *figures]), flush=True)


def measured_by(checkout: Path, folder: Path, *more: str) -> dict[str, tuple[int, float, float]]:
    """What another process measures with the code of a checkout, by clip."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(folder), *more]
    print(f"{checkout} {' '.join(more)}", file=sys.stderr, flush=True)
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout) as process:
        for line in process.stdout or ():
            if line.startswith("["):
                print(line.rstrip(), file=sys.stderr, flush=True)
                rows.append(json.loads(line))
    if process.returncode:
        raise SystemExit(f"the clips could not be measured with {checkout}")
    return {name: (bare, rate, busy) for name, bare, rate, busy in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--beside", type=Path, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sizes", type=int, nargs="*", default=[16, 24, 30, 40])
    parser.add_argument("--rates", type=int, nargs="*", default=[10, 25])
    parser.add_argument("--speed", type=float, default=250.0)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure_here(given.measure, every=given.every)
        return
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as temporary:
        folder, totals = Path(temporary), {}
        for size in given.sizes:
            for rate in given.rates:
                clip = folder / f"{size:02d}-{rate:02d}.mp4"
                boxes = make_clip(clip, given.data, size, rate, given.seconds, given.speed)
                clip.with_suffix(".json").write_text(json.dumps([[box.tolist() for box in frame] for frame in boxes]))
                totals[clip.stem] = sum(map(len, boxes))
        columns = {str(path): measured_by(path, folder) for path in [*given.beside, here]}
        if given.every:
            columns["all scales in every frame"] = measured_by(here, folder, "--every")
        print("\n".join(f"{number}: {name}" for number, name in enumerate(columns, 1)))
        heads = "".join(f"{number:>8}: bare frames/s ms CPU" for number in range(1, len(columns) + 1))
        print(f"{'px':>3} {'fps':>4} {'faces':>6}{heads}")
        for name, total in totals.items():
            size, rate = name.split("-")
            figures = [column[name] for column in columns.values()]
            cells = "".join(f"{bare / total:>14.1%} {speed:>8.1f} {busy:>6.0f}" for bare, speed, busy in figures)
            print(f"{size:>3} {rate:>4} {total:>6}{cells}")


if __name__ == "__main__":
    main()
