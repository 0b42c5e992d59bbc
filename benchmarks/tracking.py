"""Measures what tracking covers of objects that detectors lose: the flicker test, on real clips.

What a detector finds in a clip at its thresholds is the truth. Then all that it found in some frames is dropped, and
counted: the share of the truth that is left uncovered (less than 90 % of a box within the boxes to redact), with
tracking and without, and the price: the share of the area to redact that lies outside the truth.

python -m benchmarks.tracking [--data ../shared/data] [--clip NAME ...] [--tracker NAME ...] [--seeds N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from trackers import BoTSORTTracker, OCSORTTracker
from trackers.core.base import BaseTracker

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.objects import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options import Options
from anonymizer.pipeline.track_association import byte_track
from anonymizer.pipeline.tracking import Tracking

#: by clip: the model, the long side of its input, what it looks for, and so many frames
CLIPS = {
    "portrait-people": ("centerface", 1080, ObjectType.FACE, 600),
    "person-walking": ("own-2", 416, ObjectType.PERSON, 400),
    "cars-from-above": ("own-2", 416, ObjectType.VEHICLE, 377),
}
COVERED = 0.9
PICTURE_SIDE = 320

Boxes = NDArray[np.float32]
Drop = Callable[[int, np.random.Generator], NDArray[np.bool_]]


def oc_sort(threshold: float, window_s: float) -> BaseTracker:
    return OCSORTTracker(
        lost_track_buffer=round(30 * window_s),
        minimum_consecutive_frames=1,
        minimum_iou_threshold=0.1,
        high_conf_det_threshold=threshold,
    )


def bot_sort(threshold: float, window_s: float) -> BaseTracker:
    return BoTSORTTracker(
        lost_track_buffer=round(30 * window_s),
        track_activation_threshold=threshold,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=1,
        minimum_iou_threshold_first_assoc=0.1,
        minimum_iou_threshold_second_assoc=0.1,
        minimum_iou_threshold_unconfirmed_assoc=0.1,
        enable_cmc=False,
        instant_first_frame_activation=False,
    )


TRACKERS = {"bytetrack": byte_track, "ocsort": oc_sort, "botsort": bot_sort}


@dataclass(frozen=True)
class Clip:
    """Every frame's time, detections and small grey picture."""

    size_hw: tuple[int, int]
    object_type: ObjectType
    frames: list[tuple[float, Detections, NDArray[np.uint8]]]


def load(data: Path, name: str) -> Clip:
    """A clip, looked at once; what was found is kept in the folder for temporary files."""
    model, side, object_type, most = CLIPS[name]
    kept = Path(tempfile.gettempdir()) / "anonymizer-benchmark-tracking" / f"{name}-{model}-{side}-{most}.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        times, sizes, found, pictures = zip(*_look(data / "videos" / f"{name}.mp4", model, side, most), strict=True)
        of_type = [each.of_type(object_type) for each in found]
        boxes, scores = [each.boxes for each in of_type], [each.scores for each in of_type]
        np.savez_compressed(
            kept,
            times=times,
            size=sizes[0],
            counts=[len(each) for each in boxes],
            boxes=np.concatenate(boxes),
            scores=np.concatenate(scores),
            pictures=pictures,
        )
    with np.load(kept) as archive:
        ends = np.cumsum(archive["counts"])[:-1]
        rows = zip(
            archive["times"],
            np.split(archive["boxes"], ends),
            np.split(archive["scores"], ends),
            archive["pictures"],
            strict=True,
        )
        height, width = (int(each) for each in archive["size"])
        frames = [(float(at), _detections(boxes, scores, object_type, model), grey) for at, boxes, scores, grey in rows]
    return Clip((height, width), object_type, frames)


def _detections(boxes: Boxes, scores: NDArray[np.float32], object_type: ObjectType, model: str) -> Detections:
    return Detections(boxes, scores, np.full(len(boxes), object_type.number), np.full(len(boxes), model))


def _look(
    path: Path, model: str, side: int, most: int
) -> Iterator[tuple[float, tuple[int, int], Detections, NDArray[np.uint8]]]:
    store = Anonymizer().store
    detector, calibration = store.detector(model), store.calibration(model)
    with av.open(path) as container:
        for frame in islice(container.decode(video=0), most):
            rgb = frame.to_ndarray(format="rgb24")
            (found,) = detector.detect([rgb], side)
            scores = found.scores.copy()
            for each, chance in calibration.items():
                mine = found.types == each.number
                scores[mine] = chance(scores[mine])
            share = PICTURE_SIDE / max(rgb.shape)
            grey = cv2.resize(
                cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None, fx=share, fy=share, interpolation=cv2.INTER_AREA
            )
            calibrated = Detections(found.boxes, scores, found.types, found.models)
            yield float(frame.time or 0), rgb.shape[:2], calibrated, grey


def share_of_frames(share: float) -> Drop:
    return lambda count, chance: chance.random(count) < share


def bursts(share: float, longest: int = 10) -> Drop:
    """Runs of frames of any length up to the longest, until so many are dropped."""

    def drop(count: int, chance: np.random.Generator) -> NDArray[np.bool_]:
        dropped = np.zeros(count, bool)
        while dropped.mean() < share:
            start, length = chance.integers(count), chance.integers(1, longest + 1)
            dropped[start : start + length] = True
        return dropped

    return drop


