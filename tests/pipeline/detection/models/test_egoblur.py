from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anonymizer.pipeline.detection.models.egoblur import EgoBlur
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed, TooManyObjects

# TorchScript reads no annotations that are strings, so that these two are source of their own
SECOND = '''
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn


@torch.jit.script
class Boxes:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


@torch.jit.script
class Instances:
    def __init__(self, image_size: Tuple[int, int], boxes: Boxes, scores: Tensor, classes: Tensor):
        self.image_size = image_size
        self._pred_boxes: Optional[Boxes] = boxes
        self._scores: Optional[Tensor] = scores
        self._pred_classes: Optional[Tensor] = classes


class Proposals(nn.Module):
    def __init__(self):
        super().__init__()
        self.post_nms_topk = {True: 2000, False: 1000}

    def forward(self, rows: Tensor) -> Tensor:
        return rows[: self.post_nms_topk[self.training]]


class Predictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.test_topk_per_image = 100

    def forward(self, rows: Tensor) -> Tensor:
        return rows[: self.test_topk_per_image]


class Model(nn.Module):
    """Each blue pixel is a face of two by three pixels there, each green one a plate."""

    def __init__(self):
        super().__init__()
        self.proposal_generator = Proposals()
        self.box_predictor = Predictor()

    def forward(self, batched_inputs: List[Dict[str, Tensor]]):
        return self.inference(batched_inputs, None, True)

    @torch.jit.export
    def inference(
        self,
        batched_inputs: List[Dict[str, Tensor]],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ):
        found: List[Instances] = []
        for each in batched_inputs:
            image = each["image"]
            assert image.dtype == torch.uint8 and not do_postprocess
            where = torch.nonzero(image[:2] == 255)
            where = self.box_predictor(self.proposal_generator(where))
            low = where[:, [2, 1]].float()
            boxes = torch.cat([low, low + torch.tensor([2.0, 3.0])], 1)
            scores = torch.full([len(where)], 0.9)
            found.append(Instances((image.shape[1], image.shape[2]), Boxes(boxes), scores, where[:, 0]))
        return found
'''

FIRST = '''
from typing import List, Tuple

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """Each blue pixel is a face of two by three pixels there; a hundred at most."""

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        assert image.dtype == torch.uint8
        where = torch.nonzero(image[0] == 255)[:100]
        low = where[:, [1, 0]].float()
        boxes = torch.cat([low, low + torch.tensor([2.0, 3.0])], 1)
        scores = torch.full([len(where)], 0.8)
        return boxes, torch.zeros(len(where)), scores, torch.tensor([image.shape[1], image.shape[2]])
'''


def written(folder: Path, source: str) -> Path:
    """A TorchScript file of the module `Model` in the source."""
    code = folder / "scripted_model.py"
    code.write_text(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = imported(code).Model().eval()
        torch.jit.save(torch.jit.script(model), str(folder / "model.pt"))
    return folder / "model.pt"


def imported(code: Path):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(f"scripted_{code.parent.name}", code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("first"), FIRST)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("second"), SECOND)


def dotted(size_hw: tuple[int, int], *points_xy: tuple[int, int], channel: int = 2) -> np.ndarray:
    image = np.zeros((*size_hw, 3), np.uint8)
    for x, y in points_xy:
        image[y, x, channel] = 255
    return image


def test_a_file_of_the_first_generation_finds_blue(first: Path) -> None:
    detector = EgoBlur(first, object_type=ObjectType.FACE, device="cpu", model_id="egoblur-face-1")
    images = [dotted((100, 200), (10, 20), (199, 99)), dotted((100, 200)), dotted((100, 200), (5, 5), channel=0)]

    found, nothing, red = detector.detect(images, 200)

    assert sorted(found.boxes.tolist()) == [[10, 20, 12, 23], [199, 99, 200, 100]]
    assert found.scores == pytest.approx([0.8, 0.8])
    assert set(found.models) == {"egoblur-face-1"}
    assert set(found.types) == {ObjectType.FACE.number}
    assert len(nothing) == len(red) == 0


