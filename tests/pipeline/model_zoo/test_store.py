from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo.registry import Registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Whole
from tests.pictures import drawn

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
FILE = "own-detector.safetensors"
EMBEDDED = dict.fromkeys(OBJECT_TYPES, ("own-2",)) | {FACE: ("centerface", "own-2")}
RECOMMENDED = {
    FACE: ("yunet-n", "own-2"),
    PLATE: ("y5fu-640", "y5fu-320", "own-2"),
    PERSON: ("yolox-nano", "own-2"),
    VEHICLE: ("yolox-nano", "own-2"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models' folder as it is in a fresh clone."""
    folder = tmp_path / "models"
    folder.mkdir()
    for each in ("registry.toml", FILE, "own-masks.safetensors"):
        shutil.copyfile(MODELS_FOLDER / each, folder / each)
    return folder


@pytest.fixture
def recommended(folder: Path, data: Path) -> Path:
    """With the recommended models."""
    for each in (data / "weights").iterdir():
        shutil.copyfile(each, folder / each.name)
    return folder


def exchanged(old: str, new: str, text: str = (MODELS_FOLDER / "registry.toml").read_text()) -> str:
    """The registry with something else in the place of what is surely there."""
    assert old in text
    return text.replace(old, new)


def edited(folder: Path, model_id: str, line: str, name: str = "sha256") -> Path:
    """Another line in the place of a model's `sha256`, or of another field, in the registry."""
    registry = folder / "registry.toml"
    before, after = registry.read_text().split(f'id = "{model_id}"\n')
    row, *others = after.split("[[model]]")
    row, found = re.subn(rf"^{name} = .*$", line, row, count=1, flags=re.MULTILINE)
    assert found, f"{model_id} has no {name}"
    registry.write_text(f'{before}id = "{model_id}"\n{"[[model]]".join([row, *others])}')
    return folder


def with_sum(folder: Path, model_id: str, file: str) -> Path:
    """The registry's sum (and no size) becomes that of the file which is there."""
    edited(folder, model_id, f'sha256 = "{hashlib.sha256((folder / file).read_bytes()).hexdigest()}"')
    return edited(folder, model_id, "", "size") if file != FILE else folder


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
def test_a_harmed_file_is_named_with_its_remedy(folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder)
    store = ModelStore(folder, device="cpu", models="embedded,face=centerface")

    with pytest.raises(ModelMissing) as error:
        store.detectors([FACE, PLATE])

    assert "license plate" in str(error.value)
    assert "git checkout models/own-detector.safetensors" in str(error.value)
    assert store.serves() == {FACE: ("centerface",)}
    # the masks stand on it
    assert len(store.problems()) == 2
    assert all(FILE in each for each in store.problems())


def test_a_type_is_not_served_by_half_of_its_models(folder: Path) -> None:
    missing(folder)
    assert ModelStore(folder, device="cpu").serves() == {}


def test_a_harmed_file_of_one_type_leaves_the_others(folder: Path) -> None:
    missing(folder)

    (detector,) = ModelStore(folder, device="cpu", models="face=centerface").detectors([FACE])

    assert detector.id == "centerface"


def test_a_file_that_was_mended_serves(folder: Path) -> None:
    truncated(folder)
    store = ModelStore(folder, device="cpu")
    assert PLATE not in store.serves()
    shutil.copyfile(MODELS_FOLDER / FILE, folder / FILE)
    assert PLATE in store.serves()


def test_a_whole_file_of_another_architecture_gives_no_result(folder: Path) -> None:
    save_file(torch.nn.Linear(3, 3).state_dict(), folder / FILE)
    store = ModelStore(with_sum(folder, "own-2", FILE), device="cpu")

    assert PLATE in store.serves()
    with pytest.raises(DetectorFailed, match="own-2"):
        store.detectors([PLATE])


def test_a_whole_file_that_holds_no_weights_gives_no_result(folder: Path) -> None:
    (folder / FILE).write_bytes(b"not weights")

    with pytest.raises(DetectorFailed, match="own-2"):
        ModelStore(with_sum(folder, "own-2", FILE), device="cpu").detectors([PLATE])


@pytest.mark.parametrize(
    ("model_id", "object_type", "file", "other"),
    [
        ("yolox-nano", PERSON, "yolox_nano.onnx", "yunet_n_dynamic.onnx"),
        ("yunet-n", FACE, "yunet_n_dynamic.onnx", "y5fu_320x_sim.onnx"),
        ("y5fu-640", PLATE, "y5fu_640x_sim.onnx", "yolox_nano.onnx"),
    ],
)
def test_another_network_under_a_models_name_gives_no_result(
    recommended: Path, model_id: str, object_type: ObjectType, file: str, other: str
) -> None:
    shutil.copyfile(recommended / other, recommended / file)
    store = ModelStore(recommended, device="cpu", models=f"{object_type}={model_id}")
    assert object_type not in store.serves()

    store = ModelStore(with_sum(recommended, model_id, file), device="cpu", models=f"{object_type}={model_id}")
    assert object_type in store.serves()
    with pytest.raises(DetectorFailed, match=model_id):
        Anonymizer(store=store).engine.detect([np.asarray(drawn(320, 240))], [object_type], Whole())


def test_every_type_is_served_as_installed(folder: Path) -> None:
    store = ModelStore(folder, device="cpu")

    assert store.problems() == []
    assert store.serves() == EMBEDDED


def test_each_model_is_loaded_once(folder: Path) -> None:
    store = ModelStore(folder, device="cpu")
    assert store.loaded() == {}

    first, second = store.detectors(OBJECT_TYPES), store.detectors([PLATE])

    assert [each.id for each in first] == ["centerface", "own-2"]
    assert second[0] is first[1]
    assert store.loaded() == {"centerface": "cpu", "own-2": "cpu"}


def test_a_detector_may_be_had_by_its_id(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu", models="embedded")
    assert store.detector("yunet-n").id == "yunet-n"
    for name in ("nonesuch", "sam-vit-b"):
        with pytest.raises(DetectorFailed, match=f"no detector '{name}'; there are centerface, own-2,"):
            store.detector(name)
    with pytest.raises(ModelMissing, match="models fetch maskrcnn-resnet50-v2"):
        store.detector("maskrcnn-resnet50-v2")


def test_a_model_must_call_itself_what_the_registry_calls_it(folder: Path) -> None:
    text = exchanged('id = "centerface"', 'id = "face-9"')
    (folder / "registry.toml").write_text(exchanged('face = ["centerface"', 'face = ["face-9"', text))
    with pytest.raises(DetectorFailed, match="face-9 calls itself centerface"):
        ModelStore(folder, device="cpu").detectors([FACE])


def test_the_own_detector_calls_itself_what_the_registry_calls_it(folder: Path) -> None:
    (folder / "registry.toml").write_text(exchanged('"own-2"', '"own-9"'))
    (detector,) = ModelStore(folder, device="cpu").detectors([PLATE])
    assert detector.id == "own-9"


def test_the_recommended_models_serve_once_they_are_there(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu")

    assert store.serves() == RECOMMENDED
    assert ModelStore(recommended, device="cpu", models="embedded").serves() == EMBEDDED
    assert store.unusable_models("recommended") == []


def test_auto_takes_a_profile_only_where_all_of_it_is_whole(recommended: Path) -> None:
    (recommended / "y5fu_320x_sim.onnx").unlink()
    (recommended / "yolox_nano.onnx").write_bytes(b"x" * 3660092)

    serves = ModelStore(recommended, device="cpu").serves()

    assert serves == EMBEDDED | {FACE: RECOMMENDED[FACE]}


def test_a_choice_is_made_once(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu")
    kept = store.keys([FACE])
    (recommended / "yunet_n_dynamic.onnx").unlink()
    # what was whole may be loaded: another model in its place would give results under the keys of this one
    assert store.keys([FACE]) == kept
    with pytest.raises(ModelMissing, match=r"yunet_n_dynamic\.onnx is missing.*models fetch yunet-n"):
        ModelStore(recommended, device="cpu", models="recommended").require([FACE])


def test_quality_is_taken_on_a_gpu_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"
    (folder / file).write_bytes(b"weights")
    with_sum(folder, "maskrcnn-resnet50-v2", file)

    assert ModelStore(folder, device="cpu").serves()[PERSON] == ("own-2",)
    monkeypatch.setattr(ModelStore, "device", "cuda:0")
    serves = ModelStore(folder).serves()
    assert (serves[PERSON], serves[PLATE]) == (("maskrcnn-resnet50-v2",), ("own-2",))


@pytest.mark.parametrize(
    ("models", "changed"),
    [
        ("auto", {}),
        ("embedded", {}),
        ("face=own-2", {FACE: ("own-2",)}),
        ("embedded, face=own-2", {FACE: ("own-2",)}),
        ("auto,license-plate=y5fu-320+own-2,face=yunet-n", {PLATE: ("y5fu-320", "own-2"), FACE: ("yunet-n",)}),
        ("recommended", RECOMMENDED),
        ("recommended,face=centerface", RECOMMENDED | {FACE: ("centerface",)}),
    ],
)
def test_models_may_be_chosen(
    folder: Path, data: Path, models: str, changed: dict[ObjectType, tuple[str, ...]]
) -> None:
    usual = ModelStore(folder, device="cpu").serves()
    if set(changed) - {FACE} or models == "auto":
        needed = {each for ids in changed.values() for each in ids}
        for entry in Registry.read(folder / "registry.toml").models.values():
            if entry.id in needed and entry.url:
                shutil.copyfile(data / "weights" / entry.file, folder / entry.file)

    assert ModelStore(folder, device="cpu", models=models).serves() == usual | changed


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ("", "must be one of auto, embedded, recommended, quality"),
        ("best", "no profile 'best'"),
        ("face=nonesuch", "face may be served by centerface, own-2, yunet-n, .* not by 'nonesuch'"),
        ("person=yunet-n", "person may be served by own-2, yolox-nano, .* not by 'yunet-n'"),
        ("auto,face=", "not by ''"),
        ("head=own-2", "'head' is none of face, license-plate, person, vehicle, masks"),
        ("embedded,recommended", "'recommended' is none of"),
        ("person=sam-vit-b", "not by 'sam-vit-b'"),
        ("masks=own-2", "masks may be served by .*sam-vit-b, sam-vit-h, not by 'own-2'"),
        ("masks=sam-vit-b+sam-vit-h", "masks are made by one model, not by 2"),
    ],
)
def test_a_bad_choice_is_refused_with_what_is_allowed(models: str, sentence: str) -> None:
    with pytest.raises(DetectorFailed, match=sentence) as error:
        ModelStore(models=models)
    assert f"ANONYMIZER_MODELS) is {models!r}" in str(error.value)


def test_a_device_that_is_not_there_gives_no_result(folder: Path) -> None:
    with pytest.raises(DetectorFailed, match="cuda:99"):
        ModelStore(folder, device="cuda:99").detectors([PLATE])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[model]]\nid = 1",
        "not toml",
        '[[model]]\nid = "a"\nobject_types = ["cat"]',
        exchanged('loader = "own"', 'loader = "another"'),
        exchanged('face = ["centerface"', 'face = ["nonesuch"'),
        (MODELS_FOLDER / "registry.toml").read_text() + 'calibration.face = [[0.1, 0.5]]',
        (MODELS_FOLDER / "registry.toml").read_text() + 'base = "nonesuch"',
    ],
)  # fmt: skip
def test_a_registry_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.toml").write_text(text)

    with pytest.raises(DetectorFailed, match=r"registry\.toml"):
        ModelStore(tmp_path)


