from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anonymizer import Anonymizer
from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo import registry
from anonymizer.pipeline.model_zoo.recorded import RecordedSums, write_recorded
from anonymizer.pipeline.model_zoo.registry import Registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Whole
from tests.pictures import drawn
from tests.pipeline.detection.models.detr.made import made_file

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
FILE = "own-3.safetensors"
#: the keys of calibrations in the registry, with a chance to tell them apart
KINDS = {"calibration": 0.9, "calibration-small": 0.7, "calibration-close": 0.8}
EMBEDDED = dict.fromkeys(OBJECT_TYPES, ("own-3",)) | {FACE: ("centerface", "own-3")}
RECOMMENDED = {
    FACE: ("yunet-n", "own-3"),
    PLATE: ("y5fu-640", "y5fu-320", "own-3"),
    PERSON: ("d-fine-n",),
    VEHICLE: ("d-fine-n",),
}
DFINE = "dfine_n_coco.pth"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models' folder as it is in a fresh clone."""
    folder = tmp_path / "models"
    folder.mkdir()
    for each in ("registry.toml", FILE, "own-detector.safetensors", "own-masks.safetensors"):
        shutil.copyfile(MODELS_FOLDER / each, folder / each)
    return folder


@pytest.fixture
def recommended(folder: Path, data: Path) -> Path:
    """With the recommended models."""
    for each in (data / "weights").iterdir():
        shutil.copyfile(each, folder / each.name)
    return with_dfine(folder)


def with_dfine(folder: Path) -> Path:
    """With a file as D-FINE's authors write it, but made weights, and its sum in the registry."""
    made_file("dfine_n", folder / DFINE, fainter=6)
    return with_sum(folder, "d-fine-n", DFINE)


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
    assert "git checkout models/own-3.safetensors" in str(error.value)
    assert store.serves() == {FACE: ("centerface",)}
    (problem,) = store.problems()
    assert FILE in problem


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
    store = ModelStore(with_sum(folder, "own-3", FILE), device="cpu")

    assert PLATE in store.serves()
    with pytest.raises(DetectorFailed, match="own-3"):
        store.detectors([PLATE])


def test_a_whole_file_that_holds_no_weights_gives_no_result(folder: Path) -> None:
    (folder / FILE).write_bytes(b"not weights")

    with pytest.raises(DetectorFailed, match="own-3"):
        ModelStore(with_sum(folder, "own-3", FILE), device="cpu").detectors([PLATE])


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

    assert [each.id for each in first] == ["centerface", "own-3"]
    assert second[0] is first[1]
    assert store.loaded() == {"centerface": "cpu", "own-3": "cpu"}