DROPS = {
    "none": share_of_frames(0),
    "10 %": share_of_frames(0.1),
    "20 %": share_of_frames(0.2),
    "30 %": share_of_frames(0.3),
    "20 % in bursts": bursts(0.2),
}


def union_area(boxes: Boxes) -> float:
    """Area that (n, 4) boxes cover together."""
    if not len(boxes):
        return 0.0
    x, y = np.unique(boxes[:, ::2]), np.unique(boxes[:, 1::2])
    inside = np.zeros((len(y) - 1, len(x) - 1), bool)
    for x1, y1, x2, y2 in boxes:
        inside |= ((y[:-1] >= y1) & (y[1:] <= y2))[:, None] & ((x[:-1] >= x1) & (x[1:] <= x2))
    return float((np.diff(y)[:, None] * np.diff(x) * inside).sum())


def covered_share(box: Boxes, boxes: Boxes) -> float:
    """Share of a (4,) box that lies within (n, 4) boxes together."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    parts = np.concatenate([low, high], 1)[(low < high).all(axis=1)]
    return union_area(parts) / max(union_area(box[None]), 1e-6)


@dataclass
class Tally:
    """Over all frames and seeds."""

    truth: int = 0
    bare: int = 0
    left: int = 0
    redacted: float = 0.0
    wasted: float = 0.0
    seconds: float = 0.0
    frames: int = 0
    tracks: int = 0
    runs: int = 0

    def row(self) -> str:
        return (
            f"{self.bare / self.truth:8.2%} {self.left / self.truth:8.2%} {self.wasted / max(self.redacted, 1):7.1%}"
            f" {self.tracks / self.runs:7.1f} {1000 * self.seconds / self.frames:6.2f}"
        )


def run(clip: Clip, drop: Drop, tracker: Callable[[float, float], BaseTracker], seeds: int) -> Tally:
    options, tally = Options(), Tally()
    least = options.threshold(clip.object_type)
    truth = [found.boxes[found.scores >= least] for _, found, _ in clip.frames]
    for seed in range(seeds):
        dropped = drop(len(clip.frames), np.random.default_rng(seed))
        tracking = Tracking(clip.size_hw, options, OBJECT_TYPES, tracker=tracker)
        started = time.process_time()
        results: list[Detections] = []
        for (at, found, grey), gone in zip(clip.frames, dropped, strict=True):
            results += tracking.push(at, Detections.empty() if gone else found, grey)
        results += tracking.finish()
        tally.seconds += time.process_time() - started
        tally.frames += len(results)
        tally.runs += 1
        tally.tracks += len(np.unique(np.concatenate([each.track_ids for each in results])))
        for objects, result, gone in zip(truth, results, dropped, strict=True):
            boxes = _inside(result.boxes, clip.size_hw)
            tally.truth += len(objects)
            tally.bare += len(objects) if gone else 0
            tally.left += sum(covered_share(_inside(box[None], clip.size_hw)[0], boxes) < COVERED for box in objects)
            tally.redacted += union_area(boxes)
            real = _inside(objects, clip.size_hw)
            tally.wasted += union_area(np.concatenate([boxes, real])) - union_area(real)
    return tally


def _inside(boxes: Boxes, size_hw: tuple[int, int]) -> Boxes:
    height, width = size_hw
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def cost(counts: Sequence[int] = (0, 1, 10, 50)) -> None:
    """Milliseconds of one core a frame, for objects that stand before a moving background."""
    print("\nms of one core a frame, by objects: all found, and a fifth of the frames without any")
    chance = np.random.default_rng(0)
    noise = cv2.GaussianBlur(chance.integers(0, 256, (180, 1000), np.uint8), (0, 0), 2) * 3
    for count in counts:
        starts = chance.uniform([0, 0], [1700, 900], (count, 2))
        boxes = np.concatenate([starts, starts + 90], 1).astype(np.float32)
        found = _detections(boxes, np.full(count, 0.9, np.float32), ObjectType.FACE, "made")
        values = []
        for share in (0.0, 0.2):
            tracking = Tracking((1080, 1920), Options(), OBJECT_TYPES)
            started = time.process_time()
            for number in range(300):
                gone = chance.random() < share
                tracking.push(number / 30, Detections.empty() if gone else found, noise[:, number : number + 320])
            tracking.finish()
            values.append(1000 * (time.process_time() - started) / 300)
        print(f"{count:4d} {values[0]:6.2f} {values[1]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--clip", nargs="*", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--tracker", nargs="*", choices=TRACKERS, default=["bytetrack"])
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'clip':16} {'tracker':10} {'dropped':15} uncovered: bare, tracked; price, tracks, ms of one core a frame")
    for name in chosen.clip:
        clip = load(chosen.data, name)
        for tracker in chosen.tracker:
            for words, drop in DROPS.items():
                print(f"{name:16} {tracker:10} {words:15} {run(clip, drop, TRACKERS[tracker], chosen.seeds).row()}")
    cost()


if __name__ == "__main__":
    main()
