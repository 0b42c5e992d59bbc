"""A model of the user's own in a store: what is written, what serves, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anonymizer import Anonymizer
from anonymizer.evaluation.thresholds.calibrate import write_calibrations
from anonymizer.pipeline.detection.calibration import Calibration, Calibrations
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.registry import Registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Whole
from anonymizer.training.install import install
from tests.pictures import drawn

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
OWN = MODELS_FOLDER / "own-3.safetensors"
STEEP = Calibration(((0.0, 0.0), (0.5, 0.25), (1.0, 1.0)))
MAPS = Calibrations({FACE: STEEP}, {FACE: Calibration(((0.0, 0.0), (1.0, 0.5)))})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models' folder as it is in a fresh clone."""
    folder = tmp_path / "models"
    folder.mkdir()
    for each in ("registry.toml", "own-3.safetensors", "own-detector.safetensors", "own-masks.safetensors"):
        shutil.copyfile(MODELS_FOLDER / each, folder / each)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Weights that are a little different."""
    state = load_file(OWN)
    state["predict.0.bias"] += 0.25
    save_file(state, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def put(folder: Path, weights: Path = OWN, model_id: str = "my-detector", **changed: Any) -> None:
    given = {"object_types": [FACE, PLATE], "calibrations": MAPS, "description": "Ours, from ünder the roof"}
    install(weights, model_id, models_folder=folder, **given | changed)


def test_an_installed_model_serves_what_is_asked_of_it(folder: Path) -> None:
    before = (folder / "registry.toml").read_bytes()
    put(folder)

    store = ModelStore(folder, device="cpu", models="face=my-detector")

    assert store.problems() == []
    assert store.serves()[FACE] == ("my-detector",)
    assert store.serves()[PLATE] == ("own-3",)
    assert store.calibrations("my-detector") == MAPS
    assert store.registry.models["my-detector"].description == "Ours, from ünder the roof"
    (found,) = Anonymizer(store=store).engine.detect([np.asarray(drawn(320, 240))], [FACE], Whole())
    assert set(found.models) <= {"my-detector"}
    assert (folder / "registry.toml").read_bytes() == before


def test_a_model_serves_no_more_than_it_was_installed_for(folder: Path) -> None:
    put(folder, object_types=[PLATE])
    with pytest.raises(DetectorFailed, match=r"face may be served by .* not by 'my-detector'"):
        ModelStore(folder, models="face=my-detector")
    assert ModelStore(folder).calibrations("my-detector") == Calibrations()


def test_another_takes_its_place_only_where_asked(folder: Path, other: Path) -> None:
    put(folder)
    put(folder, model_id="second")
    with pytest.raises(ValueError, match=r"'my-detector', but registry\.local\.toml has it already.*replace=True"):
        put(folder, other)
    first = ModelStore(folder).registry.models

    put(folder, other, object_types=[PLATE], replace=True)

    now = ModelStore(folder).registry.models
    assert list(now)[-2:] == ["second", "my-detector"]
    assert now["my-detector"].object_types == (PLATE,)
    assert now["my-detector"].sha256 != first["my-detector"].sha256
    assert now["second"] == first["second"]
    assert not (folder / first["my-detector"].file).exists()
    assert ModelStore(folder, models="license-plate=my-detector,face=second").problems() == []


def test_the_same_weights_may_be_installed_again(folder: Path) -> None:
    put(folder)
    put(folder, replace=True)
    assert ModelStore(folder, models="face=my-detector").problems() == []


def test_what_a_user_wrote_into_the_file_stays(folder: Path) -> None:
    note = '# mine\n[profiles.mine]\nface = ["own-3"]\n'
    (folder / "registry.local.toml").write_text(note)
    put(folder)
    put(folder, replace=True)
    assert (folder / "registry.local.toml").read_text().startswith(note)
    assert ModelStore(folder, models="mine").serves() == {FACE: ("own-3",)}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model_id": "own-3"}, "'own-3', but that is a model of the project"),
        ({"model_id": "My Detector"}, "'My Detector', but must be at most 63 small letters"),
        ({"model_id": "a/b"}, "'a/b', but must be"),
        ({"model_id": ""}, "'', but must be"),
        ({"model_id": "embedded"}, "'embedded', but must be .* none of auto, embedded,"),
        ({"object_types": []}, "object_types is empty"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder: Path, changed: dict[str, Any], sentence: str) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=sentence):
        put(folder, **changed)
    assert sorted(folder.iterdir()) == before


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    save_file(torch.nn.Linear(3, 3).state_dict(), tmp_path / "linear.safetensors")
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=r"linear\.safetensors holds the weights of another network"):
        put(folder, tmp_path / "linear.safetensors")
    assert sorted(folder.iterdir()) == before


def test_an_entry_written_by_hand_in_another_order_is_not_guessed_at(folder: Path) -> None:
    put(folder)
    local = folder / "registry.local.toml"
    text = local.read_text()
    local.write_text(text.replace('id = "my-detector"\n', "") + 'id = "my-detector"\n')
    with pytest.raises(ValueError, match="Remove it by hand"):
        put(folder, replace=True)


def test_a_calibration_may_be_measured_again(folder: Path) -> None:
    put(folder)
    local = folder / Registry.read(folder / "registry.toml").models["my-detector"].registry
    write_calibrations(local, "my-detector", Calibrations({PLATE: STEEP}, close={PLATE: STEEP}))
    # those of the faces stay
    both = Calibrations({PLATE: STEEP} | MAPS.whole, MAPS.small, close={PLATE: STEEP})
    assert ModelStore(folder).calibrations("my-detector") == both
