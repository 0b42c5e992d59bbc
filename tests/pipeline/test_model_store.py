from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.model_store import FOLDER, ModelStore
from anonymizer.pipeline.objects import OBJECT_TYPES, ObjectType

PLATE, FACE = ObjectType.LICENSE_PLATE, ObjectType.FACE
FILE = "own-detector.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the models' folder."""
    return Path(shutil.copytree(FOLDER, tmp_path / "models"))


def with_own_sum(folder: Path) -> Path:
    """The registry's sum of the own model becomes that of the file which is there."""
    registry = folder / "registry.toml"
    before, own = registry.read_text().split('id = "own-1"')
    own = re.sub(r'sha256 = "\w+"', f'sha256 = "{hashlib.sha256((folder / FILE).read_bytes()).hexdigest()}"', own)
    registry.write_text(f'{before}id = "own-1"{own}')
    return folder


def missing(folder: Path) -> None:
    (folder / FILE).unlink()


def truncated(folder: Path) -> None:
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: len(content) // 2])


def empty(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")


def another(folder: Path) -> None:
    content = bytearray((folder / FILE).read_bytes())
    content[-1] ^= 1
    (folder / FILE).write_bytes(content)


@pytest.mark.parametrize("harm", [missing, truncated, empty, another])
def test_a_harmed_file_is_named_with_its_remedy(folder: Path, harm) -> None:  # type: ignore[no-untyped-def]
    harm(folder)
    store = ModelStore(folder, device="cpu")

    with pytest.raises(ModelMissing) as error:
        store.detectors([FACE, PLATE])

    assert "license plate" in str(error.value)
    assert "git checkout models/own-detector.safetensors" in str(error.value)
    assert store.serves() == {FACE: "centerface"}
    assert len(store.problems()) == 1


def test_a_harmed_file_of_one_type_leaves_the_others(folder: Path) -> None:
    missing(folder)

    (detector,) = ModelStore(folder, device="cpu").detectors([FACE])

    assert detector.id == "centerface"


def test_a_whole_file_of_another_architecture_gives_no_result(folder: Path) -> None:
    save_file(torch.nn.Linear(3, 3).state_dict(), folder / FILE)
    store = ModelStore(with_own_sum(folder), device="cpu")

    assert PLATE in store.serves()
    with pytest.raises(DetectorFailed, match="own-1"):
        store.detectors([PLATE])


def test_a_whole_file_that_holds_no_weights_gives_no_result(folder: Path) -> None:
    (folder / FILE).write_bytes(b"not weights")

    with pytest.raises(DetectorFailed, match="own-1"):
        ModelStore(with_own_sum(folder), device="cpu").detectors([PLATE])


def test_every_type_is_served_as_installed() -> None:
    store = ModelStore(device="cpu")

    assert store.problems() == []
    assert store.serves() == dict.fromkeys(OBJECT_TYPES, "own-1") | {FACE: "centerface"}


def test_each_model_is_loaded_once() -> None:
    store = ModelStore(device="cpu")

    first, second = store.detectors(OBJECT_TYPES), store.detectors([PLATE])

    assert [each.id for each in first] == ["centerface", "own-1"]
    assert second[0] is first[1]


def test_another_face_detector_may_be_chosen() -> None:
    store = ModelStore(device="cpu", face_detector="own-1")

    assert set(store.serves().values()) == {"own-1"}
    assert len(store.described(OBJECT_TYPES)) == 1


@pytest.mark.parametrize("name", ["nonesuch", ""])
def test_an_unknown_face_detector_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(DetectorFailed, match="centerface, own-1"):
        ModelStore(face_detector=name)


def test_a_device_that_is_not_there_gives_no_result() -> None:
    with pytest.raises(DetectorFailed, match="cuda:99"):
        ModelStore(device="cuda:99").detectors([PLATE])


@pytest.mark.parametrize("text", ["", "[[model]]\nid = 1", "not toml", '[[model]]\nid = "a"\nobject_types = ["cat"]'])
def test_a_registry_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.toml").write_text(text)

    with pytest.raises(DetectorFailed, match=r"registry\.toml"):
        ModelStore(tmp_path)


def test_kept_detections_depend_on_the_models_sum(folder: Path) -> None:
    before = ModelStore(folder).keys([PLATE])
    another(folder)

    assert ModelStore(with_own_sum(folder)).keys([PLATE]) != before


def test_asking_what_is_served_loads_no_torch() -> None:
    code = (
        "import sys; from anonymizer.pipeline.model_store import ModelStore; "
        "assert len(ModelStore().serves()) == 4; assert 'torch' not in sys.modules; assert 'onnx' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=FOLDER.parent)
