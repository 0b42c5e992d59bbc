"""Make pseudo-labels: let existing detectors label the object types that a set is not labelled for.

YOLOX-nano detects persons and vehicles, YuNet faces, and y5fu license plates. An image gets pseudo-labels only for
types that are not labelled in it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore

__all__ = ["pseudo_labels"]

#: ids of the teachers in the model registry
TEACHERS = ("yolox-nano", "yunet-n", "y5fu-640")
#: Detections with a lower score are dropped.
FAINTEST = {ObjectType.FACE: 0.30, ObjectType.LICENSE_PLATE: 0.25, ObjectType.PERSON: 0.12, ObjectType.VEHICLE: 0.12}


def pseudo_labels(image: LabelledImage, teachers: list[Detector]) -> list[list[float]]:
    """Detect the objects of an image that are not labelled.

    Args:
        image: the labelled image.
        teachers: the detectors.

    Returns:
        A row for each detection: index into `OBJECT_TYPES`, x1, y1, x2, y2 in pixels, and the uncalibrated score.

    Raises:
        ValueError: the image cannot be read.
    """
    pixels, rows = image.pixels(), []
    for teacher in teachers:
        wanted = [object_type for object_type in teacher.object_types if object_type not in image.labelled]
        if wanted:
            (detections,) = teacher.detect([pixels], teacher.scales(max(pixels.shape[:2]))[0])
            detections = detections.of_type(*wanted)
            least = [FAINTEST[object_type] for object_type in OBJECT_TYPES]
            rows += [
                [int(kind), *box.round(2).tolist(), round(float(score), 4)]
                for box, score, kind in zip(detections.boxes, detections.scores, detections.types, strict=True)
                if score >= least[kind]
            ]
    return rows


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
    parser.add_argument("--device", default="cpu", help="device for torch, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/teachers.json"), help="JSON file to write (default: %(default)s)"
    )
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    store = ModelStore(given.models, device=given.device)
    teachers = [store.detector(model_id) for model_id in TEACHERS]
    images = LabelledSet.read(given.set).images
    rows = {str(image.id): pseudo_labels(image, teachers) for image in tqdm(images, desc="images")}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
