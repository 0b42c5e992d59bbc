"""The same network on each runtime: OpenVINO and ONNX Runtime agree with torch within a stated tolerance."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import overlaps
from anonymizer.pipeline.detection.models.centerface import CenterFace
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet
from anonymizer.pipeline.detection.models.own import OwnDetector
from anonymizer.pipeline.detection.models.y5fu import Y5fu
from anonymizer.pipeline.detection.models.yolox import YoloX
from anonymizer.pipeline.detection.models.yunet import YuNet
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.runtime import choice, openvino_network
from anonymizer.pipeline.runtime.choice import Runtime, resolve_runtime
from anonymizer.pipeline.runtime.loading import load_module

CPU = torch.device("cpu")
#: the largest difference of a score in bfloat16 (8 significant bits), and in float32
TOLERANCE = {Runtime.OPENVINO: 0.065, Runtime.ONNXRUNTIME: 1e-3}
#: the least overlap of a box with that of torch
LEAST_IOU = {Runtime.OPENVINO: 0.8, Runtime.ONNXRUNTIME: 0.98}


def own_2(_data: Path, runtime: str) -> Detector:
    return OwnDetector(MODELS_FOLDER / "own-detector.safetensors", device="cpu", runtime=runtime)


def own_3(_data: Path, runtime: str) -> Detector:
    return OwnNanoDet(MODELS_FOLDER / "own-3.safetensors", device="cpu", runtime=runtime)


def centerface(_data: Path, runtime: str) -> Detector:
    path = ModelStore(device="cpu").registry.models["centerface"].path(MODELS_FOLDER)
    assert path is not None
    return CenterFace(path, device="cpu", runtime=runtime)


def yunet(data: Path, runtime: str) -> Detector:
    return YuNet(data / "weights" / "yunet_n_dynamic.onnx", device="cpu", runtime=runtime)


def y5fu(data: Path, runtime: str) -> Detector:
    return Y5fu(data / "weights" / "y5fu_320x_sim.onnx", device="cpu", runtime=runtime, model_id="y5fu-320")


def yolox(data: Path, runtime: str) -> Detector:
    return YoloX(data / "weights" / "yolox_nano.onnx", device="cpu", runtime=runtime)


@pytest.mark.parametrize("runtime", [Runtime.OPENVINO, Runtime.ONNXRUNTIME])
@pytest.mark.parametrize("make", [own_2, own_3, centerface, yunet, y5fu, yolox])
def test_a_detector_agrees_with_torch(make: Callable[[Path, str], Detector], runtime: Runtime, data: Path) -> None:
    reference, detector = make(data, "torch"), make(data, runtime)
    found = 0
    for image in LabelledSet.read(data / "val.json").of(("wider", "voc", "cars", "dashcam"), 2):
        pixels = image.pixels()
        # at the image's own size: an enlarged face of a few pixels tells more of rounding than of the network
        side = min(reference.scales(max(pixels.shape[:2]))[0], max(pixels.shape[:2]))
        (wanted,), (given,) = reference.detect([pixels], side), detector.detect([pixels], side)
        for box, score, kind in zip(wanted.boxes, wanted.scores, wanted.types, strict=True):
            if score > 0.4:
                same = given[given.types == kind]
                iou = overlaps(box, same.boxes)
                assert iou.max(initial=0) > LEAST_IOU[runtime]
                assert abs(same.scores[iou.argmax()] - score) < TOLERANCE[runtime]
                found += 1
    assert found


class Sum(nn.Module):
    """One weight, and an input of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        return (x * self.weight).sum((1, 2, 3)) + n


def run(module: nn.Module) -> float:
    inputs = torch.ones(1, 3, 2, 2), torch.tensor([4])
    network = load_module(module, *inputs, name="sum", runtime=Runtime.OPENVINO, device=CPU, dtype=torch.float32)
    (result,) = network(torch.ones(1, 3, 4, 2), torch.tensor([5]))
    return float(result)