@pytest.mark.parametrize("profile", ["embedded", "recommended"])
def test_every_score_of_a_profile_that_was_measured_is_calibrated(profile: str) -> None:
    registry = Registry.read(MODELS_FOLDER / "registry.toml")
    for each in OBJECT_TYPES:
        assert registry.entries(profile, each)
        assert all(each in entry.calibration for entry in registry.entries(profile, each))


def test_every_model_of_the_registry_is_described() -> None:
    for each in Registry.read(MODELS_FOLDER / "registry.toml").models.values():
        assert each.description
        assert each.licence
        assert each.source
        assert each.input
        assert each.package or each.url or (MODELS_FOLDER / each.file).is_file()


def test_kept_detections_depend_on_the_models_sum_and_calibration(folder: Path) -> None:
    before = ModelStore(folder, models="face=centerface").keys([PLATE, FACE])
    another(folder)
    replaced = ModelStore(with_sum(folder, "own-2", FILE), models="face=centerface").keys([PLATE, FACE])
    edited(folder, "own-2", "calibration = { license-plate = [[0.1, 0.2], [0.6, 0.9]] }", "calibration")
    calibrated = ModelStore(folder, models="face=centerface").keys([PLATE, FACE])

    assert len({each["license-plate"] for each in (before, replaced, calibrated)}) == 3
    assert before["face"] == replaced["face"] == calibrated["face"]


