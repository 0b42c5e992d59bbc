"""The authors' checkpoints load into the networks of transformers, and give what the authors' code gives."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anonymizer.pipeline.detection.models.detr.checkpoints import read_checkpoint, rename_keys, split_projections
from anonymizer.pipeline.detection.models.detr.deimv2 import load_deimv2
from anonymizer.pipeline.detection.models.detr.dfine import load_dfine
from anonymizer.pipeline.detection.models.detr.rfdetr import load_rfdetr
from tests.pipeline.detection.models.detr.made import made_checkpoint, made_picture

#: By network, the five surest queries as the authors' code gives them for the made weights and picture: logit, class,
#: centre, size, and mean of the logits of the mask. RF-DETR's code is that of the package rfdetr 1.11.2, D-FINE's and
#: DEIMv2's that in the package libreyolo 1.6.0.
EXPECTED = {
    "dfine_n": [
        [3.28, 12, 0.9487, 0.9148, 0.1603, 0.1162],
        [3.082, 12, 0.2, 0.0729, 0.1977, 0.0596],
        [3.044, 12, 0.657, 0.0522, 0.1454, 0.0541],
        [2.915, 12, 0.9541, 0.4975, 0.1682, 0.06],
        [2.909, 12, 0.5859, 0.9009, 0.2473, 0.0873],
    ],
    "deimv2_n": [
        [2.669, 73, -0.0667, 1.0225, 0.9612, 0.9299],
        [2.625, 73, -0.0527, 1.074, 1.0006, 0.9119],
        [2.624, 0, -0.0322, 1.0381, 0.9865, 0.9556],
        [2.619, 0, -0.0382, 1.031, 0.9874, 0.9625],
        [2.599, 0, -0.0303, 1.0191, 0.9644, 0.9518],
    ],
    "deimv2_pico": [
        [2.419, 66, 1.0575, 0.9996, 0.8889, 0.0],
        [2.403, 66, 1.0604, 0.9997, 0.8734, 0.0],
        [2.4, 36, 1.0697, 0.74, 0.8307, 0.0],
        [2.385, 66, 1.0675, 0.9993, 0.8574, 0.0],
        [2.384, 66, 1.0631, 0.9971, 0.86, 0.0],
    ],
    "rfdetr_m": [
        [3.31, 30, 0.7818, 1.0997, 0.0254, 0.2895],
        [3.145, 30, 0.2578, 0.8386, 0.0586, 0.1343],
        [3.144, 7, 0.6, 0.6462, 0.085, 0.0659],
        [3.138, 7, 0.2712, 0.37, 0.0568, 0.1013],
        [3.09, 30, 0.2297, 0.8469, 0.0348, 0.2322],
    ],
    "rfdetr_seg_m": [
        [3.355, 30, 1.0156, 0.719, 0.0589, 0.1334, 24.954],
        [3.204, 30, 1.0157, 0.1041, 0.0814, 0.1985, 31.112],
        [3.107, 30, 1.0105, 0.6199, 0.0264, 0.141, 23.565],
        [3.106, 30, 1.0118, 0.8112, 0.0749, 0.102, 24.803],
        [3.068, 56, 0.0696, 0.9633, 0.0601, 0.3921, 64.116],
    ],
}


def _rfdetr(file: Path) -> nn.Module:
    return load_rfdetr(file)[0]


LOADERS: dict[str, Callable[[Path], nn.Module]] = {
    "dfine_n": load_dfine, "deimv2_n": load_deimv2, "deimv2_pico": load_deimv2,
    "rfdetr_m": _rfdetr, "rfdetr_seg_m": _rfdetr,
}  # fmt: skip
SIDES = dict.fromkeys(LOADERS, 640) | {"rfdetr_m": 576, "rfdetr_seg_m": 432}
SLOW = [pytest.param(name, marks=pytest.mark.slow if "rfdetr" in name else ()) for name in LOADERS]


def saved(weights: dict[str, Tensor], folder: Path, **beside: object) -> Path:
    torch.save({"model": weights} | beside, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize("name", SLOW)
def test_the_network_gives_what_the_authors_code_gives(name: str, tmp_path: Path) -> None:
    network = LOADERS[name](saved(made_checkpoint(name), tmp_path, args=argparse.Namespace(lr=1e-4)))

    with torch.inference_mode():
        outputs = network(made_picture(SIDES[name]))

    best = outputs.logits[0].max(-1)
    rows = [
        [
            best.values[query].item(),
            best.indices[query].item(),
            *outputs.pred_boxes[0][query].tolist(),
            *([outputs.pred_masks[0][query].mean().item()] if "seg" in name else []),
        ]
        for query in best.values.argsort(descending=True)[:5]
    ]
    for row, expected in zip(rows, EXPECTED[name], strict=True):
        assert row == pytest.approx(expected, abs=2e-3)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("harm", ["missing", "unknown", "shape"])
def test_every_key_must_find_its_place(name: str, harm: str, tmp_path: Path) -> None:
    weights = made_checkpoint(name)
    # one that nothing else looks at
    key = next(key for key in reversed(weights) if key.endswith(("norm1.weight", "norm1.scale")))
    if harm == "missing":
        del weights[key]
    elif harm == "unknown":
        weights["decoder.another.weight"] = torch.zeros(3)
    else:
        weights[key] = weights[key][:-1]

    with pytest.raises(RuntimeError, match={"missing": "Missing key", "unknown": "Unexpected key"}.get(harm, "size")):
        LOADERS[name](saved(weights, tmp_path))


@pytest.mark.parametrize("name", ["dfine_n", "deimv2_n"])
def test_another_network_is_refused(name: str, tmp_path: Path) -> None:
    other = {"dfine_n": "deimv2_n", "deimv2_n": "dfine_n"}[name]
    with pytest.raises((RuntimeError, ValueError)):
        LOADERS[name](saved(made_checkpoint(other), tmp_path))


def test_another_size_is_refused_with_those_that_load(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither DEIMv2-N nor DEIMv2-Pico"):
        load_deimv2(saved({"decoder.dec_score_head.0.weight": torch.zeros(80, 64)}, tmp_path))
    encoder = "backbone.0.encoder.encoder.embeddings"
    weights = {
        f"{encoder}.position_embeddings": torch.zeros(1, 52 * 52 + 1, 384),
        f"{encoder}.patch_embeddings.projection.weight": torch.zeros(384, 3, 12, 12),
        "query_feat.weight": torch.zeros(3900, 256),
    }
    with pytest.raises(ValueError, match="is for 624 pixels; those for 576, 704, 432, 504 load"):
        load_rfdetr(saved(weights, tmp_path))
    with pytest.raises(ValueError, match="not one of RF-DETR"):
        load_rfdetr(saved(made_checkpoint("deimv2_pico"), tmp_path))


def test_safetensors_with_one_name_for_each_tensor_give_the_same(tmp_path: Path) -> None:
    """As the authors publish them on Hugging Face: without the second names of shared parameters."""
    weights = made_checkpoint("deimv2_pico")
    second = ("decoder.up", "decoder.reg_scale", "decoder.dec_bbox_head.1", "decoder.dec_bbox_head.2")
    once = {key: tensor.clone() for key, tensor in weights.items() if not key.startswith(second)}
    save_file(once, tmp_path / "model.safetensors")

    expected = load_deimv2(saved(weights, tmp_path)).state_dict()
    found = load_deimv2(tmp_path / "model.safetensors").state_dict()

    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# --- reading ---


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of a checkpoint ran')",))


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "trap": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(pickle.UnpicklingError):
        read_checkpoint(tmp_path / "weights.pth")


def test_the_moving_average_is_preferred(tmp_path: Path) -> None:
    content = {"model": {"a": torch.zeros(1)}, "ema": {"module": {"a": torch.ones(1, dtype=torch.float16)}}}
    torch.save(content, tmp_path / "weights.pth")
    weights = read_checkpoint(tmp_path / "weights.pth")
    assert weights["a"].tolist() == [1]
    assert weights["a"].dtype == torch.float32


@pytest.mark.parametrize("content", [{}, {"model": {}}, {"model": {"a": 1}}, [torch.ones(1)]])
def test_a_file_without_weights_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        read_checkpoint(tmp_path / "weights.pth")


def test_two_keys_never_become_one() -> None:
    with pytest.raises(ValueError, match="two keys of the checkpoint become c"):
        rename_keys({"a": torch.ones(1), "b": torch.ones(1)}, [("[ab]", "c")])


def test_joined_layers_are_split_in_their_order() -> None:
    joined = {"x.in_proj_weight": torch.arange(6).reshape(6, 1), "y": torch.ones(1)}
    split = split_projections(joined, joined=r"\.in_proj_(\w+)$", parts=(r".q.\1", r".k.\1", r".v.\1"))
    assert {key: tensor.flatten().tolist() for key, tensor in split.items()} == {
        "x.q.weight": [0, 1], "x.k.weight": [2, 3], "x.v.weight": [4, 5], "y": [1],
    }  # fmt: skip
