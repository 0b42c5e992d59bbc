"""Time of each detector on each runtime, side by side in one run, and what each runtime finds of what torch finds.

    python -m benchmarks.runtimes [--set ../shared/data/val.json] [--folder models] [--models ID ...]
                                  [--threads 1 2] [--images 8] [--rounds 5]

It prints two Markdown tables. Detectors: milliseconds an image of 640 x 480 at all scales of the detector (the median
of all images and rounds), and how many of torch's detections from a score of .4 on each runtime repeats (IoU above .8).
Profiles: milliseconds an image for all object types, format `whole`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.runtime.choice import Runtime

RUNTIMES = (Runtime.TORCH, Runtime.ONNXRUNTIME, Runtime.OPENVINO)
SIZE = (640, 480)
#: detections from this score on are compared
SURE = 0.4
#: all object types as before own-3: own-2 and CenterFace
BEFORE = "face=centerface+own-2,license-plate=own-2,person=own-2,vehicle=own-2"

Image = NDArray[np.uint8]


def pictures(labelled: Path, count: int) -> list[Image]:
    """Street-like pictures, resized to 640 x 480."""
    images = list(LabelledSet.read(labelled).of(("voc", "wider", "dashcam", "coco"), -(-count // 4)))[:count]
    return [np.asarray(cv2.resize(image.pixels(), SIZE, interpolation=cv2.INTER_AREA), np.uint8) for image in images]


def timed(run: Callable[[Image], object], images: Sequence[Image], rounds: int) -> float:
    """Median of the milliseconds of a run on one image, after one run that is not counted."""
    run(images[0])
    times = []
    for _ in range(rounds):
        for image in images:
            began = time.perf_counter()
            run(image)
            times.append(1000 * (time.perf_counter() - began))
    return median(times)


def repeated(of_torch: Sequence[Detections], found: Sequence[Detections]) -> tuple[int, int]:
    """How many sure detections of torch there are, and how many of them another runtime found too."""
    total = same = 0
    for wanted, given in zip(of_torch, found, strict=True):
        for box, score, kind in zip(wanted.boxes, wanted.scores, wanted.types, strict=True):
            if score >= SURE:
                total += 1
                same += bool(overlaps(box, given.boxes[given.types == kind]).max(initial=0) > 0.8)
    return total, same


def print_detectors(folder: Path, models: Sequence[str], images: Sequence[Image], threads: int, rounds: int) -> None:
    """Print one row for each detector."""
    for model_id in models:
        cells, reference = [], None
        for runtime in RUNTIMES:
            detector = ModelStore(folder, device="cpu", runtime=runtime).detector(model_id)
            scales = detector.scales(max(SIZE))

            def run(image: Image, detector=detector, scales=scales) -> list[Detections]:  # type: ignore[no-untyped-def]
                return [detector.detect([image], side)[0] for side in scales]

            ms = timed(run, images, rounds)
            found = [each for image in images for each in run(image)]
            reference = found if reference is None else reference
            total, same = repeated(reference, found)
            cells.append(f"{ms:.1f}" if runtime is Runtime.TORCH else f"{ms:.1f} ({same} of {total})")
        print(f"| {model_id} | {threads} | {' | '.join(cells)} |", flush=True)


def print_profiles(folder: Path, images: Sequence[Image], threads: int, rounds: int) -> None:
    """Print the time for all types: before, and of `embedded` on torch and on OpenVINO."""
    cells = []
    for models, runtime in ((BEFORE, "torch"), ("embedded", "torch"), ("embedded", "openvino")):
        engine = Anonymizer(store=ModelStore(folder, device="cpu", models=models, runtime=runtime)).engine
        cells.append(timed(lambda image, engine=engine: engine.detect([image], OBJECT_TYPES, Whole()), images, rounds))
    ratio = cells[-1] / cells[0]
    print(f"| {threads} | {' | '.join(f'{cell:.0f}' for cell in cells)} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--folder", type=Path, default=MODELS_FOLDER, help="of the models; default: the installed ones")
    parser.add_argument("--models", nargs="+", default=["own-3", "own-2", "centerface"], help="ids of detectors")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="default: 1 2")
    parser.add_argument("--images", type=int, default=8, help="default: 8")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    given = parser.parse_args()
    images = pictures(given.set, given.images)
    print(f"| detector | threads | {' | '.join(f'{runtime}, ms' for runtime in RUNTIMES)} |\n|---|---|---|---|---|")
    for threads in given.threads:
        torch.set_num_threads(threads)
        print_detectors(given.folder, given.models, images, threads, given.rounds)
    heads = ("threads", "before (own-2 + CenterFace, torch)", "embedded, torch", "embedded, openvino", "ratio")
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for threads in given.threads:
        torch.set_num_threads(threads)
        print_profiles(given.folder, images, threads, given.rounds)


if __name__ == "__main__":
    main()