@pytest.mark.parametrize(("object_type", "channel"), [(ObjectType.FACE, 2), (ObjectType.LICENSE_PLATE, 1)])
def test_a_file_of_the_second_generation_finds_its_own_class(
    second: Path, object_type: ObjectType, channel: int
) -> None:
    detector = EgoBlur(second, object_type=object_type, device="cpu", model_id="egoblur-2")
    image = dotted((100, 200), (10, 20), channel=channel) | dotted((100, 200), (50, 20), channel=3 - channel)

    both = detector.detect([image, image[:, ::-1].copy()], 200)

    assert both[0].boxes.tolist() == [[10, 20, 12, 23]]
    assert both[1].boxes.tolist() == [[189, 20, 191, 23]]
    assert set(both[0].types) == {object_type.number}


def test_boxes_are_in_pixels_of_the_picture(second: Path) -> None:
    detector = EgoBlur(second, object_type=ObjectType.FACE, device="cpu", model_id="egoblur-2")
    image = np.zeros((400, 800, 3), np.uint8)
    image[100:104, 200:204, 2] = 255

    (found,) = detector.detect([image], 200)

    assert found.boxes.tolist() == [[200, 100, 208, 112]]


def test_a_crowd_is_found_where_the_limit_can_be_lifted(second: Path) -> None:
    detector = EgoBlur(second, object_type=ObjectType.FACE, device="cpu", model_id="egoblur-2")
    crowd = np.zeros((300, 300, 3), np.uint8)
    crowd[:240:6, :240:6, 2] = 255

    (found,) = detector.detect([crowd], 300)

    assert len(found) == 1600


def test_a_crowd_fails_where_the_limit_stands(first: Path) -> None:
    detector = EgoBlur(first, object_type=ObjectType.FACE, device="cpu", model_id="egoblur-1")
    crowd = np.zeros((300, 300, 3), np.uint8)
    crowd[:240:6, :240:6, 2] = 255

    with pytest.raises(TooManyObjects, match="100 objects in one view"):
        detector.detect([crowd], 300)


def test_the_limit_itself_can_be_reached(second: Path) -> None:
    detector = EgoBlur(second, object_type=ObjectType.FACE, device="cpu", model_id="egoblur-2")
    crowd = np.zeros((300, 300, 3), np.uint8)
    crowd[::6, ::6, 2] = 255

    with pytest.raises(TooManyObjects, match="2000 objects in one view"):
        detector.detect([crowd], 300)


@pytest.mark.parametrize(("size_hw", "side"), [((1, 1), 1), ((3, 2000), 1200), ((1, 1), 1200)])
def test_tiny_pictures_can_be_looked_at(first: Path, second: Path, size_hw: tuple[int, int], side: int) -> None:
    for path in (first, second):
        detector = EgoBlur(path, object_type=ObjectType.FACE, device="cpu", model_id="egoblur")
        (found,) = detector.detect([np.zeros((*size_hw, 3), np.uint8)], side)
        assert len(found) == 0


def test_each_generation_has_its_sizes(first: Path, second: Path) -> None:
    one, two = (
        EgoBlur(path, object_type=ObjectType.FACE, device="cpu", model_id="egoblur") for path in (first, second)
    )

    assert one.scales(640) == (640,)
    assert one.scales(6000) == (1920,)
    assert two.scales(640) == two.scales(6000) == (1200,)
    one.warm_up()
    two.warm_up()


def test_it_finds_no_persons(first: Path) -> None:
    with pytest.raises(DetectorFailed, match="EgoBlur does not detect the type person"):
        EgoBlur(first, object_type=ObjectType.PERSON, device="cpu", model_id="egoblur")


def test_a_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing of the kind")

    with pytest.raises(RuntimeError):
        EgoBlur(tmp_path / "model.pt", object_type=ObjectType.FACE, device="cpu", model_id="egoblur")


def test_a_script_with_other_outputs_gives_no_result(tmp_path: Path) -> None:
    source = FIRST.replace("Tuple[Tensor, Tensor, Tensor, Tensor]", "Tuple[Tensor, Tensor, Tensor]")
    path = written(tmp_path, source.replace(", torch.tensor([image.shape[1], image.shape[2]])", ""))
    detector = EgoBlur(path, object_type=ObjectType.FACE, device="cpu", model_id="egoblur")

    with pytest.raises(DetectorFailed, match="3 outputs"):
        detector.detect([dotted((10, 10))], 10)