def test_a_module_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run(Sum()) == 2 * 24 + 5
    folder = tmp_path / "anonymizer" / "openvino"
    (converted,) = folder.glob("*.xml")
    assert {each.suffix for each in folder.iterdir()} == {".xml", ".bin"}

    monkeypatch.setattr(openvino_network, "_convert", lambda *_: pytest.fail("it was converted again"))
    assert run(Sum()) == 2 * 24 + 5
    assert [converted] == list(folder.glob("*.xml"))


def test_other_weights_are_another_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(Sum())
    module = Sum()
    nn.init.constant_(module.weight, 3.0)
    assert run(module) == 3 * 24 + 5


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_damaged_conversion_is_made_anew(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(Sum())
    (file,) = (tmp_path / "anonymizer" / "openvino").glob(f"*{suffix}")
    file.write_bytes(file.read_bytes()[:1])
    assert run(Sum()) == 2 * 24 + 5
    assert "made anew" in caplog.text
    caplog.clear()
    assert run(Sum()) == 2 * 24 + 5
    assert not caplog.text


def test_without_a_cache_each_process_converts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run(Sum()) == 2 * 24 + 5
    assert "cannot be written" in caplog.text


def test_a_gpu_runs_torch_and_a_cpu_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_runtime("auto", torch.device("cuda:0")) is Runtime.TORCH
    assert resolve_runtime("openvino", torch.device("cuda:0")) is Runtime.TORCH
    assert resolve_runtime("auto", CPU) is Runtime.OPENVINO
    monkeypatch.setattr(choice, "find_spec", lambda _name: None)
    assert resolve_runtime("auto", CPU) is Runtime.TORCH
    with pytest.raises(DetectorFailed, match="pip install onnxruntime"):
        resolve_runtime("onnxruntime", CPU)
    with pytest.raises(InvalidParameter, match="auto, torch, openvino or onnxruntime"):
        resolve_runtime("tensorrt", CPU)


def test_threads_are_those_of_torch() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = load_module(
            Sum(), torch.ones(1, 3, 2, 2), torch.tensor([4]), name="sum", runtime=Runtime.OPENVINO, device=CPU,
            dtype=torch.float32,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert network._compiled[1].get_property("INFERENCE_NUM_THREADS") == 1  # type: ignore[attr-defined]


def test_calls_of_threads_with_one_core_each_run_side_by_side() -> None:
    inputs = torch.ones(1, 3, 2, 2), torch.tensor([4])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network = load_module(Sum(), *inputs, name="sum", runtime=Runtime.OPENVINO, device=CPU, dtype=torch.float32)
        (alone,) = network(*inputs)
        compiled = network._compiled  # type: ignore[attr-defined]
        assert list(compiled) == [1]
        torch.set_num_threads(1)
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda _: float(network(*inputs)[0]), range(30)))
    finally:
        torch.set_num_threads(before)
    assert together == [float(alone)] * 30
    # each is compiled once, whichever thread came first
    assert {streams: each.get_property("NUM_STREAMS") for streams, each in compiled.items()} == {1: 1, 2: 2}


def test_several_threads_run_a_network_at_once() -> None:
    inputs = torch.ones(1, 3, 2, 2), torch.tensor([4])
    network = load_module(Sum(), *inputs, name="sum", runtime=Runtime.OPENVINO, device=CPU, dtype=torch.float32)
    sizes = [1 + n % 50 for n in range(400)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: float(network(torch.ones(1, 3, n, 8), torch.tensor([n]))[0]), sizes))
    assert results == [2 * 3 * 8 * n + n for n in sizes]


def test_values_of_a_result_are_not_overwritten_by_the_next() -> None:
    inputs = torch.ones(1, 3, 2, 2), torch.tensor([4])
    network = load_module(Sum(), *inputs, name="sum", runtime=Runtime.OPENVINO, device=CPU, dtype=torch.float32)
    (first,) = network(*inputs)
    kept = first.clone()
    network(torch.zeros(1, 3, 2, 2), torch.tensor([0]))
    np.testing.assert_array_equal(first, kept)
