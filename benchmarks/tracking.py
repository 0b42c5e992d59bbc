"""Measure what tracking covers of objects that detectors miss: `dropout_test` on real clips.

    python -m benchmarks.tracking [--data ../shared/data] [--clip NAME ...] [--tracker NAME ...] [--seeds N]

It prints a line for each clip, tracker and share of dropped detections. Its columns: what stays uncovered without and
with tracking, the price (needless cover), the number of tracks, and milliseconds of one core for each frame. A second
table has the milliseconds by number of objects.

Clips whose camera stands still are also shown as a shaking and as a panning camera would see them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from trackers import BoTSORTTracker, OCSORTTracker
from trackers.core.base import BaseTracker

from anonymizer.evaluation.video.dropout_test import (
    PICTURE_SIDE,
    DropoutCounts,
    Recording,
    bursts,
    dropout_test,
    share_of_frames,
    small_grey,
)
from anonymizer.evaluation.video.moving_camera import move_camera, pan, shake
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import weigh_misses
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.tracking.association import byte_track
from anonymizer.pipeline.tracking.tracker import Tracker

#: by clip: the model, the long side of its input, the object type, and the number of frames
CLIPS = {
    "portrait-people": ("centerface", 1080, ObjectType.FACE, 600),
    "person-walking": ("own-2", 416, ObjectType.PERSON, 400),
    "cars-from-above": ("own-2", 416, ObjectType.VEHICLE, 377),
}

Boxes = NDArray[np.float32]


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


def load(data: Path, name: str) -> Recording:
    """The detections of a clip. They are kept in the folder for temporary files."""
    model, side, object_type, most = CLIPS[name]
    store = Anonymizer().store
    # other maps or another cost of a miss give other scores
    scale = f"{store.calibrations(model).digest(object_type)}-{store.miss_cost(object_type):g}"
    folder = Path(tempfile.gettempdir()) / "anonymizer-benchmark-tracking"
    kept = folder / f"{name}-{model}-{side}-{most}-{scale}-{PICTURE_SIDE}.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        times, sizes, found, pictures = zip(*_detect(data / "videos" / f"{name}.mp4", model, side, most), strict=True)
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
    return Recording((height, width), frames)


def _detections(boxes: Boxes, scores: NDArray[np.float32], object_type: ObjectType, model: str) -> Detections:
    return Detections(boxes, scores, np.full(len(boxes), object_type.number), np.full(len(boxes), model))


def _detect(
    path: Path, model: str, side: int, most: int
) -> Iterator[tuple[float, tuple[int, int], Detections, NDArray[np.uint8]]]:
    store = Anonymizer().store
    detector, calibrations = store.detector(model), store.calibrations(model)
    miss_costs = np.array(list(store.miss_costs(OBJECT_TYPES).values()))
    with av.open(path) as container:
        for frame in islice(container.decode(video=0), most):
            rgb = frame.to_ndarray(format="rgb24")
            found = calibrations.apply(detector.detect([rgb], side)[0])
            scores = weigh_misses(found.scores, miss_costs[found.types])
            weighted = Detections(found.boxes, scores, found.types, found.models)
            yield float(frame.time or 0), rgb.shape[:2], weighted, small_grey(rgb)


DROPS = {
    "none": share_of_frames(0),
    "10 %": share_of_frames(0.1),
    "20 %": share_of_frames(0.2),
    "30 %": share_of_frames(0.3),
    "20 % in bursts": bursts(0.2),
    "20 %, tens": bursts(0.2, shortest=10),
}
#: the camera is moved by these; speeds are for a video that is 1920 pixels wide
CAMERAS = {
    "as it is": None,
    "shakes 8 px": shake(),
    "pans 400 px/s": pan(),
    "pans 800 px/s": pan(800 / 1920),
}


def row(tally: DropoutCounts) -> str:
    return (
        f"{tally.without:8.2%} {tally.tracked:8.2%} {tally.price:7.1%}"
        f" {tally.tracks / tally.draws:7.1f} {1000 * tally.seconds / tally.frames:6.2f}"
    )


def cost(counts: Sequence[int] = (0, 1, 10, 50)) -> None:
    """Print the milliseconds of one core for each frame, for objects that stand before a moving background."""
    print("\nms of one core a frame, by objects: all found, and a fifth of the frames without any")
    chance = np.random.default_rng(0)
    noise = cv2.GaussianBlur(chance.integers(0, 256, (360, 1000), np.uint8), (0, 0), 2) * 3
    for count in counts:
        starts = chance.uniform([0, 0], [1700, 900], (count, 2))
        boxes = np.concatenate([starts, starts + 90], 1).astype(np.float32)
        found = _detections(boxes, np.full(count, 0.9, np.float32), ObjectType.FACE, "made")
        values = []
        for share in (0.0, 0.2):
            tracking = Tracker((1080, 1920), Options(), OBJECT_TYPES)
            started = time.process_time()
            for number in range(300):
                gone = chance.random() < share
                tracking.push(number / 30, Detections.empty() if gone else found, noise[:, number : number + 640])
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
    print(
        f"{'clip':16} {'tracker':10} {'camera':14} {'dropped':15} "
        "uncovered: bare, tracked; price, tracks, ms of one core a frame"
    )
    for name, camera, tracker in product(chosen.clip, CAMERAS, chosen.tracker):
        path, clip = CAMERAS[camera], load(chosen.data, name)
        if path is not None:
            clip = move_camera(clip, path)
        for words, drop in DROPS.items():
            tally = dropout_test(clip, drop, draws=chosen.seeds, tracker=TRACKERS[tracker])
            print(f"{name:16} {tracker:10} {camera:14} {words:15} {row(tally)}")
    cost()


if __name__ == "__main__":
    main()
