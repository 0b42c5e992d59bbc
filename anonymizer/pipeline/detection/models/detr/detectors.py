"""The detectors of persons and vehicles that are detection transformers: D-FINE, DEIMv2 and RF-DETR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_convert

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.models.base import BatchedDetector
from anonymizer.pipeline.detection.models.letterbox import Letterbox, Resize
from anonymizer.pipeline.detection.models.mask_rcnn import paste_mask
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, Mask, ObjectType
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects
from anonymizer.pipeline.runtime.choice import Runtime
from anonymizer.pipeline.runtime.loading import Network

__all__ = ["RFDETR", "DEIMv2", "DFine"]

#: Two boxes of one type that overlap more are one object. The networks separate objects without it. It removes the
#: second box that they give now and then.
NMS_IOU = 0.8
#: Images whose long side is up to this many times the short side are stretched to the square input, as in training.
#: Longer ones keep their shape, on black.
MOST_STRETCH = 2.0
#: mean and standard deviation of the colours of ImageNet, R, G, B, 0..1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class _Transformer(BatchedDetector):
    """What the three families share: a square input of one size, and one box and all classes for each query.

    A subclass sets the class attributes and loads `_network`, which returns logits (b, n, classes), boxes (b, n, 4)
    with centre and size as shares of the input, and, if it makes masks, logits of masks (b, n, h, w).

    Attributes:
        classes: by object type, the numbers of its classes.
    """

    object_types: tuple[ObjectType, ...] = (ObjectType.PERSON, ObjectType.VEHICLE)
    classes: dict[ObjectType, tuple[int, ...]]
    min_score = 0.05
    #: the finest features have a stride of 16 pixels
    least_size = 12.0
    _network: Network
    _side: int

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the size of the network's input, for images of any size."""
        return (self._side,)

    def _canvas_side(self, side: int) -> int:
        return self._side

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        if side > self._side:
            raise DetectorFailed(f"The detector {self.id} takes scales up to {self._side} pixels, not {side}.")
        resize, canvas_wh = self._plan(images[0], side)
        pixels = on_device([resize(image) for image in images], self._device).float().div_(255)
        logits, boxes, *masks = self._network(self._normalise(pixels))
        check_finite(f"detector {self.id}", logits, boxes, *masks)
        corners = box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor([*canvas_wh, *canvas_wh])
        return [
            self._select(logits[row].sigmoid(), corners[row], [mask[row] for mask in masks], resize, canvas_wh)
            for row in range(len(images))
        ]

    def _plan(self, image: Image, side: int) -> tuple[Resize, tuple[int, int]]:
        """How images of a shape become the input, and width and height of the input in pixels."""
        height, width = image.shape[:2]
        square = (self._side, self._side)
        if side == self._side and max(height, width) <= MOST_STRETCH * min(height, width):
            return Resize((width, height), square), square
        return Letterbox.of(image, side, pad=0, canvas_side=self._side), square

    def _normalise(self, pixels: Tensor) -> Tensor:
        return pixels

    def _select(
        self, chances: Tensor, corners: Tensor, masks: Sequence[Tensor], resize: Resize, canvas_wh: tuple[int, int]
    ) -> Detections:
        """Choose among the boxes of all queries of one image.

        Args:
            chances: (n, classes) 0..1.
            corners: (n, 4) x1, y1, x2, y2 in pixels of the input.
            masks: empty, or one tensor (n, h, w): logits over the whole input.
            resize: how the image was resized for the network.
            canvas_wh: width and height of the input in pixels.
        """
        scores = torch.stack([chances[:, list(numbers)].amax(-1) for numbers in self.classes.values()], -1)
        # each query finds one object: if all of them found one, there may be more
        if bool((scores.amax(-1) > self.min_score).all()):
            raise TooManyObjects(f"The detector {self.id} reached its limit of {len(scores)} objects in one view.")
        rows, columns = torch.where(scores > self.min_score)
        keep = batched_nms(corners[rows], scores[rows, columns], columns, NMS_IOU)
        rows, columns = rows[keep], columns[keep]
        placed = resize.restore_boxes(corners[rows])
        # a box that lies in the padding alone has no area in the image
        visible = (placed[:, 2:] > placed[:, :2]).all(1)
        rows, columns, placed = rows[visible], columns[visible], placed[visible].cpu()
        numbers = np.array([object_type.number for object_type in self.classes])
        return Detections(
            placed.numpy(),
            scores[rows, columns].cpu().numpy(),
            numbers[columns.cpu().numpy()],
            np.full(len(rows), self.id),
            masks=_cut_masks(masks[0][rows].cpu(), placed, resize, canvas_wh) if masks else (),
        )


