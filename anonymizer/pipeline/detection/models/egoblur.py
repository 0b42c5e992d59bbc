"""EgoBlur (Raina et al., arXiv 2308.13093; github.com/facebookresearch/EgoBlur): faces or plates, TorchScript files.

The files of the first generation are called with one picture, (3, h, w) uint8 with blue first, and answer with boxes,
labels, scores and sizes (`gen1/script/demo_ego_blur_gen1.py`; five outputs, the labels second and the scores fourth,
are known too). Those of the second are scripted models of Detectron2 whose `inference` takes pictures scaled to a long
side of 1200 pixels and answers with `Instances` (`gen2/script/predictor.py`). Both scale the values themselves, and
both give boxes in pixels of what they were given.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from anonymizer.pipeline.detection.batching import check_finite, in_batches
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.devices import on_device, resolve_device
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects

__all__ = ["EgoBlur"]

#: numbers of the classes in files of the second generation
CLASSES = {ObjectType.FACE: 0, ObjectType.LICENSE_PLATE: 1}
#: The first generation was called with pictures in their own size; the second with this one.
GEN1_LARGEST_SIDE, GEN2_SIDE = 1920, 1200
GEN1_NMS_IOU, GEN2_NMS_IOU = 0.3, 0.5
#: Detectron2 keeps so many objects of a picture (TEST.DETECTIONS_PER_IMAGE) unless told otherwise; what the files were
#: made with is not published.
USUAL_MOST = 100
#: where a file lets us say: objects, and proposals for them
MOST_OBJECTS, MOST_PROPOSALS = 2000, 4000
#: a picture takes the memory of so many of its input's pixels in a one-stage network
WEIGHT = 5
#: Added to files of the second generation, as `Instances` cannot leave TorchScript without Detectron2. The fields with
#: an underscore are what their class keeps; a property does not survive in the file.
GEN2_METHOD = """
def found(self, images: List[Tensor]) -> List[Tuple[Tensor, Tensor, Tensor]]:
    inputs: List[Dict[str, Tensor]] = []
    for image in images:
        inputs.append({"image": image})
    found: List[Tuple[Tensor, Tensor, Tensor]] = []
    for each in self.inference(inputs, None, False):
        boxes, scores, classes = each._pred_boxes, each._scores, each._pred_classes
        assert boxes is not None and scores is not None
        if classes is None:
            classes = torch.full_like(scores, -1, dtype=torch.int64)
        found.append((boxes.tensor, scores, classes))
    return found
"""


class EgoBlur:
    """Runs one of Meta's files, in single precision; which generation it is of is read from it.

    Args:
        object_type: face or license plate, what the file was made for.

    Raises:
        DetectorFailed: EgoBlur has no files for the object type.
        RuntimeError: the file is no TorchScript, or has no such inputs and outputs.
    """

    min_score = 0.1
    least_size = 8.0

    def __init__(self, weights: Path, *, object_type: ObjectType, device: str = "auto", model_id: str) -> None:
        if object_type not in CLASSES:
            raise DetectorFailed(f"EgoBlur finds no {object_type.words}.")
        self.id = model_id
        self.object_types: tuple[ObjectType, ...] = (object_type,)
        self._device = resolve_device(device)
        self.device = str(self._device)
        with warnings.catch_warnings():
            # that TorchScript is on its way out
            warnings.simplefilter("ignore")
            self._network: Any = torch.jit.load(str(weights), map_location="cpu")  # type: ignore[no-untyped-call]
            self._network.eval().to(self._device)
            self._second = hasattr(self._network, "inference")
            self._most = _raised_limit(self._network)
            if self._second:
                self._network.define(GEN2_METHOD)

    @property
    def tile_side(self) -> int:
        return GEN2_SIDE if self._second else 1280

    def sides(self, long_side: int) -> tuple[int, ...]:
        """The second generation's one size; the picture's own for the first, up to a limit."""
        return (GEN2_SIDE,) if self._second else (min(long_side, GEN1_LARGEST_SIDE),)

    def video_side(self, long_side: int) -> int:
        return self.sides(long_side)[0]

    def warm_up(self) -> None:
        self.detect([np.zeros((240, 320, 3), np.uint8)], self.sides(320)[0])

    def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
        run, pixels = lambda batch: self._run(batch, side), WEIGHT * side * side
        return in_batches(self.id, run, images, pixels=pixels, device=self.device)

    @torch.no_grad()
    def _run(self, images: Sequence[Image], side: int) -> list[Detections]:
        height, width = images[0].shape[:2]
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inputs = [cv2.resize(each, size, interpolation=how) for each in images]
        tensor = on_device(inputs, self._device).flip(1).contiguous()
        results = self._network.found(list(tensor)) if self._second else [self._first(each) for each in tensor]
        stretch = torch.tensor([width / size[0], height / size[1]] * 2)
        return [
            self._objects(boxes.cpu(), scores.cpu(), classes.cpu(), stretch, (width, height))
            for boxes, scores, classes in results
        ]

    def _first(self, tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and classes of one picture from a file of the first generation, which knows one class only."""
        outputs = self._network(tensor)
        if len(outputs) not in (4, 5):
            raise DetectorFailed(f"The detector {self.id} gave {len(outputs)} outputs, not 4 or 5.")
        scores = outputs[2] if len(outputs) == 4 else outputs[3]
        return outputs[0], scores, torch.full_like(scores, -1, dtype=torch.int64)

    def _objects(
        self, boxes: Tensor, scores: Tensor, classes: Tensor, stretch: Tensor, size_wh: tuple[int, int]
    ) -> Detections:
        """
        Args:
            boxes: (n, 4) in pixels of the input.
            scores: (n,).
            classes: (n,), -1 where the file does not say.
            stretch: (4,) from the input to the picture.
        """
        check_finite(self.id, boxes, scores)
        # the best of all are kept: if the last of them is of no use, nothing of use was dropped
        if len(scores) == self._most and bool(scores.min() > self.min_score):
            raise TooManyObjects(f"The detector {self.id} sees {self._most} objects in one view, and maybe more.")
        (object_type,) = self.object_types
        mine = (scores > self.min_score) & ((classes == CLASSES[object_type]) | (classes < 0))
        boxes, scores = boxes[mine].float(), scores[mine].float()
        keep = nms(boxes, scores, GEN2_NMS_IOU if self._second else GEN1_NMS_IOU)
        placed = (boxes[keep] * stretch).clamp(min=0).minimum(torch.tensor([*size_wh, *size_wh], dtype=torch.float32))
        seen = (placed[:, 2:] > placed[:, :2]).all(1)
        placed, scores = placed[seen], scores[keep][seen]
        return Detections(
            placed.numpy(),
            scores.numpy(),
            np.full(len(placed), object_type.number),
            np.full(len(placed), self.id),
        )


def _raised_limit(network: torch.jit.ScriptModule) -> int:
    """Lift Detectron2's limits where a file keeps them in attributes; returns how many objects it can give."""
    most = USUAL_MOST
    for module in network.modules():
        for name in ("pre_nms_topk", "post_nms_topk"):
            if isinstance(getattr(module, name, None), dict):
                setattr(module, name, {True: MOST_PROPOSALS, False: MOST_PROPOSALS})
        if isinstance(getattr(module, "test_topk_per_image", None), int):
            module.test_topk_per_image = MOST_OBJECTS  # type: ignore[assignment]
            most = MOST_OBJECTS
    return most
