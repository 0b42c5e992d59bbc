"""The start of a training: weights of COCO in two kinds of files, and norms that change nothing."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save_file

from anonymizer.pipeline.detection.models.nanodet.network import NanoDetNetwork
from anonymizer.pipeline.detections import ObjectType
from anonymizer.training.coco_start import is_coco, load_coco, start_from, unfold_norms
from tests.pipeline.detection.models.nanodet_export import export, random_network

RECOVERED = "nanodet-plus-m-1.5x-416.fp16.safetensors"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[NanoDetNetwork, Path]:
    """Random weights, and the file that the NanoDet project would export of them."""
    network = random_network(80)
    return network, export(network, tmp_path_factory.mktemp("nanodet") / "nanodet.onnx")


def image() -> torch.Tensor:
    return 255 * torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(3))


def test_a_published_file_is_read_weight_by_weight(published: tuple[NanoDetNetwork, Path]) -> None:
    network, file = published
    assert is_coco(file)
    read = load_coco(file)
    with torch.inference_mode():
        for ours, theirs in zip(read(image()), network(image()), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_file_that_computes_something_else_is_refused(published: tuple[NanoDetNetwork, Path], tmp_path: Path) -> None:
    model = onnx.load(published[1])
    for node in model.graph.node:
        if node.op_type == "LeakyRelu":
            node.attribute[0].f = 0.3
    onnx.save(model, tmp_path / "steeper.onnx")
    with pytest.raises(ValueError, match="computes something else"):
        load_coco(tmp_path / "steeper.onnx")


def test_a_file_with_fewer_convolutions_is_refused(published: tuple[NanoDetNetwork, Path], tmp_path: Path) -> None:
    model = onnx.load(published[1])
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "Conv"))
    onnx.save(model, tmp_path / "short.onnx")
    with pytest.raises(ValueError, match="has 109 convolutions, but the network has 110"):
        load_coco(tmp_path / "short.onnx")


def test_the_start_says_what_coco_said_of_persons(published: tuple[NanoDetNetwork, Path]) -> None:
    network, _ = published
    ours = start_from(network).eval()
    with torch.inference_mode():
        theirs_logits, theirs_bins = network(image())
        logits, bins = ours(image())
    torch.testing.assert_close(logits[..., ObjectType.PERSON.number], theirs_logits[..., 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bins, theirs_bins, atol=1e-4, rtol=1e-4)
    # what COCO did not know is hardly ever seen at the start
    assert logits[..., ObjectType.LICENSE_PLATE.number].sigmoid().mean() < 0.05


def test_norms_with_the_statistics_of_images_change_nothing(published: tuple[NanoDetNetwork, Path]) -> None:
    network = load_coco(published[1])
    with torch.inference_mode():
        before = network(image())
    unfold_norms(network, [image(), image().flip(2)])
    assert network.backbone.stem.norm.running_mean.abs().max() > 0.01
    with torch.inference_mode():
        for value, wanted in zip(network(image()), before, strict=True):
            torch.testing.assert_close(value, wanted, atol=1e-3, rtol=1e-3)


def test_the_recovered_weights_are_read(data: Path) -> None:
    file = data.parent / "nanodet" / RECOVERED
    assert is_coco(file)
    network = load_coco(file)
    with torch.inference_mode():
        logits, _ = network(torch.full((1, 3, 64, 64), 114.0))
    assert logits.shape == (1, 64 + 16 + 4 + 1, 80)
    assert logits.sigmoid().max() < 0.3


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    assert not is_coco(file)
    with pytest.raises(ValueError, match="holds another network"):
        load_coco(file)
