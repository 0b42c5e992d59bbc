"""Time of each detector on each runtime, side by side in one run, and what each runtime finds of what torch finds.

    python -m benchmarks.runtimes [--set ../shared/data/val.json] [--folder ../shared/data/weights] [--models ID ...]
                                  [--nanodet FILE] [--threads 1 2] [--images 8] [--rounds 5] [--clock wall]

It prints two Markdown tables. Detectors: milliseconds an image of 640 x 480 at all scales of the detector (the median
over the images of the least of all rounds). And how many of torch's detections from a score of .4 on each runtime
repeats (IoU above .8).
The runtimes take turns image by image, so that other work on the machine disturbs them alike.
Profiles: milliseconds an image for all object types, format `whole`.
`--clock cpu` measures the time of the processor in place of that on the wall. On one thread they are the same on an
idle machine, and on a busy one only the first can be compared.

Models that come as torch modules are exported to ONNX for ONNX Runtime. Models without their file are left out.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.models.nanodet.detector import NanoDet
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Whole
from anonymizer.pipeline.runtime import openvino_network
from anonymizer.pipeline.runtime.onnxruntime_network import OnnxRuntimeNetwork
from anonymizer.pipeline.runtime.torch_network import TorchNetwork
from anonymizer.training.coco_start import load_coco

SIZE = (640, 480)
#: detections from this score on are compared
SURE = 0.4
#: all object types as before own-3: own-2 and CenterFace
BEFORE = "face=centerface+own-2,license-plate=own-2,person=own-2,vehicle=own-2"

#: NanoDet-Plus-m-1.5x with the weights that own-3 started from, at the scales of `NanoDet`
DRAFT = "nanodet draft"
MODELS = ("own-3", "own-2", "centerface", "yunet-n", "y5fu-640", DRAFT)
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}

Image = NDArray[np.uint8]


class Way(StrEnum):
    """How a network runs on the CPU."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO_F32 = "openvino, f32"
    OPENVINO_BF16 = "openvino, bf16"

    @property
    def runtime(self) -> str:
        """The runtime, as `ModelStore` takes it."""
        return self.value.partition(",")[0]


def load(model_id: str, way: Way, folder: Path, draft: Path) -> Detector:
    """Load a detector that runs in a way."""
    with patch.object(openvino_network, "has_bfloat16", return_value=way is Way.OPENVINO_BF16):
        if model_id == DRAFT:
            detector: Detector = NanoDet(load_coco(draft), device="cpu", runtime=way.runtime)
        else:
            detector = ModelStore(folder, device="cpu", runtime=way.runtime).detector(model_id)
    network = getattr(detector, "_network", None)
    if way is Way.ONNXRUNTIME and isinstance(network, TorchNetwork):
        detector._network = as_onnx(network._module)  # type: ignore[attr-defined]
    return detector


def as_onnx(module: torch.nn.Module) -> OnnxRuntimeNetwork:
    """A torch module on ONNX Runtime."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # this exporter is deprecated, and the new one needs another package
        warnings.simplefilter("ignore")
        path, image = Path(folder) / "network.onnx", torch.zeros(1, 3, 320, 320)
        free = {"images": {0: "batch", 2: "height", 3: "width"}}
        torch.onnx.export(module, (image,), path, dynamo=False, input_names=["images"], dynamic_axes=free)
        return OnnxRuntimeNetwork(onnx.load(path))


def pictures(labelled: Path, count: int) -> list[Image]:
    """Street-like pictures, resized to 640 x 480."""
    images = list(LabelledSet.read(labelled).of(("voc", "wider", "dashcam", "coco"), -(-count // 4)))[:count]
    return [np.asarray(cv2.resize(image.pixels(), SIZE, interpolation=cv2.INTER_AREA), np.uint8) for image in images]


def timed(
    runs: Mapping[str, Callable[[Image], object]], images: Sequence[Image], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Milliseconds of each run: the median over the images of the least of all rounds, but the first. They take turns.

    The least time of an image is the one that other work on the machine disturbed least.
    """
    times = {name: np.full((rounds, len(images)), np.inf) for name in runs}
    for turn in range(-1, rounds):
        for number, image in enumerate(images):
            for name, run in runs.items():
                began = clock()
                run(image)
                if turn >= 0:
                    times[name][turn, number] = 1000 * (clock() - began)
    return {name: float(np.median(each.min(0))) for name, each in times.items()}


