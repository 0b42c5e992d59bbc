"""DEIMv2 (Huang et al., arXiv 2509.20787): the networks of sizes N and Pico, with their authors' weights."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import Deimv2Config, Deimv2ForObjectDetection

from anonymizer.pipeline.detection.models.detr.checkpoints import (
    Rules,
    load_strictly,
    read_checkpoint,
    split_projections,
)
from anonymizer.pipeline.detection.models.detr.hgnet import convert_weights, hgnet_config

__all__ = ["load_deimv2"]

#: the layers of the decoder
LAYERS = 3
#: by the width of the decoder, what distinguishes the sizes
SIZES: dict[int, dict[str, Any]] = {
    # N
    128: {
        "backbone_config": hgnet_config(blocks=(1, 1, 2, 1), outputs=(3, 4)),
        "encoder_in_channels": [512, 1024],
        "encoder_ffn_dim": 512,
        "encode_proj_layers": [1],
        "decoder_ffn_dim": 512,
        "decoder_n_points": [6, 6],
        "num_queries": 300,
    },
    # Pico
    112: {
        "backbone_config": hgnet_config(blocks=(1, 1, 2), outputs=(3,)),
        "encoder_type": "lite",
        "encoder_layers": 0,
        "encoder_in_channels": [512],
        "decoder_ffn_dim": 320,
        "decoder_n_points": [4, 2],
        "num_queries": 200,
        "share_bbox_head": True,
        "use_gateway": False,
    },
}

RULES: Rules = (
    (r"^backbone\.model\.", "conv_encoder.model."),
    (r"(_blocks?(?:\.\d+)?)\.cv2\.1\.", r"\1.csp_rep1.conv2."),
    (r"(_blocks?(?:\.\d+)?)\.cv3\.1\.", r"\1.csp_rep2.conv2."),
    (r"(_blocks?(?:\.\d+)?)\.cv4\.", r"\1.conv2."),
    (r"^(decoder\..*)\.scale$", r"\1.weight"),
    (r"\.swish_ffn\.w3\.", ".mlp.down_proj."),
)
#: the larger sizes project the features in the backbone, the small ones in the encoder
HYBRID_RULES: Rules = ((r"^encoder\.input_proj\.", "conv_encoder.encoder_input_proj."),)
LITE_RULES: Rules = (
    (r"^encoder\.down_sample(\d)\.1\.", r"encoder.down_conv\1.conv."),
    (r"^encoder\.down_sample(\d)\.2\.", r"encoder.down_conv\1.norm."),
    (r"^encoder\.bi_fusion\.cv\.", "encoder.bi_fusion_conv."),
)


def load_deimv2(file: Path) -> nn.Module:
    """Load DEIMv2-N or DEIMv2-Pico; the weights say which.

    Args:
        file: of the authors, `.pth` or `.safetensors`.

    Raises:
        OSError, pickle.UnpicklingError, ValueError: the file holds no weights, or those of another size.
        RuntimeError: it holds those of another network.
    """
    weights = read_checkpoint(file)
    width = weights["decoder.dec_score_head.0.weight"].shape[1] if "decoder.dec_score_head.0.weight" in weights else 0
    if width not in SIZES:
        raise ValueError("the checkpoint is neither DEIMv2-N nor DEIMv2-Pico")
    size = SIZES[width]
    network = Deimv2ForObjectDetection(
        Deimv2Config(
            num_labels=80,
            encoder_hidden_dim=width,
            d_model=width,
            decoder_in_channels=[width, width],
            decoder_layers=LAYERS,
            decoder_activation_function="silu",
            feat_strides=[16, 32],
            num_feature_levels=2,
            hidden_expansion=0.34,
            depth_mult=0.5,
            **size,
        )
    )
    _follow_authors(network)
    weights = split_projections(weights, joined=r"\.swish_ffn\.w12\.", parts=(".mlp.gate_proj.", ".mlp.up_proj."))
    if size.get("share_bbox_head"):
        weights = _repeat_shared_head(weights)
    own_rules = LITE_RULES if size.get("encoder_type") == "lite" else HYBRID_RULES
    return load_strictly(network, convert_weights(weights, (*RULES, *own_rules)))


class _FirstPositions(nn.Module):
    """Embeds the positions of the queries once for all layers, as the authors do; transformers does it in each layer.

    Args:
        decoder: the decoder; each of its runs begins anew.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.layers = decoder.query_pos_head.layers
        self.act = decoder.query_pos_head.act
        self._embed = decoder.query_pos_head.forward
        # of each thread that runs the decoder
        self._kept = threading.local()
        decoder.register_forward_pre_hook(lambda *_: self._forget())

    def _forget(self) -> None:
        self._kept.first = None

    def forward(self, boxes: Tensor) -> Tensor:
        if self._kept.first is None:
            self._kept.first = self._embed(boxes)
        first: Tensor = self._kept.first
        return first


def _follow_authors(network: Any) -> None:
    """Change what transformers 5.24 computes otherwise than the authors: without this, every box and score differs.

    The authors' decoder starts from the features as they are: transformers puts a norm before it, for which the
    checkpoints have no weights. Their heads use SiLU, not ReLU. They embed the positions of the queries once.
    """
    network.model.enc_output = nn.Identity()
    decoder = network.model.decoder
    for head in (network.model.enc_bbox_head, decoder.pre_bbox_head, *decoder.bbox_embed, *decoder.lqe_layers):
        for module in head.modules():
            if isinstance(getattr(module, "act", None), nn.ReLU):
                module.act = nn.SiLU()
    decoder.query_pos_head = _FirstPositions(decoder)


def _repeat_shared_head(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the head that all layers share once for each layer: safetensors keep one name of a tensor only."""
    first = "decoder.dec_bbox_head.0."
    shared = {key: tensor for key, tensor in weights.items() if key.startswith(first)}
    return {
        key.replace(first, f"decoder.dec_bbox_head.{layer}."): tensor
        for layer in range(LAYERS)
        for key, tensor in shared.items()
    } | dict(weights)