def test_two_models_of_a_type_are_both_in_its_key(recommended: Path) -> None:
    key = ModelStore(recommended, device="cpu", models="license-plate=y5fu-640+y5fu-320").keys([PLATE])["license-plate"]
    first, second = key.split("+")
    assert first.startswith("y5fu-640@0306de937471b87f~")
    assert second.startswith("y5fu-320@2a985dc63a5cc947~")


def test_a_calibration_is_read_by_model_and_type(folder: Path) -> None:
    edited(folder, "own-2", "calibration = { license-plate = [[0.1, 0.2], [0.6, 0.9]] }", "calibration")
    store = ModelStore(folder)

    assert store.calibration("maskrcnn-resnet50-v2") == {}
    assert store.calibration("own-2")[PLATE].knots == ((0.1, 0.2), (0.6, 0.9))


def test_no_mask_model_is_no_error_unless_it_was_asked_for(folder: Path) -> None:
    assert ModelStore(folder, device="cpu", models="quality").segmenter() is None
    with pytest.raises(ModelMissing, match="sam-vit-h cannot be used"):
        ModelStore(folder, device="cpu", models="masks=sam-vit-h").segmenter()


def test_a_damaged_mask_model_gives_no_result(folder: Path) -> None:
    (folder / "sam_vit_b_01ec64.pth").write_bytes(b"half")
    with pytest.raises(ModelMissing, match="damaged: it has 4 bytes, not 375042383"):
        ModelStore(folder, device="cpu", models="quality").segmenter()


