"""Masks: the project's own head, Segment Anything from a checkpoint, and what `render` makes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor

from anonymizer import Anonymizer, ObjectType, Options
from anonymizer.pipeline.detections import Detections, Mask
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.images.io import Picture, load_picture
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.pipeline.segmentation import sam as sam_module
from anonymizer.pipeline.segmentation.crops import Window
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.pipeline.segmentation.mask_head import MaskDecoder, MaskHead, backbone_sha256, backbone_weights
from anonymizer.pipeline.segmentation.mask_rules import BOX, CORE, apply_mask_rules, box_mask
from anonymizer.pipeline.segmentation.protocol import Segmenter
from anonymizer.pipeline.segmentation.sam import Sam
from benchmarks.masks import Figures, measure, streets
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import drawn, encoded

BASE, HEAD = MODELS_FOLDER / "own-detector.safetensors", MODELS_FOLDER / "own-masks.safetensors"
FACE, PLATE, PERSON, VEHICLE = (each.number for each in ObjectType)


def rows(*boxes: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 4)


def persons(boxes: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.full(len(boxes), PERSON, np.uint8)


def crowd(n: int) -> NDArray[np.float32]:
    left = np.random.default_rng(1).uniform(0, 100, (n, 2))
    return np.concatenate([left, left + np.array([40, 60])], 1).astype(np.float32)


def noise(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def placed(mask: Mask, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask in the whole image; fails where it passes its borders."""
    out = np.zeros(size_hw, bool)
    height, width = mask.pixels.shape
    out[mask.y : mask.y + height, mask.x : mask.x + width] = mask.pixels
    return out


class TestCover:
    def test_the_core_of_the_box_belongs_to_it_whatever_the_network_says(self) -> None:
        pixels = np.zeros((40, 40), bool)
        pixels[:, 28:] = True
        mask = apply_mask_rules(pixels, 10, 10, rows((10, 10, 50, 50))[0], (100, 100), "m", ObjectType.VEHICLE)
        assert mask is not None
        assert mask.pixels[20, 20]
        assert mask.pixels[20, 20 - int(19 * CORE) : 20 + int(19 * CORE)].all()
        assert not mask.pixels[0, 0]
        assert mask.source == "m"

    def test_the_head_of_a_person_belongs_to_it_up_to_the_top_of_the_box(self) -> None:
        pixels = np.zeros((100, 40), bool)
        pixels[40:] = True
        person, vehicle = (
            apply_mask_rules(pixels, 10, 10, rows((10, 10, 50, 110))[0], (200, 100), "m", each)
            for each in (ObjectType.PERSON, ObjectType.VEHICLE)
        )
        assert person is not None
        assert vehicle is not None
        assert person.pixels[:20, 9:31].all()
        assert not vehicle.pixels[:15].any()
        np.testing.assert_array_equal(person.pixels[20:], vehicle.pixels[20:])

    @pytest.mark.parametrize("share", [0.0, 0.2])
    def test_a_mask_that_is_nearly_empty_is_not_believed(self, share: float) -> None:
        pixels = np.zeros((40, 40), bool)
        pixels[: int(40 * share)] = True
        assert apply_mask_rules(pixels, 0, 0, rows((0, 0, 40, 40))[0], (100, 100), "m", ObjectType.VEHICLE) is None

    def test_what_passes_the_border_is_cut_off(self) -> None:
        mask = apply_mask_rules(
            np.ones((50, 50), bool), -5, -5, rows((0, 0, 40, 40))[0], (30, 20), "m", ObjectType.VEHICLE
        )
        assert mask is not None
        assert (mask.x, mask.y, mask.pixels.shape) == (0, 0, (30, 20))

    def test_a_box_stands_in_for_an_outline(self) -> None:
        mask = box_mask(rows((-3, 2.5, 10, 8))[0], (20, 20))
        assert mask is not None
        assert (mask.x, mask.y, mask.pixels.shape, mask.source) == (0, 2, (6, 10), BOX)
        assert box_mask(rows((30, 0, 40, 10))[0], (20, 20)) is None


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that learnt nothing: which pixels it takes does not matter here."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("head") / "own-masks.safetensors"
    save_file(MaskDecoder().state_dict(), path, {"backbone": backbone_sha256(backbone_weights(BASE))})
    return path