def _cut_masks(logits: Tensor, boxes: Tensor, resize: Resize, canvas_wh: tuple[int, int]) -> tuple[Mask | None, ...]:
    """The masks of the objects of one image, each no larger than its box.

    Args:
        logits: (n, h, w) over the whole input; positive inside the object.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the image.
        resize: how the image was resized for the network.
        canvas_wh: width and height of the input in pixels.
    """
    width, height = resize.image_wh
    scale_x, scale_y = width / resize.scaled_wh[0], height / resize.scaled_wh[1]
    # what the logits cover, in pixels of the image: with the padding more than the image
    extent = torch.tensor([0.0, 0.0, canvas_wh[0] * scale_x, canvas_wh[1] * scale_y])
    return tuple(
        paste_mask(mask, box, (height, width), extent=extent, threshold=0.0)
        for mask, box in zip(logits, boxes, strict=True)
    )


class _Outputs(nn.Module):
    """A network of transformers that returns only what is used."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(pixels)
        return tuple(outputs[name] for name in self.names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back a warning of transformers: a conversion looks at every property, also at losses of trainings."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


class _SmallTransformer(_Transformer):
    """D-FINE and DEIMv2: 640 pixels, 80 classes."""

    tile_side = _side = 640
    warm_up_hw = (640, 640)
    classes = {ObjectType.PERSON: (0,), ObjectType.VEHICLE: (2, 3, 5, 7)}

    def _start(self, network: nn.Module, name: str) -> None:
        """Load the network on the runtime. Boxes are shares of the input: they need float32."""
        module = _Outputs(network, ("logits", "pred_boxes"))
        if self._runtime is Runtime.OPENVINO:
            from anonymizer.pipeline.runtime.openvino_network import OpenVinoNetwork

            example = torch.zeros(1, 3, self._side, self._side)
            with _quiet():
                self._network = OpenVinoNetwork.from_module(module, example, name=name, exact=True)
        else:
            self._network = module.to(self._device)


class DFine(_SmallTransformer):
    """D-FINE of size N, with the weights of its authors for COCO.

    Args:
        weights: `dfine_n_coco.pth`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist, or the runtime is not installed.
        ImportError: the library transformers is not installed.
        OSError, pickle.UnpicklingError, ValueError, RuntimeError: the file holds no weights of this network.
    """

    def __init__(
        self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "d-fine-n"
    ) -> None:
        from anonymizer.pipeline.detection.models.detr.dfine import load_dfine

        super().__init__(model_id, device, runtime=runtime)
        self._start(load_dfine(weights), "d-fine")


class DEIMv2(_SmallTransformer):
    """DEIMv2 of size N or Pico, with the weights of its authors for COCO.

    Args:
        weights: of the authors, `.pth` or `.safetensors`; they say which size it is.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch` or `openvino`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist, or the runtime is not installed.
        ImportError: the library transformers is not installed.
        OSError, pickle.UnpicklingError, ValueError, RuntimeError: the file holds no weights of these networks.
    """

    def __init__(
        self, weights: Path, *, device: str = "auto", runtime: str = "auto", model_id: str = "deimv2-n"
    ) -> None:
        from anonymizer.pipeline.detection.models.detr.deimv2 import load_deimv2

        super().__init__(model_id, device, runtime=runtime)
        self._start(load_deimv2(weights), "deimv2")


class RFDETR(_Transformer):
    """RF-DETR or RF-DETR-Seg of size M or L, with Roboflow's weights for COCO, in single precision on torch.

    The detections of RF-DETR-Seg have masks.

    Args:
        weights: of Roboflow, `.pth` or `.pt`; they say which size it is, and whether it makes masks.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: the device does not exist.
        ImportError: the library transformers is not installed.
        OSError, pickle.UnpicklingError, ValueError, RuntimeError: the file holds no weights of these networks.
    """

    #: COCO's own ids, 1..90: person; car, motorcycle, bus and truck
    classes = {ObjectType.PERSON: (1,), ObjectType.VEHICLE: (3, 4, 6, 8)}
    #: a vision transformer
    memory_weight = 2

    def __init__(self, weights: Path, *, device: str = "auto", model_id: str = "rf-detr-m") -> None:
        from anonymizer.pipeline.detection.models.detr.rfdetr import load_rfdetr

        super().__init__(model_id, device)
        network, self._side, makes_masks = load_rfdetr(weights)
        self.tile_side, self.warm_up_hw = self._side, (self._side, self._side)
        names = ("logits", "pred_boxes", "pred_masks") if makes_masks else ("logits", "pred_boxes")
        self._network = _Outputs(network, names).to(self._device)

    def _normalise(self, pixels: Tensor) -> Tensor:
        mean, deviation = (pixels.new_tensor(values).reshape(1, 3, 1, 1) for values in IMAGENET)
        return (pixels - mean) / deviation
