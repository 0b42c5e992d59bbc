"""Segment Anything (SAM, Kirillov et al., arXiv 2304.02643), prompted with boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling import Sam as SamNetwork
from torch import Tensor, nn

from anonymizer.pipeline.detection.inference_errors import check_finite, translate_errors
from anonymizer.pipeline.detections import OBJECT_TYPES, Mask, ObjectType
from anonymizer.pipeline.devices import resolve_device
from anonymizer.pipeline.segmentation.mask_rules import apply_mask_rules

__all__ = ["Sam", "build_network"]

#: boxes that are decoded together: their masks of 1024 x 1024 floats take 130 MB
_CHUNK = 32
#: An object whose shorter side is below this in the resized image, in pixels, is segmented in a closer view.
LEAST_SIDE = 20
#: how far a mask may reach beyond each side of its box, as a share of the box
_BEYOND = 0.1
_NAMES = {768: "sam-vit-b", 1024: "sam-vit-l", 1280: "sam-vit-h"}
_NOT_SAM = "{} is no checkpoint of Segment Anything"

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class Sam:
    """A segmenter that runs a Segment Anything checkpoint of any size.

    The image encoder runs once for each view, and the mask decoder for each box of the view. One view is the whole
    image, reduced to 1024 pixels. Objects that would be tiny in it are grouped into windows of the image's own pixels.

    Args:
        path: the checkpoint.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        model_id: what `Mask.source` holds; default: `sam-vit-b`, `-l` or `-h`, by the width of the encoder.

    Raises:
        DetectorFailed: the device does not exist.
        OSError, ValueError, RuntimeError: the file is not such a checkpoint.
    """

    def __init__(self, path: Path, *, device: str = "auto", model_id: str | None = None) -> None:
        self._device = resolve_device(device)
        self.device = str(self._device)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, Mapping):
            raise ValueError(_NOT_SAM.format(path.name))
        try:
            network = build_network(weights)
            network.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise ValueError(_NOT_SAM.format(path.name)) from error
        width = len(weights["image_encoder.patch_embed.proj.bias"])
        self.id = model_id or _NAMES.get(width, f"sam-{width}")
        self._side: int = network.image_encoder.img_size
        self._network = network.eval().to(self._device)

    def warm_up(self) -> None:
        """Run once on a blank image, so that the first image does not wait."""
        side = self._side
        self.segment(
            np.zeros((side, side, 3), np.uint8), np.array([[0, 0, side, side]], np.float32), np.zeros(1, np.uint8)
        )

    def segment(self, image: Image, boxes: Boxes, types: NDArray[np.uint8]) -> list[Mask | None]:
        """Make a mask for each object, whatever its type.

        Args:
            image: (h, w, 3) uint8 RGB.
            boxes: (n, 4) float32 x1, y1, x2, y2 in pixels of the image. Parts outside the image are ignored.
            types: (n,) uint8, index into `OBJECT_TYPES`.

        Returns:
            n masks. An entry is None if the object keeps its box: its box is too small, or no usable mask was found.

        Raises:
            DetectorFailed: the network failed, or returned values that are not finite.
            OutOfMemory: the GPU has too little free memory.
        """
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        masks: list[Mask | None] = [None] * len(boxes)
        for (x, y, view), rows in _plan_views(image, boxes, self._side):
            offset = np.array([x, y, x, y], np.float32)
            for row, mask in zip(rows, self._segment_view(view, boxes[rows] - offset, types[rows]), strict=True):
                masks[row] = mask and Mask(mask.x + x, mask.y + y, mask.pixels, self.id)
        return masks

    def _segment_view(self, view: Image, boxes: Boxes, types: NDArray[np.uint8]) -> list[Mask | None]:
        half = torch.autocast("cuda", torch.float16) if self._device.type == "cuda" else nullcontext()
        with translate_errors(f"segmenter {self.id}"), torch.inference_mode(), half:
            return self._predict(view, boxes, types)

    def _predict(self, view: Image, boxes: Boxes, types: NDArray[np.uint8]) -> list[Mask | None]:
        scale = min(self._side / max(view.shape[:2]), 1.0)
        small = view
        if scale < 1:
            size = (max(round(view.shape[1] * scale), 1), max(round(view.shape[0] * scale), 1))
            small = np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)
        predictor = SamPredictor(self._network)
        predictor.set_image(small)
        ratio = np.array([small.shape[1] / view.shape[1], small.shape[0] / view.shape[0]] * 2, np.float32)
        masks: list[Mask | None] = []
        for start in range(0, len(boxes), _CHUNK):
            chunk = boxes[start : start + _CHUNK]
            prompts = predictor.transform.apply_boxes(chunk * ratio, small.shape[:2])
            logits, _, _ = predictor.predict_torch(
                None,
                None,
                torch.as_tensor(prompts, dtype=torch.float, device=self._device),
                multimask_output=False,
                return_logits=True,
            )
            check_finite(f"segmenter {self.id}", logits)
            of_boxes = logits[:, 0].float().cpu().numpy()
            masks += [
                self._mask(of_box, box, OBJECT_TYPES[int(number)], ratio, view.shape[:2])
                for of_box, box, number in zip(of_boxes, chunk, types[start : start + _CHUNK], strict=True)
            ]
        return masks

    def _mask(
        self,
        logits: NDArray[np.float32],
        box: NDArray[np.float32],
        object_type: ObjectType,
        ratio: NDArray[np.float32],
        size_hw: tuple[int, ...],
    ) -> Mask | None:
        """Resize the logits of the network's input to pixels of the view, in and closely around the box."""
        beyond = _BEYOND * (box[2:] - box[:2])
        x1, y1 = (max(math.floor(side), 0) for side in box[:2] - beyond)
        x2, y2 = (min(math.ceil(side), int(most)) for side, most in zip(box[2:] + beyond, size_hw[::-1], strict=True))
        if min(box[2:] - box[:2]) < 1 or x1 >= x2 or y1 >= y2:
            return None
        back = np.array([
            [ratio[0], 0, (x1 + 0.5) * ratio[0] - 0.5],
            [0, ratio[1], (y1 + 0.5) * ratio[1] - 0.5],
        ])  # fmt: skip
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        wide = cv2.warpAffine(logits, back, (x2 - x1, y2 - y1), flags=how, borderMode=cv2.BORDER_REPLICATE)
        return apply_mask_rules(wide > self._network.mask_threshold, x1, y1, box, size_hw, self.id, object_type)