@pytest.fixture(scope="module", params=["refinement", "head"])
def segmenter(request: pytest.FixtureRequest, head_file: Path) -> HeuristicSegmenter | MaskHead:
    return HeuristicSegmenter() if request.param == "refinement" else MaskHead(head_file, BASE, device="cpu")


class TestOurOwnWays:
    @pytest.mark.parametrize(
        "box",
        [
            pytest.param((40, 30, 100, 90), id="inside"),
            pytest.param((0, 30, 50, 90), id="left"),
            pytest.param((110, 30, 160, 90), id="right"),
            pytest.param((40, 0, 100, 50), id="top"),
            pytest.param((40, 70, 100, 120), id="bottom"),
            pytest.param((0, 0, 50, 50), id="top left corner"),
            pytest.param((110, 70, 160, 120), id="bottom right corner"),
            pytest.param((-40, -30, 60, 60), id="passes two borders"),
            pytest.param((0, 0, 160, 120), id="all of the image"),
            pytest.param((20.3, 10.7, 35.1, 110.2), id="narrow, between pixels"),
        ],
    )
    def test_the_core_of_a_box_is_covered_wherever_it_is(
        self, segmenter: HeuristicSegmenter | MaskHead, box: tuple[float, ...]
    ) -> None:
        (mask,) = segmenter.segment(noise(), rows(box), persons(rows(box)))
        if mask is None:
            # the box stands in for it
            return
        whole = placed(mask, (120, 160))
        x1, y1, x2, y2 = np.clip(box, 0, [160, 120, 160, 120])
        assert whole[int((y1 + y2) / 2), int((x1 + x2) / 2)]
        assert whole[int((y1 + y2) / 2), int((x1 + x2) / 2 + (x2 - x1) * CORE / 2 - 1)]
        assert mask.source == segmenter.id
        outside = whole.copy()
        grow_x, grow_y = (x2 - x1) * 0.2 + 2, (y2 - y1) * 0.2 + 2
        outside[max(int(y1 - grow_y), 0) : int(y2 + grow_y) + 1, max(int(x1 - grow_x), 0) : int(x2 + grow_x) + 1] = (
            False
        )
        assert not outside.any()

    @pytest.mark.parametrize("size", [1, 2, 5, 7.9])
    def test_tiny_objects_keep_their_box(self, segmenter: HeuristicSegmenter | MaskHead, size: float) -> None:
        box = rows((20, 20, 20 + size, 80))
        assert segmenter.segment(noise(), box, persons(box)) == [None]

    def test_boxes_outside_of_the_image_and_of_no_numbers_get_no_mask(
        self, segmenter: HeuristicSegmenter | MaskHead
    ) -> None:
        boxes = rows((200, 20, 260, 80), (-80, 0, -10, 50), (np.nan, 0, 20, 50))
        assert segmenter.segment(noise(), boxes, persons(boxes)) == [None] * 3

    def test_faces_and_plates_keep_their_shapes(self, segmenter: HeuristicSegmenter | MaskHead) -> None:
        boxes = rows((40, 30, 100, 90), (40, 30, 100, 90))
        assert segmenter.segment(noise(), boxes, np.array([FACE, PLATE], np.uint8)) == [None, None]

    def test_no_boxes_are_no_masks(self, segmenter: HeuristicSegmenter | MaskHead) -> None:
        assert segmenter.segment(noise(), rows(), persons(rows())) == []

    @pytest.mark.slow
    def test_each_of_a_crowd_gets_what_it_gets_alone(self, segmenter: HeuristicSegmenter | MaskHead) -> None:
        image, boxes = noise(), crowd(300)

        together = segmenter.segment(image, boxes, persons(boxes))

        assert len(together) == 300
        (alone,) = segmenter.segment(image, boxes[170:171], persons(boxes[170:171]))
        assert (alone is None) == (together[170] is None)
        if alone is not None and together[170] is not None:
            assert (alone.pixels ^ together[170].pixels).mean() < 0.01

    def test_the_same_twice_is_the_same(self, segmenter: HeuristicSegmenter | MaskHead) -> None:
        box = rows((40, 30, 100, 90))
        first, second = (segmenter.segment(noise(), box, persons(box))[0] for _ in range(2))
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert np.array_equal(first.pixels, second.pixels)


