"""Measure what is lost if detectors run on key frames, and other frames are filled.

    python -m benchmarks.key_frames [--data ../shared/data] [--clip NAME ...] [--types face ...] [--frames 120]

The detections of every frame, at the scale of videos, are the true objects. Then frames between key frames lose theirs.
The table shows the share of frames that lost them, and how many objects stay bare after tracking:

every Nth: key frames at a fixed distance; only tracking fills the others.
between N: as videos are analysed. At most N - 1 frames lie between two key frames. A frame loses its detections only
where `objects_between` is sure of its objects, and gets these instead.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.metrics.leak_coverage import VISIBLE
from anonymizer.evaluation.video.dropout_test import Recording, covered_share, small_grey
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.detection_schedule import KEY_S
from anonymizer.pipeline.video.key_frames.agreement import objects_between

CLIPS = ("cars-from-above", "portrait-people", "person-walking", "crowd-royal-opera-house")

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


def between(recording: Recording, distance: int) -> tuple[Recording, NDArray[np.bool_]]:
    """The recording as videos are analysed, and which frames have no detections of their own."""
    frames, left_out, key = list(recording.frames), np.zeros(len(recording.frames), bool), 0
    while key < len(frames) - 1:
        end = min(key + distance, len(frames) - 1)
        while end > key + 1 and frames[end][0] - frames[key][0] > KEY_S:
            end -= 1
        around = recording.frames[key : end + 1]
        known = objects_between(
            [grey for _, _, grey in around],
            [at for at, _, _ in around],
            around[0][1],
            around[-1][1],
            size_hw=recording.size_hw,
            object_types=OBJECT_TYPES,
            options=Options(),
        )
        for number, objects in enumerate(known, key + 1):
            if objects is not None:
                at, _, grey = frames[number]
                frames[number], left_out[number] = (at, objects, grey), True
        key = end
    return Recording(recording.size_hw, frames), left_out


def count_bare(truth: Recording, given: Recording) -> tuple[int, int]:
    """The objects of all frames, and how many of them tracking leaves bare in what is given."""
    options, tracker = Options(), Tracker(truth.size_hw, Options(), OBJECT_TYPES)
    results = [final for frame in given.frames for final in tracker.push(*frame)] + tracker.finish()
    objects = bare = 0
    for (_, found, _), result in zip(truth.frames, results, strict=True):
        real = found[over_threshold(found, options)]
        objects += len(real)
        for box, object_type in zip(real.boxes, real.types, strict=True):
            bare += covered_share(box, result.boxes[result.types == object_type]) < 1 - VISIBLE
    return objects, bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clip", nargs="*", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--types", nargs="*", choices=[kind.value for kind in OBJECT_TYPES], help="default: all")
    parser.add_argument("--frames", type=int, default=120)
    given = parser.parse_args()
    wanted = [kind.number for kind in OBJECT_TYPES if not given.types or kind.value in given.types]
    print(f"{'clip':<26}{'key frames':<14}{'left out':>9}{'objects':>9}{'bare':>6}{'share':>9}")
    for name in given.clip:
        recording = record(given.data, name, given.frames)
        frames = [(at, found[np.isin(found.types, wanted)], grey) for at, found, grey in recording.frames]
        truth = Recording(recording.size_hw, frames)
        for distance in (2, 3, 4):
            dropped = np.arange(len(frames)) % distance > 0
            every = [
                (at, Detections.empty() if drop else found, grey)
                for (at, found, grey), drop in zip(frames, dropped, strict=True)
            ]
            rows = {f"every {distance}th": (Recording(truth.size_hw, every), dropped)}
            rows[f"between {distance}"] = between(truth, distance)
            for label, (changed, left_out) in rows.items():
                objects, bare = count_bare(truth, changed)
                share = f"{bare / max(objects, 1):>9.2%}"
                print(f"{name:<26}{label:<14}{left_out.mean():>9.1%}{objects:>9}{bare:>6}{share}", flush=True)


if __name__ == "__main__":
    main()