def test_a_detector_may_be_had_by_its_id(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu", models="embedded")
    assert store.detector("yunet-n").id == "yunet-n"
    for name in ("nonesuch", "sam-vit-b"):
        with pytest.raises(DetectorFailed, match=f"no detector '{name}'; there are centerface, own-3,"):
            store.detector(name)
    with pytest.raises(ModelMissing, match="models fetch maskrcnn-resnet50-v2"):
        store.detector("maskrcnn-resnet50-v2")


def test_a_model_must_call_itself_what_the_registry_calls_it(folder: Path) -> None:
    text = exchanged('id = "centerface"', 'id = "face-9"')
    (folder / "registry.toml").write_text(exchanged('face = ["centerface"', 'face = ["face-9"', text))
    with pytest.raises(DetectorFailed, match="face-9 calls itself centerface"):
        ModelStore(folder, device="cpu").detectors([FACE])


def test_the_own_detector_calls_itself_what_the_registry_calls_it(folder: Path) -> None:
    (folder / "registry.toml").write_text(exchanged('"own-3"', '"own-9"'))
    (detector,) = ModelStore(folder, device="cpu").detectors([PLATE])
    assert detector.id == "own-9"


def test_the_recommended_models_serve_once_they_are_there(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu")

    assert store.serves() == RECOMMENDED
    assert ModelStore(recommended, device="cpu", models="embedded").serves() == EMBEDDED
    assert store.unusable_models("recommended") == []


def test_auto_takes_a_profile_only_where_all_of_it_is_whole(recommended: Path) -> None:
    (recommended / "y5fu_320x_sim.onnx").unlink()
    (recommended / DFINE).write_bytes(b"damaged")

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
    (folder / "rf-detr-seg-large.pt").write_bytes(b"weights")
    write_recorded(folder, "rf-detr-seg-l", RecordedSums(hashlib.sha256(b"weights").hexdigest()))

    assert ModelStore(folder, device="cpu").serves()[PERSON] == ("own-3",)
    monkeypatch.setattr(ModelStore, "device", "cuda:0")
    serves = ModelStore(folder).serves()
    assert (serves[PERSON], serves[PLATE]) == (("rf-detr-seg-l",), ("own-3",))


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the library transformers is not installed."""
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "transformers" else find_spec(name))


@pytest.mark.usefixtures("without_extra")
def test_a_model_whose_package_is_not_installed_is_named_with_the_command(recommended: Path) -> None:
    store = ModelStore(recommended, device="cpu", models="recommended")

    command = r'Run `pip install "anonymizer\[models\]" && anonymizer models fetch d-fine-n`'
    with pytest.raises(ModelMissing, match=rf"serves person \(the package transformers is not installed\)\. {command}"):
        store.require([PERSON])
    with pytest.raises(ModelMissing, match=f"d-fine-n cannot be used .*{command}"):
        store.detector("d-fine-n")
    assert [entry.id for entry in store.unusable_models("recommended")] == ["d-fine-n"]
    # its file is as it should be
    assert store.incomplete_models("recommended") == []


@pytest.mark.usefixtures("without_extra")
def test_auto_takes_other_models_where_a_package_is_not_installed(recommended: Path) -> None:
    assert ModelStore(recommended, device="cpu").serves() == RECOMMENDED | {PERSON: ("own-3",), VEHICLE: ("own-3",)}


def test_an_authors_file_finds_persons_and_vehicles_through_the_library(folder: Path) -> None:
    store = ModelStore(with_dfine(folder), device="cpu", models="person=d-fine-n,vehicle=d-fine-n")
    (found,) = Anonymizer(store=store).engine.detect([np.asarray(drawn(320, 240))], [PERSON, VEHICLE], Whole())
    assert set(found.models) <= {"d-fine-n"}
    assert store.loaded() == {"d-fine-n": "cpu"}


@pytest.mark.parametrize(
    ("models", "changed"),
    [
        ("auto", {}),
        ("embedded", {}),
        ("face=own-3", {FACE: ("own-3",)}),
        ("embedded, face=own-3", {FACE: ("own-3",)}),
        ("auto,license-plate=y5fu-320+own-3,face=yunet-n", {PLATE: ("y5fu-320", "own-3"), FACE: ("yunet-n",)}),
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
            if entry.id == "d-fine-n" and entry.id in needed:
                with_dfine(folder)
            elif entry.id in needed and entry.url:
                shutil.copyfile(data / "weights" / entry.file, folder / entry.file)

    assert ModelStore(folder, device="cpu", models=models).serves() == usual | changed


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ("", "must be one of auto, embedded, recommended, quality"),
        ("best", "no profile 'best'"),
        ("face=nonesuch", "face may be served by centerface, own-3, own-2, yunet-n, .* not by 'nonesuch'"),
        ("person=yunet-n", "person may be served by own-3, own-2, d-fine-n, .* not by 'yunet-n'"),
        ("auto,face=", "not by ''"),
        ("head=own-3", "'head' is none of face, license-plate, person, vehicle, masks"),
        ("embedded,recommended", "'recommended' is none of"),
        ("person=sam-vit-b", "not by 'sam-vit-b'"),
        ("masks=own-3", "masks may be served by .*sam-vit-b, sam-vit-h, not by 'own-3'"),
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
        exchanged('extra = "models"', 'extra = "more"'),
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
        measured = [entry for entry in registry.entries(profile, each) if "AP50" in (entry.measured or "")]
        assert all(each in entry.calibrations.whole for entry in measured)
        assert measured or profile == "recommended"


def test_every_model_of_the_registry_is_described() -> None:
    for each in Registry.read(MODELS_FOLDER / "registry.toml").models.values():
        assert each.description
        # figures are either published or measured
        assert not re.search(r"\d\.\d| \.\d|\bms\b|AP|measured|published", each.description)
        assert each.published is None or re.search(r"\((.* authors|torchvision|Roboflow)\)$", each.published)
        assert each.licence
        assert each.source
        assert each.input
        assert each.package or each.url or (MODELS_FOLDER / each.file).is_file()


def test_kept_detections_depend_on_the_models_sum_and_calibration(folder: Path) -> None:
    edited(folder, "own-3", "", "calibration-small")
    before = ModelStore(folder, models="face=centerface").keys([PLATE, FACE])
    another(folder)
    replaced = ModelStore(with_sum(folder, "own-3", FILE), models="face=centerface").keys([PLATE, FACE])
    edited(folder, "own-3", "calibration = { license-plate = [[0.1, 0.2], [0.6, 0.9]] }", "calibration")
    calibrated = ModelStore(folder, models="face=centerface").keys([PLATE, FACE])

    assert calibrated["license-plate"].endswith(",miss-cost=4")
    small = "calibration-small = { license-plate = [[0.1, 0.1], [0.6, 0.8]] }"
    edited(folder, "own-3", f"calibration = {{ license-plate = [[0.1, 0.2], [0.6, 0.9]] }}\n{small}", "calibration")
    with_small = ModelStore(folder, models="face=centerface").keys([PLATE])
    text = (folder / "registry.toml").read_text()
    (folder / "registry.toml").write_text(exchanged("miss-cost = 4", "miss-cost = 1.5", text))
    weighted = ModelStore(folder, models="face=centerface").keys([PLATE])

    states = (before, replaced, calibrated, with_small, weighted)
    assert len({each["license-plate"] for each in states}) == 5
    assert before["face"] == replaced["face"] == calibrated["face"]


def test_two_models_of_a_type_are_both_in_its_key(recommended: Path) -> None:
    key = ModelStore(recommended, device="cpu", models="license-plate=y5fu-640+y5fu-320").keys([PLATE])["license-plate"]
    first, second = key.split("+")
    assert first.startswith("y5fu-640@0306de937471b87f~")
    assert second.startswith("y5fu-320@2a985dc63a5cc947~")


def test_a_calibration_is_read_by_model_kind_and_type(folder: Path) -> None:
    for name in ("calibration-close", "calibration-small"):
        edited(folder, "own-3", "", name)
    lines = [f"{name} = {{ license-plate = [[0.1, 0.2], [0.6, {chance}]] }}" for name, chance in KINDS.items()]
    edited(folder, "own-3", "\n".join(lines), "calibration")
    store = ModelStore(folder)

    assert store.calibrations("maskrcnn-resnet50-v2") == Calibrations()
    read = store.calibrations("own-3")
    assert [maps[PLATE].knots[1][1] for maps in (read.whole, read.small, read.close)] == list(KINDS.values())


@pytest.mark.parametrize("models", ["embedded", "embedded,plate", "mine", "mine,plate", "bare", "auto", "auto,plate"])
def test_the_cost_of_a_miss_is_that_of_the_profile_whatever_models_serve(folder: Path, models: str) -> None:
    text = exchanged("miss-cost = 4", "miss-cost = 3")
    (folder / "registry.toml").write_text(text)
    (folder / "registry.local.toml").write_text(
        '[profiles.mine]\nlicense-plate = ["own-3"]\nmiss-cost = 2.5\n[profiles.bare]\nlicense-plate = ["own-3"]\n'
    )
    store = ModelStore(folder, device="cpu", models=models.replace("plate", "license-plate=own-3"))
    expected = {"embedded": 3.0, "mine": 2.5, "bare": 1.0, "auto": 3.0}[models.split(",")[0]]
    assert store.miss_cost(PLATE) == expected
    assert store.keys([PLATE])["license-plate"].endswith(f",miss-cost={expected:g}") == (expected != 1)


def test_each_type_has_the_cost_of_the_profile_that_auto_takes_for_it(recommended: Path) -> None:
    text = (recommended / "registry.toml").read_text()
    for cost in (3, 2):
        # the last one first: quality stays at 4, recommended gets 3, embedded 2
        head, tail = text.rsplit("[profiles.quality]", 1)
        at = head.rindex("miss-cost = 4")
        text = f"{head[:at]}miss-cost = {cost}{head[at + 13 :]}[profiles.quality]{tail}"
    (recommended / "registry.toml").write_text(text)
    (recommended / "yunet_n_dynamic.onnx").unlink()
    store = ModelStore(recommended, device="cpu")
    assert (store.miss_cost(FACE), store.miss_cost(PLATE)) == (2, 3)


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
