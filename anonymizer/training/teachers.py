"""`python -m anonymizer.training.teachers`: what labels leave open, labelled by detectors that exist.

YOLOX-nano finds persons and vehicles, YuNet faces, y5fu license plates; each only where the type is not labelled.
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
from anonymizer.pipeline.model_zoo.store import ModelStore

__all__ = ["labels"]

TEACHERS = ("yolox-nano", "yunet-n", "y5fu-640")
#: fainter than that, a teacher's detection is not even a doubt
FAINTEST = {ObjectType.FACE: 0.30, ObjectType.LICENSE_PLATE: 0.25, ObjectType.PERSON: 0.12, ObjectType.VEHICLE: 0.12}


def labels(image: LabelledImage, teachers: list[Detector]) -> list[list[float]]:
    """What the teachers find of types that are not labelled: rows of type, x1, y1, x2, y2, score (uncalibrated)."""
    pixels, rows = image.pixels(), []
    for teacher in teachers:
        wanted = [each for each in teacher.object_types if each not in image.labelled]
        if wanted:
            (found,) = teacher.detect([pixels], teacher.sides(max(pixels.shape[:2]))[0])
            found = found.of_type(*wanted)
            least = [FAINTEST[each] for each in OBJECT_TYPES]
            rows += [
                [int(kind), *box.round(2).tolist(), round(float(score), 4)]
                for box, score, kind in zip(found.boxes, found.scores, found.types, strict=True)
                if score >= least[kind]
            ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/train.json"), help="a labelled set")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the registry")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/teachers.json"))
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    store = ModelStore(given.models, device=given.device)
    teachers = [store.detector(each) for each in TEACHERS]
    images = LabelledSet.read(given.set).images
    taught = {str(each.id): labels(each, teachers) for each in tqdm(images, desc="pictures")}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(taught))


if __name__ == "__main__":
    main()
