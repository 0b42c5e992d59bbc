"""A clip with one small object that moves, and a detector that sees it at one of its scales only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.evaluation.video.dropout_test import covered_share
from tests.fakes import FakeStore, MagentaDetector

SIZE_WH, SIDE, SPEED = (960, 540), 24, 250.0
#: share of the object that is covered, at least
COVERED = 0.9
SCALES, MAIN = (320, 480, 640, 960), 480


@dataclass
class OneScale(MagentaDetector):
    """Finds the object where it analyses at one scale, and nothing at the others; keeps the scales of each call."""

    sees: int = 960
    sides: list[tuple[int, int]] = field(default_factory=list)

    def scales(self, long_side: int) -> tuple[int, ...]:
        return SCALES

    def video_scale(self, long_side: int) -> int:
        return MAIN

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.sides.append((side, len(images)))
        found = super().detect(images, side)
        return found if side == self.sees else [Detections.empty()] * len(images)


def box_at(time_s: float) -> NDArray[np.float32]:
    """Where the object is: it runs to and fro."""
    way = SIZE_WH[0] - 120 - SIDE
    x = 60 + way - abs((SPEED * time_s) % (2 * way) - way)
    return np.array([x, 250, x + SIDE, 250 + SIDE], np.float32)


def write_clip(
    path: Path, times: Sequence[int], time_base: Fraction, *, rate: Fraction, codec: str = "libx264"
) -> Path:
    """Write a clip: the object moves before a ground that drifts."""
    chance = np.random.default_rng(2)
    ground = cv2.GaussianBlur(chance.integers(0, 256, (SIZE_WH[1], 2 * SIZE_WH[0]), np.uint8), (0, 0), 3)
    ground = cv2.normalize(ground, None, 40, 200, cv2.NORM_MINMAX)
    light = np.kron(chance.random((SIDE // 4, SIDE // 4)) < 0.5, np.ones((4, 4))).astype(bool)
    pattern = np.where(light[..., None], (250, 40, 250), (130, 5, 130)).astype(np.uint8)
    # at the rate that the file claims, the encoder of WebM would spend next to nothing on a frame
    webm = {"deadline": "realtime", "cpu-used": "8", "qmin": "2", "qmax": "12", "b": "500M"}
    options = {"preset": "ultrafast", "crf": "18"} if codec == "libx264" else webm
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.codec_context.time_base = time_base
        for number, pts in enumerate(times):
            grey = ground[:, number : number + SIZE_WH[0]]
            picture = np.repeat(grey[..., None], 3, axis=2)
            x, y = (round(float(side)) for side in box_at(float((pts - times[0]) * time_base))[:2])
            picture[y : y + SIDE, x : x + SIDE] = pattern
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = pts, time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def count_bare(
    clip: Path,
    times_s: Sequence[float],
    detector: MagentaDetector,
    *,
    face: bool = False,
    name: str = "results",
    store: FakeStore | None = None,
) -> int:
    """In how many frames the object is not covered. A store takes the place of one with the detector alone."""
    folder = clip.parent / name
    folder.mkdir()
    options = Options(face=face, license_plate=not face, save_mask="none")  # type: ignore[arg-type]
    result = Anonymizer(store=store or FakeStore(detector)).video(clip, folder, options)
    frames = json.loads(result.metadata.read_text())
    assert len(frames) == len(times_s)
    bare = 0
    for frame, time_s in zip(frames, times_s, strict=True):
        boxes = np.array([row["bbox"] for row in frame["detections"]], np.float32).reshape(-1, 4)
        bare += covered_share(box_at(time_s), boxes) < COVERED
    return bare