def repeated(of_torch: Sequence[Detections], found: Sequence[Detections]) -> tuple[int, int]:
    """How many sure detections of torch there are, and how many of them another runtime found too."""
    total = same = 0
    for wanted, given in zip(of_torch, found, strict=True):
        for box, score, kind in zip(wanted.boxes, wanted.scores, wanted.types, strict=True):
            if score >= SURE:
                total += 1
                same += bool(overlaps(box, given.boxes[given.types == kind]).max(initial=0) > 0.8)
    return total, same


def detect_all(detector: Detector, image: Image) -> list[Detections]:
    """What a detector finds at each of its scales."""
    return [detector.detect([image], side)[0] for side in detector.scales(max(SIZE))]


def print_detectors(given: argparse.Namespace, models: Sequence[str], images: Sequence[Image], threads: int) -> None:
    """Print one row for each detector."""
    for model_id in models:
        detectors = {way: load(model_id, way, given.folder, given.nanodet) for way in Way}
        runs = {str(way): partial(detect_all, detector) for way, detector in detectors.items()}
        ms = timed(runs, images, given.rounds, CLOCKS[given.clock])
        found = {way: [each for image in images for each in run(image)] for way, run in runs.items()}
        cells = [f"{ms[Way.TORCH]:.1f}"]
        for way in list(Way)[1:]:
            total, same = repeated(found[Way.TORCH], found[way])
            cells.append(f"{ms[way]:.1f} ({same} of {total})")
        scales = ", ".join(map(str, detectors[Way.TORCH].scales(max(SIZE))))
        print(f"| {model_id} | {scales} | {threads} | {' | '.join(cells)} |", flush=True)


def detect_types(engine: Engine, image: Image) -> list[Detections]:
    """What a profile finds, of all types."""
    return engine.detect([image], OBJECT_TYPES, Whole())


def print_profiles(given: argparse.Namespace, images: Sequence[Image], threads: int) -> None:
    """Print the time for all types: before, and of `embedded` on torch and on OpenVINO."""
    runs: dict[str, Callable[[Image], object]] = {}
    for models, runtime in ((BEFORE, "torch"), ("embedded", "torch"), ("embedded", "openvino")):
        engine = Anonymizer(store=ModelStore(given.folder, device="cpu", models=models, runtime=runtime)).engine
        runs[f"{models} {runtime}"] = partial(detect_types, engine)
    cells = list(timed(runs, images, given.rounds, CLOCKS[given.clock]).values())
    ratio = cells[-1] / cells[0]
    print(f"| {threads} | {' | '.join(f'{cell:.0f}' for cell in cells)} | {ratio:.2f} |", flush=True)


def usable(models: Sequence[str], folder: Path, draft: Path) -> list[str]:
    """The models whose files are there."""
    store = ModelStore(folder, device="cpu")
    return [
        model_id
        for model_id in models
        if (draft.exists() if model_id == DRAFT else store.problem(store.registry.models[model_id]) is None)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--folder", type=Path, default=MODELS_FOLDER, help="of the models; default: the installed ones")
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"ids of detectors; default: {', '.join(MODELS)}")
    parser.add_argument(
        "--nanodet", type=Path, default=Path("../shared/nanodet/nanodet-plus-m-1.5x-416.fp16.safetensors"),
        help="weights of the NanoDet draft; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="default: 1 2")
    parser.add_argument("--images", type=int, default=8, help="default: 8")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="default: wall")
    given = parser.parse_args()
    images = pictures(given.set, given.images)
    heads = ("detector", "scales", "threads", *(f"{way}, ms" for way in Way))
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for threads in given.threads:
        torch.set_num_threads(threads)
        print_detectors(given, usable(given.models, given.folder, given.nanodet), images, threads)
    heads = ("threads", "before (own-2 + CenterFace, torch)", "embedded, torch", "embedded, openvino", "ratio")
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for threads in given.threads:
        torch.set_num_threads(threads)
        print_profiles(given, images, threads)


if __name__ == "__main__":
    main()