def test_a_file_of_which_no_sum_is_known_is_not_loaded(folder: Path) -> None:
    (folder / "ego_blur_face_gen2.jit").write_bytes(b"network")
    store = ModelStore(folder, device="cpu", models="face=egoblur-face-gen2")
    assert FACE not in store.serves()
    assert "was not downloaded by `models fetch`" in store.problems()[0]
    digest = hashlib.sha256(b"network").hexdigest()
    (folder / "recorded.toml").write_text(f'[egoblur-face-gen2]\nfile = "{digest}"\n')
    store = ModelStore(folder, device="cpu", models="face=egoblur-face-gen2")
    assert store.serves()[FACE] == ("egoblur-face-gen2",)
    (folder / "ego_blur_face_gen2.jit").write_bytes(b"another")
    store = ModelStore(folder, device="cpu", models="face=egoblur-face-gen2")
    assert "its sha256 is not the one recorded at the first download" in store.problems()[0]
    (folder / "recorded.toml").write_text("nonsense")
    with pytest.raises(DetectorFailed, match=r"recorded\.toml cannot be read"):
        ModelStore(folder, device="cpu", models="face=egoblur-face-gen2").serves()


def test_asking_what_is_served_loads_no_torch() -> None:
    code = (
        "import sys; from anonymizer.pipeline.model_zoo.store import ModelStore; "
        "assert len(ModelStore().serves()) == 4; assert 'torch' not in sys.modules; assert 'onnx' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=MODELS_FOLDER.parent)
