"""What D-FINE and DEIMv2 share: the backbone HGNetV2 (PaddlePaddle), and most of their keys."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import HGNetV2Config

from anonymizer.pipeline.detection.models.detr.checkpoints import Rules, rename_keys, split_projections

__all__ = ["convert_weights", "hgnet_config"]

#: channels of the features of each stage
CHANNELS = (64, 256, 512, 1024)
#: the heads of the decoder, which transformers names twice
HEADS = ("model.decoder.class_embed.", "model.decoder.bbox_embed.")

#: from the authors' names to those of transformers, for both networks
SHARED_RULES: Rules = (
    # backbone
    (r"^(backbone\..*)\.conv\.weight$", r"\1.convolution.weight"),
    (r"^(backbone\..*)\.bn\.", r"\1.normalization."),
    (r"^backbone\.stem\.", "backbone.model.embedder."),
    (r"^backbone\.stages\.", "backbone.model.encoder.stages."),
    # encoder: cv2 and cv3 of a block are a CSP layer each, and one more convolution
    (r"\.downsample_convs\.(\d+)\.0\.cv(\d)\.", r".downsample_convs.\1.conv\2."),
    (r"(_blocks?(?:\.\d+)?)\.cv1\.", r"\1.conv1."),
    (r"(_blocks?(?:\.\d+)?)\.cv2\.0\.", r"\1.csp_rep1."),
    (r"(_blocks?(?:\.\d+)?)\.cv3\.0\.", r"\1.csp_rep2."),
    # transformer layers
    (r"^encoder\.encoder\.", "encoder.aifi."),
    (r"^decoder\.decoder\.", "decoder."),
    (r"\.self_attn\.out_proj\.", ".self_attn.o_proj."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"^(encoder\..*)\.norm2\.", r"\1.final_layer_norm."),
    (r"^(decoder\..*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"\.linear1\.", ".mlp.layers.0."),
    (r"\.linear2\.", ".mlp.layers.1."),
    # heads
    (r"^decoder\.dec_score_head\.", "decoder.class_embed."),
    (r"^decoder\.dec_bbox_head\.", "decoder.bbox_embed."),
    (r"^decoder\.(enc_score_head|enc_bbox_head|denoising_class_embed)\.", r"\1."),
)


def hgnet_config(*, blocks: tuple[int, ...], outputs: tuple[int, ...]) -> HGNetV2Config:
    """Configure the backbone HGNetV2-B0, or its first stages.

    Args:
        blocks: how many blocks each stage has; three or four stages.
        outputs: the stages whose features are used, counted from 1.
    """
    stages = len(blocks)
    return HGNetV2Config(
        embedding_size=32,
        layer_type="basic",
        hidden_sizes=list(CHANNELS[:stages]),
        depths=[3] * stages,
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, *CHANNELS[: stages - 1]],
        stage_mid_channels=[16, 32, 64, 128][:stages],
        stage_out_channels=list(CHANNELS[:stages]),
        stage_num_blocks=list(blocks),
        stage_downsample=[False, True, True, True][:stages],
        stage_light_block=[False, False, True, True][:stages],
        stage_kernel_size=[3, 3, 5, 5][:stages],
        stage_numb_of_layers=[3] * stages,
        use_learnable_affine_block=True,
        out_indices=list(outputs),
    )


def convert_weights(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Convert the authors' weights of D-FINE or DEIMv2 to those of transformers.

    Args:
        weights: by key, as `read_checkpoint` returns them.
        rules: renames what the two networks do not share, after all else.
    """
    # the anchors of an input of 640 pixels, which are computed for every input here
    weights = {key: tensor for key, tensor in weights.items() if key not in ("decoder.anchors", "decoder.valid_mask")}
    for name in ("up", "reg_scale"):
        # two names of one parameter
        if f"decoder.decoder.{name}" in weights:
            weights.pop(f"decoder.{name}", None)
    joined = r"\.in_proj_(weight|bias)$"
    weights = split_projections(weights, joined=joined, parts=(r".q_proj.\1", r".k_proj.\1", r".v_proj.\1"))
    converted = rename_keys(weights, (*SHARED_RULES, *rules, ("^", "model.")))
    heads = {key: tensor for key, tensor in converted.items() if key.startswith(HEADS)}
    return converted | {key.removeprefix("model.decoder."): tensor for key, tensor in heads.items()}
