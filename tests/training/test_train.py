"""A training from end to end, on drawn pictures: it learns, is stopped, goes on, and its weights are a detector's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.detection.models.nanodet.network import NanoDetNetwork
from anonymizer.training import train as training
from anonymizer.training.samples import add_turned, read_samples
from anonymizer.training.train import Recipe, evaluate, save_weights, train
from tests.conftest import ROOT

NAMES = ("face", "license-plate", "person", "vehicle")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A labelled set of ten pictures, a red square on grey in each: a vehicle."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (tmp_path / "val").mkdir()
    for number in range(10):
        pixels = np.full((96, 128, 3), 90, np.uint8) + rng.integers(0, 20, (96, 128, 1), np.uint8)
        x, y = (int(each) for each in rng.integers(4, 50, 2))
        pixels[y : y + 40, x : x + 60] = (20, 20, 230)
        cv2.imwrite(str(tmp_path / "val" / f"{number}.png"), pixels)
        images.append({"id": number, "file_name": f"{number}.png", "source": "voc", "labelled": ["vehicle"]})
        annotations.append({"id": number, "image_id": number, "category_id": 4, "bbox": [x, y, 60, 40]})
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)]
    rows = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "val.json").write_text(json.dumps(rows))
    return tmp_path / "val.json"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Random weights of the own detector."""
    torch.manual_seed(0)
    network = NanoDetNetwork()
    for each in network.predict:
        torch.nn.init.constant_(each.bias[:4], -3.0)
    save_weights(network, tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def test_it_learns_what_it_is_shown_and_goes_on_where_it_was(
    drawn: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    steps: list[float] = []
    step = training._step

    def counted(*arguments: object) -> torch.Tensor:
        losses = step(*arguments)
        steps.append(float(losses.sum()))
        run = arguments[0]
        # a minute of training for each step, so that the length is a number of steps
        run.seconds = 60.0 * run.steps
        return losses

    monkeypatch.setattr(training, "_step", counted)
    samples = read_samples(drawn, None)
    recipe = Recipe(
        minutes=12, sides=(128,), batch=1, rate=3e-3, frozen=-1, warm_up=2, average=0.5, mosaic=0.2, evaluate_s=1e9
    )
    folder = tmp_path / "run"
    train(samples, recipe, folder, start=start)
    assert len(steps) == 12
    longer = Recipe(**{name: getattr(recipe, name) for name in recipe.__dataclass_fields__} | {"minutes": 40})
    weights = train(samples, longer, folder, start=start)
    assert len(steps) == 40
    assert np.mean(steps[-8:]) < 0.7 * np.mean(steps[:8])
    tallies = evaluate(weights, LabelledSet.read(drawn), side=128)
    assert list(tallies) == [("vehicle", "voc")]
    (tally,) = tallies.values()
    assert tally.objects == 10


def test_types_that_are_not_labelled_carry_no_loss_without_teachers(drawn: Path) -> None:
    (sample, *_) = read_samples(drawn, None, limit=1)
    assert sample.unlabelled.tolist() == [True, True, True, False]
    assert sample.targets.types.tolist() == [3]


def test_teachers_fill_what_labels_leave_open(drawn: Path, tmp_path: Path) -> None:
    taught = {str(n): [] for n in range(10)}
    # a sure person, a doubtful face, and a vehicle, of which the labels know better
    taught["0"] = [[2, 1, 1, 20, 40, 0.9], [0, 5, 5, 15, 15, 0.4], [3, 1, 1, 20, 20, 0.9]]
    file = tmp_path / "taught.json"
    file.write_text(json.dumps(taught))
    sample = read_samples(drawn, file)[0]
    assert sample.targets.types.tolist() == [3, 2, 0]
    assert sample.targets.ignored.tolist() == [False, False, True]
    assert not sample.unlabelled.any()


def test_a_source_can_be_left_out(drawn: Path) -> None:
    with pytest.raises(ValueError, match=r"without has .'no-such'., but the sources of the set are .'voc'."):
        read_samples(drawn, without=["no-such"])
    assert read_samples(drawn, without=["voc"], progress=False) == []


def test_turned_copies_have_their_objects_where_they_are(drawn: Path) -> None:
    samples = read_samples(drawn, None, limit=4)
    more = add_turned(samples, 1.0, np.random.default_rng(0))
    assert len(more) == 8
    shapes = {sample.pixels.shape[:2] for sample in more}
    assert shapes == {(96, 128), (128, 96)}
    for sample in more:
        x1, y1, x2, y2 = sample.targets.boxes[0].astype(int)
        red = (sample.pixels[..., 0] > 200) & (sample.pixels[..., 1] < 60)
        assert red[y1:y2, x1:x2].all()
        assert red.sum() == (x2 - x1) * (y2 - y1)
    assert add_turned(samples, 0.0, np.random.default_rng(0)) == samples


def test_samples_and_recipes_are_short_in_a_notebook(drawn: Path) -> None:
    (sample, *_) = read_samples(drawn, None, limit=1)
    assert repr(sample) == "Sample(128 x 96 pixels, 1 vehicle, source 'voc')"
    assert len(repr(Recipe())) < 500


@pytest.mark.parametrize("module", ["training", "training.teachers", "training.train_masks"])
def test_commands_explain_themselves(module: str) -> None:
    arguments = [sys.executable, "-m", f"anonymizer.{module}", "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"usage: python -m anonymizer.{module}" in done.stdout
    assert done.stdout.count("default:") >= 4
