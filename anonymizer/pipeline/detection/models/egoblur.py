"""EgoBlur (Raina et al., arXiv 2308.13093; github.com/facebookresearch/EgoBlur): faces or plates, TorchScript files.

Files of the first generation take one image, (3, h, w) uint8 with blue first (`gen1/script/demo_ego_blur_gen1.py`).
They return boxes, labels, scores and sizes; some return five outputs, with the labels second and the scores fourth.

Files of the second generation are scripted models of Detectron2. Their `inference` takes images scaled to a long side
of 1200 pixels and returns `Instances` (`gen2/script/predictor.py`).

Both scale the pixel values themselves, and both return boxes in pixels of their input.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from anonymizer.pipeline.detection.inference_errors import check_finite
from anonymizer.pipeline.detection.models.base import BatchedDetector
from anonymizer.pipeline.detection.models.letterbox import Resize
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import on_device
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects

__all__ = ["EgoBlur"]

#: numbers of the classes in files of the second generation
CLASSES = {ObjectType.FACE: 0, ObjectType.LICENSE_PLATE: 1}
#: Meta's scripts call the first generation with images of any size (here: up to this long side), the second with 1200.
GEN1_LARGEST_SIDE, GEN2_SIDE = 1920, 1200
GEN1_NMS_IOU, GEN2_NMS_IOU = 0.3, 0.5
#: Detectron2's default limit of objects per image (TEST.DETECTIONS_PER_IMAGE). Which limit the files were made with is
#: not published.
DEFAULT_MAX_OBJECTS = 100
#: the limits of objects and of proposals, if a file allows to change them
MAX_OBJECTS, MAX_PROPOSALS = 2000, 4000
#: A method that is added to files of the second generation: `Instances` cannot leave TorchScript without Detectron2. It
#: reads the fields with an underscore, as properties are not kept in the file.
GEN2_METHOD = """
def detect(self, images: List[Tensor]) -> List[Tuple[Tensor, Tensor, Tensor]]:
    inputs: List[Dict[str, Tensor]] = []
    for image in images:
        inputs.append({"image": image})
    detections: List[Tuple[Tensor, Tensor, Tensor]] = []
    for instances in self.inference(inputs, None, False):
        boxes, scores, classes = instances._pred_boxes, instances._scores, instances._pred_classes
        assert boxes is not None and scores is not None
        if classes is None:
            classes = torch.full_like(scores, -1, dtype=torch.int64)
        detections.append((boxes.tensor, scores, classes))
    return detections
"""


class EgoBlur(BatchedDetector):
    """Runs one of Meta's files, in single precision. Which generation it belongs to is read from the file.

    Args:
        weights: the TorchScript file.
        object_type: face or license plate, whichever the file was made for.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        model_id: what `Detections.models` holds.

    Raises:
        DetectorFailed: EgoBlur has no files for the object type, or the device does not exist.
        RuntimeError: the file is no TorchScript, or has other inputs and outputs.
    """

    min_score = 0.1
    least_size = 8.0
    warm_up_hw = (240, 320)
    #: a two-stage network
    memory_weight = 5

    def __init__(self, weights: Path, *, object_type: ObjectType, device: str = "auto", model_id: str) -> None:
        if object_type not in CLASSES:
            raise DetectorFailed(f"EgoBlur does not detect the type {object_type.words}.")
        super().__init__(model_id, device)
        self.object_types = (object_type,)
        with warnings.catch_warnings():
            # torch warns that TorchScript will be removed
            warnings.simplefilter("ignore")
            self._network: Any = torch.jit.load(str(weights), map_location="cpu")  # type: ignore[no-untyped-call]
            self._network.eval().to(self._device)
            self._is_second_generation = hasattr(self._network, "inference")
            self._max_objects = _raise_limits(self._network)
            if self._is_second_generation:
                self._network.define(GEN2_METHOD)
        self.tile_side = GEN2_SIDE if self._is_second_generation else 1280

    def scales(self, long_side: int) -> tuple[int, ...]:
        """As `Detector.scales` says: the second generation's one size; for the first, the own size up to a limit."""
        return (GEN2_SIDE,) if self._is_second_generation else (min(long_side, GEN1_LARGEST_SIDE),)

    @torch.no_grad()
    def _detect_batch(self, images: Sequence[Image], side: int) -> list[Detections]:
        resize = Resize.to_long_side(images[0], side)
        tensor = on_device([resize(image) for image in images], self._device).flip(1).contiguous()
        if self._is_second_generation:
            results = self._network.detect(list(tensor))
        else:
            results = [self._detect_first_generation(image) for image in tensor]
        return [self._select(boxes.cpu(), scores.cpu(), classes.cpu(), resize) for boxes, scores, classes in results]

    def _detect_first_generation(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and classes of one image. Such files know one class only: the classes are -1."""
        outputs = self._network(image)
        if len(outputs) not in (4, 5):
            raise DetectorFailed(f"The detector {self.id} gave {len(outputs)} outputs, not 4 or 5.")
        scores = outputs[2] if len(outputs) == 4 else outputs[3]
        return outputs[0], scores, torch.full_like(scores, -1, dtype=torch.int64)

    def _select(self, boxes: Tensor, scores: Tensor, classes: Tensor, resize: Resize) -> Detections:
        """Choose among all boxes of one image.

        Args:
            boxes: (n, 4) in pixels of the network's input.
            scores: (n,).
            classes: (n,), -1 if the file does not say.
            resize: how the image was resized for the network.
        """
        check_finite(f"detector {self.id}", boxes, scores)
        # The network keeps the best boxes. If the last of them is too faint to be used, no useful one was dropped.
        if len(scores) == self._max_objects and bool(scores.min() > self.min_score):
            raise TooManyObjects(
                f"The detector {self.id} reached its limit of {self._max_objects} objects in one view."
            )
        (object_type,) = self.object_types
        wanted = (scores > self.min_score) & ((classes == CLASSES[object_type]) | (classes < 0))
        boxes, scores = boxes[wanted].float(), scores[wanted].float()
        keep = nms(boxes, scores, GEN2_NMS_IOU if self._is_second_generation else GEN1_NMS_IOU)
        boxes, scores = resize.restore_boxes(boxes[keep]), scores[keep]
        visible = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores = boxes[visible], scores[visible]
        return Detections(
            boxes.numpy(), scores.numpy(), np.full(len(boxes), object_type.number), np.full(len(boxes), self.id)
        )


def _raise_limits(network: torch.jit.ScriptModule) -> int:
    """Raise Detectron2's limits, if the file keeps them in attributes; returns the limit of objects per image."""
    max_objects = DEFAULT_MAX_OBJECTS
    for module in network.modules():
        for name in ("pre_nms_topk", "post_nms_topk"):
            if isinstance(getattr(module, name, None), dict):
                setattr(module, name, {True: MAX_PROPOSALS, False: MAX_PROPOSALS})
        if isinstance(getattr(module, "test_topk_per_image", None), int):
            module.test_topk_per_image = MAX_OBJECTS  # type: ignore[assignment]
            max_objects = MAX_OBJECTS
    return max_objects
