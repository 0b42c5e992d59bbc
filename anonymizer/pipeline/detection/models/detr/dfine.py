"""D-FINE (Peng et al., arXiv 2410.13842): the network of size N, with its authors' weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import DFineConfig, DFineForObjectDetection

from anonymizer.pipeline.detection.models.detr.checkpoints import Rules, load_strictly, read_checkpoint
from anonymizer.pipeline.detection.models.detr.hgnet import convert_weights, hgnet_config

__all__ = ["load_dfine"]

RULES: Rules = (
    (r"^encoder\.input_proj\.(\d+)\.conv\.", r"encoder_input_proj.\1.0."),
    (r"^encoder\.input_proj\.(\d+)\.norm\.", r"encoder_input_proj.\1.1."),
    (r"(_blocks\.\d+)\.cv2\.1\.", r"\1.conv2."),
    (r"(_blocks\.\d+)\.cv3\.1\.", r"\1.conv3."),
    (r"(_blocks\.\d+)\.cv4\.", r"\1.conv4."),
    (r"^decoder\.enc_output\.proj\.", "enc_output.0."),
    (r"^decoder\.enc_output\.norm\.", "enc_output.1."),
)


def load_dfine(file: Path) -> nn.Module:
    """Load D-FINE-N.

    Args:
        file: `dfine_n_coco.pth` of the authors.

    Raises:
        OSError, pickle.UnpicklingError, ValueError: the file holds no weights.
        RuntimeError: it holds those of another network.
    """
    config = DFineConfig(
        num_labels=80,
        backbone_config=hgnet_config(blocks=(1, 1, 2, 1), outputs=(3, 4)),
        encoder_in_channels=[512, 1024],
        encoder_hidden_dim=128,
        encoder_ffn_dim=512,
        encode_proj_layers=[1],
        feat_strides=[16, 32],
        hidden_expansion=0.34,
        depth_mult=0.5,
        d_model=128,
        decoder_in_channels=[128, 128],
        decoder_ffn_dim=512,
        decoder_n_points=[6, 6],
        decoder_layers=3,
        num_feature_levels=2,
    )
    return load_strictly(DFineForObjectDetection(config), convert_weights(read_checkpoint(file), RULES))
