"""RF-DETR (Robinson et al., arXiv 2511.09554): the networks of sizes M and L, with masks and without."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn
from transformers import RfDetrConfig, RfDetrForInstanceSegmentation, RfDetrForObjectDetection
from transformers.models.rf_detr.configuration_rf_detr import RfDetrDinov2Config

from anonymizer.pipeline.detection.models.detr.checkpoints import (
    Rules,
    load_strictly,
    read_checkpoint,
    rename_keys,
    split_projections,
)

__all__ = ["load_rfdetr"]

#: By the side of a patch and of the input in pixels. XL and 2XL are not here: their licence is another one.
SIZES = {(16, 576): "M", (16, 704): "L", (12, 432): "Seg M", (12, 504): "Seg L"}
#: the copies of the queries that help in training; only the first is used
GROUPS = 13

#: the keys of the encoder in a checkpoint
ENCODER = "backbone.0.encoder.encoder."
RULES: Rules = (
    # backbone, a DINOv2 with windows
    (r"^backbone\.0\.encoder\.encoder\.", "model.backbone.backbone."),
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"^backbone\.0\.projector\.stages\.0\.0\.m\.", "model.backbone.projector.projector_layer.bottlenecks."),
    (r"^backbone\.0\.projector\.stages\.0\.0\.", "model.backbone.projector.projector_layer."),
    (r"^backbone\.0\.projector\.stages\.0\.1\.", "model.backbone.projector.layer_norm."),
    (r"(\.projector_layer\..*)\.bn\.", r"\1.norm."),
    (r"(\.projector_layer\..*|\.projector_layer)\.cv(\d)\.", r"\1.conv\2."),
    # decoder
    (r"\.self_attn\.out_proj\.", ".self_attn.o_proj."),
    (r"(\.decoder\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(\.decoder\.layers\.\d+)\.norm2\.", r"\1.cross_attn_layer_norm."),
    (r"(\.decoder\.layers\.\d+)\.norm3\.", r"\1.layer_norm."),
    (r"(\.decoder\.layers\.\d+)\.linear(\d)\.", r"\1.mlp.fc\2."),
    (r"\.decoder\.norm\.", ".decoder.layernorm."),
    (r"^transformer\.", "model."),
    (r"^refpoint_embed\.", "model.reference_point_embed."),
    (r"^query_feat\.", "model.query_feat."),
)
#: with masks, the detector lies one level deeper
MASK_RULES: Rules = (
    (r"^(model|class_embed|bbox_embed)\.", r"model.\1."),
    (r"^segmentation_head\.bias$", "segmentation_bias"),
    (r"^segmentation_head\.", ""),
    (r"^(blocks\.\d+)\.dwconv\.", r"\1.depthwise_conv."),
    (r"^(blocks\.\d+)\.norm\.", r"\1.layernorm."),
    (r"^(blocks\.\d+)\.pwconv1\.", r"\1.pointwise_conv."),
    (r"^query_features_block\.norm_in\.", "query_features_block.norm."),
    (r"^query_features_block\.layers\.0\.", "query_features_block.mlp.fc1."),
    (r"^query_features_block\.layers\.2\.", "query_features_block.mlp.fc2."),
)


def load_rfdetr(file: Path) -> tuple[nn.Module, int, bool]:
    """Load RF-DETR M or L, or RF-DETR-Seg M or L; the weights say which.

    Args:
        file: of Roboflow, `.pth` or `.pt`.

    Returns:
        The network, the side of its square input in pixels, and whether it makes masks.

    Raises:
        OSError, pickle.UnpicklingError, ValueError: the file holds no weights, or those of another size.
        RuntimeError: it holds those of another network.
    """
    weights = read_checkpoint(file)
    # of a model for key points; empty in all others
    weights.pop("_kp_active_mask", None)
    positions = weights.get(f"{ENCODER}embeddings.position_embeddings")
    patches = weights.get(f"{ENCODER}embeddings.patch_embeddings.projection.weight")
    queries = weights.get("query_feat.weight")
    if positions is None or patches is None or queries is None:
        raise ValueError("the checkpoint is not one of RF-DETR")
    patch = patches.shape[-1]
    # one position is that of the class token
    side = patch * math.isqrt(positions.shape[1] - 1)
    if (patch, side) not in SIZES:
        raise ValueError(f"the checkpoint is for {side} pixels; those for {', '.join(str(px) for _, px in SIZES)} load")
    layers = {key.split(".")[3] for key in weights if key.startswith("transformer.decoder.layers.")}
    config = RfDetrConfig(
        num_labels=91,
        backbone_config=RfDetrDinov2Config(
            hidden_size=384,
            num_attention_heads=6,
            image_size=side,
            patch_size=patch,
            num_windows=2,
            out_features=["stage3", "stage6", "stage9", "stage12"],
        ),
        num_queries=len(queries) // GROUPS,
        group_detr=GROUPS,
        decoder_layers=len(layers),
        decoder_n_points=2,
        dropout=0.0,
    )
    joined = r"\.in_proj_(weight|bias)$"
    weights = split_projections(weights, joined=joined, parts=(r".q_proj.\1", r".k_proj.\1", r".v_proj.\1"))
    if any(key.startswith("segmentation_head.") for key in weights):
        weights = rename_keys(weights, (*RULES, *MASK_RULES))
        return load_strictly(RfDetrForInstanceSegmentation(config), weights), side, True
    return load_strictly(RfDetrForObjectDetection(config), rename_keys(weights, RULES)), side, False
