"""Measure what is lost if detectors run on key frames only, and tracking fills the frames between.

    python -m benchmarks.key_frames [--data ../shared/data] [--clip NAME ...] [--frames 120]

The detections of every frame, at the scale of videos, are the true objects. Then the frames between key frames lose
theirs. The table shows the share of frames that are no key frame, and the share of objects that stay bare:

every Nth: key frames at a fixed distance.
agreeing N: at most N - 1 frames between two key frames. A frame is left out only if the global motion since the last
key frame is known, if every object of that frame is followed by optical flow, and if nothing else has changed: in no
block of 16 x 16 pixels outside of these objects, in a grey picture of 640 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.video.dropout_test import Recording, dropout_test, small_grey
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.global_motion import estimate_global_motion
from anonymizer.pipeline.tracking.optical_flow import follow_boxes

CLIPS = ("cars-from-above", "portrait-people", "person-walking", "crowd-royal-opera-house")
#: side in pixels of the blocks that are compared, and the mean difference in grey values that is a change
BLOCK, CHANGE = 16, 8.0
#: share of a threshold from which a detection is an object that must be followed
SHARE = 0.2
#: share of the picture that may have come into view
MOST_NEW = 0.02

Grey = NDArray[np.uint8]


def record(data: Path, name: str, count: int) -> Recording:
    """The detections of the first frames of a clip, kept in the folder for temporary files."""
    kept = Path(tempfile.gettempdir()) / "anonymizer-benchmark-key-frames" / f"{name}-{count}.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        times, sizes, found, pictures = zip(*_detected(data / "videos" / f"{name}.mp4", count), strict=True)
        merged = Detections.merge(found)
        np.savez_compressed(
            kept,
            times=times,
            size=sizes[0],
            counts=[len(each) for each in found],
            boxes=merged.boxes,
            scores=merged.scores,
            types=merged.types,
            models=merged.models,
            pictures=pictures,
        )
    with np.load(kept) as archive:
        ends = np.cumsum(archive["counts"])
        merged = Detections(archive["boxes"], archive["scores"], archive["types"], archive["models"])
        parts = [merged[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        height, width = (int(each) for each in archive["size"])
        frames = [
            (float(at), part, grey) for at, part, grey in zip(archive["times"], parts, archive["pictures"], strict=True)
        ]
    return Recording((height, width), frames)


def _detected(path: Path, count: int) -> Iterator[tuple[float, tuple[int, ...], Detections, Grey]]:
    engine = Anonymizer().engine
    with av.open(str(path)) as file:
        for frame in islice(file.decode(video=0), count):
            rgb = frame.to_ndarray(format="rgb24")
            side = max(rgb.shape[:2])
            (found,) = engine.detect(
                [rgb],
                OBJECT_TYPES,
                Options().video_format,
                scales=lambda detector, side=side: (detector.video_scale(side),),
            )
            yield float(frame.time or 0), rgb.shape[:2], found, small_grey(rgb)


def every(recording: Recording, distance: int) -> NDArray[np.bool_]:
    return np.arange(len(recording.frames)) % distance > 0


def agreeing(recording: Recording, distance: int) -> NDArray[np.bool_]:
    """Which frames would be left out: tracks and motion agree since the last key frame, and nothing else changes."""
    left_out = np.zeros(len(recording.frames), bool)
    options, key = Options(), 0
    boxes, matrix = _objects(recording, 0, options), np.eye(3)
    for number in range(1, len(recording.frames)):
        before, now = recording.frames[number - 1][2], recording.frames[number][2]
        motion = estimate_global_motion(before, now)
        moved, followed = follow_boxes(before, now, boxes)
        if number - key < distance and motion is not None and followed.all():
            matrix = np.vstack([motion.matrix, [0, 0, 1]]) @ matrix
            if not _has_changed(recording.frames[key][2], now, matrix, _objects(recording, key, options), moved):
                left_out[number], boxes = True, moved
                continue
        key, boxes, matrix = number, _objects(recording, number, options), np.eye(3)
    return left_out


def _objects(recording: Recording, number: int, options: Options) -> NDArray[np.float32]:
    """(n, 4) boxes in pixels of the small picture: all that may be an object."""
    _, found, grey = recording.frames[number]
    scale = max(grey.shape) / max(recording.size_hw)
    return found[over_threshold(found, options, share=SHARE)].boxes * np.float32(scale)


def _has_changed(
    key: Grey, now: Grey, matrix: NDArray[np.float64], then: NDArray[np.float32], boxes: NDArray[np.float32]
) -> bool:
    """Whether a picture differs from the key frame, moved to it, anywhere but at the objects."""
    height, width = now.shape
    moved = cv2.warpAffine(key, matrix[:2], (width, height))
    known = cv2.warpAffine(np.full(key.shape, 255, np.uint8), matrix[:2], (width, height)) == 255
    if known.mean() < 1 - MOST_NEW:
        return True
    then = np.asarray(then @ np.kron(np.eye(2), matrix[:2, :2]).T + np.tile(matrix[:2, 2], 2), np.float32)
    for box in [*then, *boxes]:
        margin = 0.1 * (box[2:] - box[:2]) + 2
        x1, y1 = np.maximum(box[:2] - margin, 0).astype(int)
        x2, y2 = np.maximum(box[2:] + margin, 0).astype(int) + 1
        known[y1:y2, x1:x2] = False
    difference = cv2.absdiff(cv2.blur(moved, (5, 5)), cv2.blur(now, (5, 5))).astype(np.float32) * known
    size = width // BLOCK, height // BLOCK
    return bool(cv2.resize(difference, size, interpolation=cv2.INTER_AREA).max() > CHANGE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clip", nargs="*", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--frames", type=int, default=120)
    given = parser.parse_args()
    print(f"{'clip':<26}{'key frames':<14}{'left out':>9}{'objects':>9}{'bare':>6}{'share':>9}")
    for name in given.clip:
        recording = record(given.data, name, given.frames)
        for words, choose in (("every", every), ("agreeing", agreeing)):
            for distance in (2, 3, 4):
                left_out = choose(recording, distance)
                counts = dropout_test(recording, lambda count, chance, chosen=left_out: chosen, draws=1)
                label = f"every {distance}th" if words == "every" else f"agreeing {distance}"
                print(
                    f"{name:<26}{label:<14}{left_out.mean():>9.1%}{counts.objects:>9}"
                    f"{counts.uncovered_with:>6}{counts.tracked:>9.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