def test_a_window_is_grey_beyond_the_image() -> None:
    crop = Window.around(rows((0, 0, 100, 100))[0]).crop(np.zeros((100, 100, 3), np.uint8), 128)
    assert crop.shape == (128, 128, 3)
    assert (crop[0, 0] == 127).all()
    assert (crop[64, 64] == 0).all()


class TestMaskHead:
    def test_it_is_small(self) -> None:
        assert sum(each.numel() for each in MaskDecoder().parameters()) < 300_000

    def test_a_crowd_runs_in_batches(self, head_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        head, sizes = MaskHead(head_file, BASE, device="cpu"), []

        def run(crops: NDArray[np.uint8], types: NDArray[np.uint8]) -> NDArray[np.float32]:
            sizes.append(len(crops))
            return np.ones((len(crops), 64, 64), np.float32)

        monkeypatch.setattr(head, "_run", run)
        boxes = crowd(300)
        assert all(mask is not None for mask in head.segment(noise(), boxes, persons(boxes)))
        assert sum(sizes) == 300
        assert max(sizes) <= 32

    def test_an_unsure_network_leaves_the_box(self, head_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        head = MaskHead(head_file, BASE, device="cpu")
        monkeypatch.setattr(head, "_run", lambda crops, types: np.zeros((len(crops), 64, 64), np.float32))
        box = rows((40, 30, 100, 90))
        assert head.segment(noise(), box, persons(box)) == [None]

    def test_a_head_of_another_detector_is_refused(self, tmp_path: Path) -> None:
        save_file(MaskDecoder().state_dict(), tmp_path / "other.safetensors", {"backbone": "0" * 64})
        with pytest.raises(ValueError, match="trained on another detector"):
            MaskHead(tmp_path / "other.safetensors", BASE, device="cpu")

    def test_values_that_are_no_numbers_give_no_result(self, head_file: Path, tmp_path: Path) -> None:
        weights = load_file(head_file)
        weights["logit.bias"] = torch.full_like(weights["logit.bias"], torch.nan)
        save_file(weights, tmp_path / "nan.safetensors", {"backbone": backbone_sha256(backbone_weights(BASE))})
        with pytest.raises(ValueError, match="not finite numbers"):
            MaskHead(tmp_path / "nan.safetensors", BASE, device="cpu", runtime="openvino")
        head = MaskHead(tmp_path / "nan.safetensors", BASE, device="cpu", runtime="torch")
        box = rows((40, 30, 100, 90))
        with pytest.raises(DetectorFailed, match="not finite numbers"):
            head.segment(noise(), box, persons(box))


def head_of_the_project() -> MaskHead:
    return MaskHead(HEAD, BASE, device="cpu")


#: the head too, where it was trained
WAYS: list[Callable[[], Segmenter]] = [HeuristicSegmenter, *([head_of_the_project] if HEAD.is_file() else [])]


@pytest.mark.parametrize("make", WAYS)
def test_masks_reach_the_bars_on_real_outlines(make: Callable[[], Segmenter], data: Path) -> None:
    segmenter, figures = make(), Figures()
    for street in streets(data):
        measure(segmenter.segment, street, figures)
    assert len(figures.ious) > 400
    assert np.mean(figures.ious) >= 0.72
    assert np.mean(figures.covered) >= 0.97
    # the heads of persons, which are always covered, take .015 of it
    assert np.mean(figures.changed) <= 1.015


def small_sam() -> Any:
    """Segment Anything's own modules in the smallest size, with random weights."""
    torch.manual_seed(0)
    modeling = sam_module
    network = modeling.SamNetwork(
        image_encoder=modeling.ImageEncoderViT(
            img_size=128, patch_size=16, embed_dim=24, depth=3, num_heads=2, mlp_ratio=2, out_chans=32,
            use_rel_pos=True, window_size=4, global_attn_indexes=(1,),
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=8
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=1, embedding_dim=32, num_heads=8, mlp_dim=40),
            transformer_dim=32, iou_head_depth=2, iou_head_hidden_dim=16,
        ),
    )  # fmt: skip
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "sam_small.pth"
    torch.save(small_sam().state_dict(), path)
    return path


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes of the pictures that were embedded."""
    seen: list[tuple[int, ...]] = []
    plain: Callable[..., None] = SamPredictor.set_image

    def counting(self: SamPredictor, image: NDArray[np.uint8], *args: Any) -> None:
        seen.append(image.shape)
        plain(self, image, *args)

    monkeypatch.setattr(SamPredictor, "set_image", counting)
    return seen


class TestSam:
    def test_a_checkpoint_tells_its_own_sizes(self, checkpoint: Path) -> None:
        network = sam_module.build_network(torch.load(checkpoint, weights_only=True))
        blocks = network.image_encoder.blocks
        assert network.image_encoder.img_size == 128
        assert [each.window_size for each in blocks] == [4, 0, 4]
        assert [each.attn.num_heads for each in blocks] == [2, 2, 2]

    def test_the_same_network_comes_back(self, checkpoint: Path) -> None:
        expected, loaded = small_sam().eval(), Sam(checkpoint, device="cpu")._network
        pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            torch.testing.assert_close(loaded.image_encoder(pixels), expected.image_encoder(pixels))

    def test_all_boxes_of_a_picture_share_one_embedding(
        self, checkpoint: Path, embedded: list[tuple[int, ...]]
    ) -> None:
        segmenter: Segmenter = Sam(checkpoint, device="cpu", model_id="sam-small")
        left = np.random.default_rng(1).uniform(0, 50, (70, 2))
        boxes = np.concatenate([left, left + np.array([30, 50])], 1).astype(np.float32)

        masks = segmenter.segment(noise(100, 120), boxes, persons(boxes))

        assert len(embedded) == 1
        assert len(masks) == 70
        assert {mask.source for mask in masks if mask is not None} <= {"sam-small"}
        for mask, box in zip(masks, boxes, strict=True):
            if mask is not None:
                whole = placed(mask, (100, 120))
                assert whole[int(box[1] + 25), int(box[0] + 15)]

    def test_what_is_tiny_in_a_large_picture_is_looked_at_from_nearer(
        self, checkpoint: Path, embedded: list[tuple[int, ...]]
    ) -> None:
        boxes = rows((0, 0, 500, 400), (10, 10, 40, 60), (30, 20, 60, 70), (590, 390, 598, 398))
        masks = Sam(checkpoint, device="cpu").segment(noise(400, 600), boxes, persons(boxes))
        assert embedded == [(85, 128, 3), (128, 128, 3), (128, 128, 3)]
        for mask in masks:
            if mask is not None:
                placed(mask, (400, 600))

    def test_its_mask_lies_where_the_network_saw_it(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        segmenter = Sam(checkpoint, device="cpu")

        def left_half(self: SamPredictor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None, None]:
            height, width = self.original_size
            logits = torch.full((len(args[2]), 1, height, width), -9.0)
            logits[..., : width // 2] = 9
            return logits, None, None

        monkeypatch.setattr(SamPredictor, "predict_torch", left_half)
        (mask,) = segmenter.segment(noise(512, 512), rows((156, 100, 356, 400)), np.array([VEHICLE], np.uint8))
        assert mask is not None
        whole = placed(mask, (512, 512))
        assert whole[110, 160:254].all()
        assert not whole[110, 259:].any()

    @pytest.mark.parametrize("content", ["another network", "a list", "one layer missing"])
    def test_what_is_no_checkpoint_of_it_is_refused(self, checkpoint: Path, tmp_path: Path, content: str) -> None:
        weights: Any = torch.load(checkpoint, weights_only=True)
        if content == "another network":
            weights = torch.nn.Linear(2, 2).state_dict()
        elif content == "a list":
            weights = [1, 2]
        else:
            weights.pop("mask_decoder.iou_token.weight")
        torch.save(weights, tmp_path / "other.pth")
        with pytest.raises(ValueError, match="no checkpoint of Segment Anything"):
            Sam(tmp_path / "other.pth", device="cpu")


@dataclass
class Triangles:
    """A segmenter that gives the lower left half of each box, and none for plates."""

    id: str = "triangles"
    device: str = "cpu"
    asked: list[int] = field(default_factory=list)
    few: bool = False

    def warm_up(self) -> None:
        pass

    def segment(
        self, image: NDArray[np.uint8], boxes: NDArray[np.float32], types: NDArray[np.uint8]
    ) -> list[Mask | None]:
        self.asked.append(len(boxes))
        masks = []
        for (x1, y1, x2, y2), number in zip(boxes.astype(int), types, strict=True):
            whole = Mask(int(x1), int(y1), np.tri(y2 - y1, x2 - x1, dtype=bool), self.id)
            masks.append(None if number == PLATE else whole)
        return masks[:-1] if self.few else masks


class Store(FakeStore):
    def __init__(self, segmenter: Segmenter | None) -> None:
        super().__init__(FakeDetector())
        self._given = segmenter

    def segmenter(self) -> Segmenter | None:  # type: ignore[override]
        return self._given


@pytest.fixture
def picture() -> Picture:
    return load_picture(encoded(drawn(), "PNG"))


@pytest.fixture
def found() -> Detections:
    boxes = rows((20, 20, 60, 70), (100, 100, 160, 160), (200, 50, 240, 90), (10, 150, 90, 230))
    return Detections(boxes, [0.9, 0.8, 0.3, 0.9], [PERSON, VEHICLE, PERSON, FACE], ["fake"] * 4)


ALL = tuple(ObjectType)


class TestRender:
    def test_persons_and_vehicles_over_their_threshold_get_masks_once(
        self, picture: Picture, found: Detections
    ) -> None:
        segmenter = Triangles()
        anonymizer = Anonymizer(store=Store(segmenter))
        first = anonymizer.render(picture, found, ALL, Options())
        again = anonymizer.render(picture, first.found, ALL, Options(method="blacken", margin=0.3))
        lower = anonymizer.render(picture, again.found, ALL, Options(person_threshold=0.2))
        assert segmenter.asked == [2, 1]
        assert [mask is not None for mask in first.found.masks] == [True, True, False, False]
        assert [mask is not None for mask in lower.found.masks] == [True, True, True, False]

    def test_a_detectors_own_mask_leaves_no_core_bare(self, picture: Picture, found: Detections) -> None:
        left, sliver = np.zeros((50, 40), np.bool_), np.zeros((60, 60), np.bool_)
        left[:, :20], sliver[:, :3] = True, True
        own = replace(found, masks=(Mask(20, 20, left), Mask(100, 100, sliver), None, None))
        segmenter = Triangles()
        result = Anonymizer(store=Store(segmenter)).render(picture, own, ALL, Options())
        half, believed = result.found.masks[0], result.found.masks[1]
        assert half is not None
        assert half.pixels[15:35, 12:28].all()
        # three columns of sixty are not believed: the segmenter is asked instead
        assert segmenter.asked == [1]
        assert believed is not None
        assert believed.source == segmenter.id

    def test_kept_detections_hold_them(self, picture: Picture, found: Detections) -> None:
        segmenter = Triangles()
        anonymizer = Anonymizer(store=Store(segmenter))
        file = io.BytesIO()
        first = anonymizer.render(picture, found, ALL, Options())
        first.found.save(file)
        kept = Detections.load(io.BytesIO(file.getvalue()))
        assert [mask and mask.source for mask in kept.masks] == ["triangles", "triangles", None, None]
        again = anonymizer.render(picture, kept, ALL, Options())
        assert segmenter.asked == [2]
        assert np.array_equal(again.binary_mask, first.binary_mask)
        assert kept.without_made_masks().masks == (None,) * 4

    def test_the_metadata_say_which_way_made_each(self, picture: Picture, found: Detections) -> None:
        result = Anonymizer(store=Store(Triangles())).render(picture, found, ALL, Options())
        assert [each["mask_source"] for each in result.metadata["detections"]] == ["triangles", "triangles", "ellipse"]
        assert result.models == ("fake", "triangles")

    def test_bbox_uses_boxes_and_asks_nobody(self, picture: Picture, found: Detections) -> None:
        segmenter = Triangles()
        result = Anonymizer(store=Store(segmenter)).render(picture, found, ALL, Options(bbox=True))
        assert segmenter.asked == []
        assert {each["mask_source"] for each in result.metadata["detections"]} == {"box"}
        assert result.models == ("fake",)

    def test_masks_of_a_detector_stay(self, picture: Picture, found: Detections) -> None:
        mask = Mask(20, 20, np.ones((50, 40), bool))
        own = Detections(found.boxes[:1], [0.9], [PERSON], ["mask-rcnn"], masks=(mask,))
        segmenter = Triangles()
        result = Anonymizer(store=Store(segmenter)).render(picture, own, ALL, Options())
        assert segmenter.asked == []
        assert result.metadata["detections"][0]["mask_source"] == "mask-rcnn"
        assert own.without_made_masks().masks == (mask,)

    def test_what_could_not_be_segmented_is_a_box_and_not_tried_again(self, picture: Picture) -> None:
        plate = Detections(rows((100, 100, 160, 120)), [0.9], [PLATE], ["fake"])
        segmenter = Triangles()
        anonymizer = Anonymizer(store=Store(segmenter), segment=(ObjectType.LICENSE_PLATE,))
        result = anonymizer.render(picture, plate, ALL, Options())
        anonymizer.render(picture, result.found, ALL, Options())
        assert segmenter.asked == [1]
        assert result.metadata["detections"][0]["mask_source"] == "box"
        without = Anonymizer(store=Store(None)).render(picture, plate, ALL, Options())
        assert np.array_equal(result.binary_mask, without.binary_mask)

    def test_blacken_changes_exactly_the_mask(self, picture: Picture, found: Detections) -> None:
        white = replace(picture, pixels=np.full_like(picture.pixels, 255))
        result = Anonymizer(store=Store(Triangles())).render(white, found, ALL, Options(method="blacken"))
        changed = (result.image != 255).any(-1)
        assert np.array_equal(changed, result.binary_mask == 255)
        boxes = Anonymizer(store=Store(None)).render(white, found, ALL, Options(method="blacken", bbox=True))
        assert changed.sum() < (boxes.binary_mask == 255).sum()

    def test_without_a_model_for_it_the_refinement_makes_masks(self, picture: Picture, found: Detections) -> None:
        result = Anonymizer(store=Store(None)).render(picture, found, ALL, Options())
        sources = [each["mask_source"] for each in result.metadata["detections"]]
        assert set(sources[:2]) <= {"grabcut", "box"}
        assert sources[2] == "ellipse"

    def test_a_segmenter_that_gives_too_few_masks_gives_no_result(self, picture: Picture, found: Detections) -> None:
        with pytest.raises(DetectorFailed, match="1 masks for 2 objects"):
            Anonymizer(store=Store(Triangles(few=True))).render(picture, found, ALL, Options())


def test_archives_from_before_masks_had_a_source_still_load() -> None:
    mask = Mask(3, 4, np.tri(5, dtype=bool), "m")
    file = io.BytesIO()
    Detections(rows((3, 4, 8, 9)), [0.9], [PERSON], ["fake"], masks=(mask,)).save(file)
    with np.load(io.BytesIO(file.getvalue())) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "mask_0_source"}
    old = io.BytesIO()
    np.savez_compressed(old, **arrays)
    (loaded,) = Detections.load(io.BytesIO(old.getvalue())).masks
    assert loaded is not None
    assert loaded.source == ""
    assert np.array_equal(loaded.pixels, mask.pixels)
