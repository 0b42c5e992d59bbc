"""Make pseudo-labels: let existing detectors label the object types that a set is not labelled for.

NanoDet-Plus detects persons and vehicles, YuNet faces at twice the size of the image, and own-2 and y5fu license
plates. An image gets pseudo-labels only for types that are not completely labelled in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detection.merging import View, merge_views
from anonymizer.pipeline.detection.models.nanodet.detector import NanoDet
from anonymizer.pipeline.detection.protocol import Detector, Image
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.training.coco_start import load_coco

__all__ = ["Teacher", "pseudo_labels"]

#: detections with a lower score are dropped
FAINTEST = 0.12
#: the longest side in pixels to which images are enlarged for small faces
LARGEST_PX = 960


@dataclass(frozen=True)
class Teacher:
    """A detector that labels one or two object types.

    Attributes:
        detector: the detector.
        object_types: the types that it labels.
        scales: long sides in pixels of the images that it sees; 0 stands for twice the size of the image.
        calibrations: from its scores to chances; default: scores stay as they are.
    """

    detector: Detector
    object_types: tuple[ObjectType, ...]
    scales: tuple[int, ...]
    calibrations: Calibrations = field(default_factory=Calibrations)

    def views(self, pixels: Image, types: Sequence[ObjectType]) -> list[tuple[View, Detections]]:
        """Detect objects of some types in all views of an image, (h, w, 3) uint8 RGB."""
        parts = []
        height, width = pixels.shape[:2]
        for scale in self.scales:
            side = scale or min(2 * max(height, width), LARGEST_PX)
            (found,) = self.detector.detect([pixels], side)
            view = View(0, 0, width, height, side)
            parts.append((view, self.calibrations.apply(found.of_type(*types))))
        return parts


def pseudo_labels(image: LabelledImage, teachers: Sequence[Teacher]) -> list[list[float]]:
    """Detect the objects of an image that are not labelled.

    Args:
        image: the labelled image.
        teachers: the detectors.

    Returns:
        A row for each detection: index into `OBJECT_TYPES`, x1, y1, x2, y2 in pixels, and the score.

    Raises:
        ValueError: the image cannot be read.
    """
    pixels, parts = image.pixels(), []
    for teacher in teachers:
        types = [object_type for object_type in teacher.object_types if object_type not in image.labelled]
        if types:
            parts += teacher.views(pixels, types)
    found = merge_views(parts, (pixels.shape[0], pixels.shape[1]))
    return [
        [int(kind), *box.round(2).tolist(), round(float(score), 4)]
        for box, score, kind in zip(found.boxes, found.scores, found.types, strict=True)
        if score > FAINTEST
    ]


def _teachers(store: ModelStore, nanodet: Path) -> list[Teacher]:
    """The teachers, which the store has to hold, and NanoDet from its own file."""
    face, plate = (ObjectType.FACE,), (ObjectType.LICENSE_PLATE,)
    coco = NanoDet(load_coco(nanodet), device=store.device)

    def of_store(model_id: str, types: tuple[ObjectType, ...], scales: tuple[int, ...]) -> Teacher:
        return Teacher(store.detector(model_id), types, scales, store.calibrations(model_id))

    return [
        Teacher(coco, coco.object_types, (416, 640)),
        of_store("yunet-n", face, (0,)),
        of_store("own-2", plate, (640,)),
        of_store("y5fu-640", plate, (640,)),
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m anonymizer.training.teachers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--set",
        type=Path,
        default=Path("../shared/data/train.json"),
        help="file of a labelled set (default: %(default)s)",
    )
    parser.add_argument(
        "--models", type=Path, default=MODELS_FOLDER, help="folder of the model registry (default: %(default)s)"
    )
    parser.add_argument(
        "--nanodet", type=Path, default=MODELS_FOLDER / "nanodet-plus-m-1.5x_416.onnx",
        help="weights of NanoDet-Plus-m-1.5x (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="device for torch, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/teachers.json"), help="JSON file to write (default: %(default)s)"
    )
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    teachers = _teachers(ModelStore(given.models, device=given.device), given.nanodet)
    images = LabelledSet.read(given.set).images
    rows = {str(image.id): pseudo_labels(image, teachers) for image in tqdm(images, desc="images")}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
