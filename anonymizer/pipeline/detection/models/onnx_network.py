"""ONNX files as torch modules, and what the detectors that run them share: letterboxes, grids and what comes back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx2torch import convert
from onnx2torch.node_converters.slice import OnnxSlice
from torch import Tensor, nn
from torchvision.ops import batched_nms

from anonymizer.pipeline.detection.batching import check_finite
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.devices import on_device

__all__ = ["Letterbox", "OnnxNetwork", "chosen", "decoded"]


class OnnxNetwork:
    """A network from an ONNX file, for batches of any length.

    Args:
        name: of the model, for messages.
        dtype: of weights and inputs; outputs are float32.

    Attributes:
        input_side: of the square that it was exported for; None where it takes any size.

    Raises:
        Exception: of onnx or onnx2torch, where the file is no such network.
    """

    def __init__(self, name: str, weights: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        model = onnx.load(weights)
        _free_batch(model.graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = convert(model).eval()
        for path, each in list(module.named_modules()):
            if isinstance(each, OnnxSlice):
                module.set_submodule(path, _Slice())
        self._name, self._device, self._dtype = name, device, dtype
        self._outputs = [each.name for each in model.graph.output]
        self._module = module.to(device, dtype)
        # these alone: constants of five dimensions have no such format
        for each in module.modules():
            if isinstance(each, nn.Conv2d):
                each.to(memory_format=torch.channels_last)
        self.input_side: int | None = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value or None

    def __call__(self, inputs: Sequence[Image], *, bgr: bool, unit: bool = False) -> dict[str, Tensor]:
        """Run it.

        Args:
            inputs: n pictures of one size, (h, w, 3) uint8 RGB.
            bgr: it takes blue first.
            unit: it takes 0..1, not 0..255.

        Returns:
            By name, the outputs for n pictures, float32.

        Raises:
            DetectorFailed: an output is not finite.
        """
        tensor = on_device(inputs, self._device)
        tensor = (tensor.flip(1) if bgr else tensor).to(self._dtype)
        tensor = (tensor.div_(255) if unit else tensor).contiguous(memory_format=torch.channels_last)
        results = self._module(tensor)
        tensors = [results] if isinstance(results, Tensor) else list(results)
        outputs = {name: each.float() for name, each in zip(self._outputs, tensors, strict=True)}
        check_finite(self._name, *outputs.values())
        return outputs


class _Slice(nn.Module):
    """ONNX's Slice; the one of onnx2torch indexes with a list, which torch warns will soon mean another thing."""

    def forward(
        self, tensor: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        index = [slice(None)] * tensor.ndim
        where = range(len(starts)) if axes is None else axes.tolist()
        by = [1] * len(starts) if steps is None else steps.tolist()
        for axis, start, end, step in zip(where, starts.tolist(), ends.tolist(), by, strict=True):
            index[axis] = slice(start, end, step)
        return tensor[tuple(index)]


def _free_batch(graph: onnx.GraphProto) -> None:
    """Let reshapes keep the number of pictures, where the export fixed it to one.

    With [1, 85, -1] a second picture ends up in the rows of the first, with [1, 2, 32, 40, 40] it is an error; a 0
    takes the length from the input. Reshapes whose shape the graph computes are left as they are.
    """
    shapes = {shape for node in graph.node if node.op_type == "Reshape" for shape in node.input[1:2]}
    tensors = [each for each in graph.initializer if each.name in shapes]
    tensors += [node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.output[0] in shapes]
    for tensor in tensors:
        shape = numpy_helper.to_array(tensor).copy()
        if len(shape) > 2 and shape[0] == 1:
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Pictures scaled to the top left of a canvas, and boxes on the canvas brought back.

    Attributes:
        image_wh: size of the pictures.
        scaled_wh: what they are scaled to.
        canvas_wh: size of the canvas.
        pad: value of what the picture does not cover.
    """

    image_wh: tuple[int, int]
    scaled_wh: tuple[int, int]
    canvas_wh: tuple[int, int]
    pad: int

    @classmethod
    def of(cls, image: Image, side: int, *, pad: int, canvas_side: int | None = None) -> Letterbox:
        """The long side scaled to `side` pixels; the canvas a square, or as little as multiples of 32 allow."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
        if canvas_side is None:
            return cls((width, height), scaled, (_up(scaled[0]), _up(scaled[1])), pad)
        return cls((width, height), scaled, (canvas_side, canvas_side), pad)

    def __call__(self, image: Image) -> Image:
        """One of the pictures on its canvas, (h, w, 3) uint8."""
        smaller = self.scaled_wh[0] < self.image_wh[0]
        resized = cv2.resize(image, self.scaled_wh, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        canvas = np.full((self.canvas_wh[1], self.canvas_wh[0], 3), self.pad, np.uint8)
        canvas[: self.scaled_wh[1], : self.scaled_wh[0]] = resized
        return canvas

    def back(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4), x1, y1, x2, y2 on the canvas, in pixels of the picture and clipped to it."""
        size = boxes.new_tensor([*self.image_wh, *self.image_wh])
        # a side of a pixel or less is not scaled as the other one is
        return (boxes * size / boxes.new_tensor([*self.scaled_wh, *self.scaled_wh])).clamp(min=0).minimum(size)


def _up(length: int) -> int:
    return math.ceil(length / 32) * 32


def decoded(raw: Tensor, canvas_wh: tuple[int, int], strides: Sequence[int]) -> Tensor:
    """Boxes from what anchor-free heads say: centre from the cell in strides, logarithm of the size in strides.

    Args:
        raw: (b, n, 4), the cells of each stride row by row, one stride after the other.

    Returns:
        (b, n, 4) x1, y1, x2, y2 on the canvas.
    """
    grids = []
    for stride in strides:
        rows, columns = (torch.arange(length // stride, device=raw.device) for length in canvas_wh[::-1])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grids.append(torch.stack([x, y, torch.full_like(x, stride)], -1).reshape(-1, 3))
    cells = torch.cat(grids).to(raw.dtype)
    centres = (raw[..., :2] + cells[:, :2]) * cells[:, 2:]
    halves = raw[..., 2:].exp() * cells[:, 2:] / 2
    return torch.cat([centres - halves, centres + halves], -1)


def chosen(
    model_id: str, boxes: Tensor, scores: Tensor, types: Tensor, *, letterbox: Letterbox, nms_iou: float
) -> Detections:
    """What non-maximum suppression leaves of one picture's boxes, type by type; none is dropped for being too many.

    Args:
        boxes: (n, 4) float32 on the canvas.
        scores: (n,) float32.
        types: (n,) int64, index into `OBJECT_TYPES`.
    """
    keep = batched_nms(boxes, scores, types, nms_iou)
    boxes, scores, types = letterbox.back(boxes[keep]), scores[keep], types[keep]
    # those that lie in the padding alone
    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, types = (each[seen].cpu() for each in (boxes, scores, types))
    return Detections(boxes.numpy(), scores.numpy(), types.numpy(), np.full(len(boxes), model_id))