def _plan_views(image: Image, boxes: Boxes, side: int) -> Iterator[tuple[tuple[int, int, Image], list[int]]]:
    """Left, top and pixels of each view, and the rows of the boxes that are segmented in it."""
    height, width = image.shape[:2]
    scale = min(side / max(height, width), 1.0)
    shorter = (boxes[:, 2:] - boxes[:, :2]).min(1) if len(boxes) else np.empty(0)
    tiny = (shorter * scale < LEAST_SIDE) & (scale < 1) & ((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) <= side)
    large = np.flatnonzero(~tiny)
    if len(large):
        yield (0, 0, image), large.tolist()
    left = np.flatnonzero(tiny).tolist()
    while left:
        x1, y1, x2, y2 = boxes[left[0]]
        x = int(np.clip((x1 + x2 - side) / 2, 0, max(width - side, 0)))
        y = int(np.clip((y1 + y2 - side) / 2, 0, max(height - side, 0)))
        inside = [row for row in left if _lies_in(boxes[row], x, y, side)] or left[:1]
        yield (x, y, image[y : y + side, x : x + side]), inside
        left = [row for row in left if row not in set(inside)]


def _lies_in(box: NDArray[np.float32], x: int, y: int, side: int) -> bool:
    return bool(box[0] >= x and box[1] >= y and box[2] <= x + side and box[3] <= y + side)


def build_network(weights: Mapping[str, Tensor]) -> Any:
    """Build the network for a checkpoint, without loading the weights. All sizes follow from the shapes of the weights.

    Args:
        weights: of the checkpoint, by name.

    Returns:
        A `segment_anything.modeling.Sam`.

    Raises:
        KeyError: a weight that every such checkpoint has is missing.
    """
    patch = weights["image_encoder.patch_embed.proj.weight"]
    width, patch_size = patch.shape[0], patch.shape[-1]
    grid = weights["image_encoder.pos_embed"].shape[1]
    blocks = _count(weights, "image_encoder.blocks")
    # n cells in a row have 2 n - 1 relative positions
    spans = [(len(weights[f"image_encoder.blocks.{n}.attn.rel_pos_h"]) + 1) // 2 for n in range(blocks)]
    head = weights["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    channels = weights["image_encoder.neck.0.weight"].shape[0]
    quality = "mask_decoder.iou_prediction_head.layers"
    return SamNetwork(
        image_encoder=ImageEncoderViT(
            depth=blocks,
            embed_dim=width,
            img_size=grid * patch_size,
            mlp_ratio=weights["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=width // head,
            patch_size=patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=tuple(n for n, span in enumerate(spans) if span == grid),
            window_size=min(spans),
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch_size,) * 2,
            mask_in_chans=weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=len(weights["mask_decoder.mask_tokens.weight"]) - 1,
            transformer=TwoWayTransformer(
                depth=_count(weights, "mask_decoder.transformer.layers"),
                embedding_dim=channels,
                mlp_dim=weights["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
                # the one size that does not follow from a shape; it is 8 in all published checkpoints
                num_heads=8,
            ),
            transformer_dim=channels,
            iou_head_depth=_count(weights, quality),
            iou_head_hidden_dim=weights[f"{quality}.0.weight"].shape[0],
        ),
    )


def _count(names: Mapping[str, object] | Sequence[str], prefix: str) -> int:
    """Count the numbered parts below a prefix."""
    depth = prefix.count(".") + 1
    return len({name.split(".")[depth] for name in names if name.startswith(prefix + ".")})
