"""Where models are found: in a folder that is given, in a checkout, and in an installed package."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo import download
from anonymizer.pipeline.model_zoo.download import FetchFailed, fetch
from anonymizer.pipeline.model_zoo.folders import MODELS_FOLDER, VARIABLE
from anonymizer.pipeline.model_zoo.registry import LOCAL
from anonymizer.pipeline.model_zoo.store import ModelStore
from tests.model_server import model_server

OWN = "own-3.safetensors"
FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An empty folder for models."""
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of packages with a copy of ours and its models, as `pip install` leaves it."""
    packages = tmp_path / "packages"
    shutil.copytree(
        Path(anonymizer.__file__).parent, packages / "anonymizer", ignore=shutil.ignore_patterns("__pycache__")
    )
    models = packages / "anonymizer" / "model_files"
    models.mkdir(exist_ok=True)
    for name in ("registry.toml", OWN, "own-detector.safetensors", "own-masks.safetensors"):
        (models / name).unlink(missing_ok=True)
        (models / name).symlink_to(MODELS_FOLDER / name)
    return packages


def run_installed(packages: Path, code: str, **variables: str) -> str:
    """What a script prints that imports the installed package."""
    start = (
        "from anonymizer.pipeline.detections import ObjectType; from anonymizer.pipeline.model_zoo import folders; "
        "from anonymizer.pipeline.model_zoo.store import ModelStore; "
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env=environment | {"PYTHONPATH": str(packages)} | variables,
        cwd=packages.parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_empty_folder_uses_the_models_that_come_with_the_project(volume: Path) -> None:
    store = ModelStore(volume, device="cpu", models="embedded")

    assert store.folder == volume
    assert store.problems() == []
    assert set(store.serves()) == {*OBJECT_TYPES}
    assert store.registry.models["own-3"].path(volume) == MODELS_FOLDER / OWN
    assert store.segmenter() is not None


def test_a_file_in_the_folder_comes_before_the_projects(volume: Path) -> None:
    (volume / OWN).write_bytes(b"half a download")

    with pytest.raises(ModelMissing, match=f"{OWN} is damaged"):
        ModelStore(volume, device="cpu", models="embedded").require([PLATE])


def test_a_folder_with_a_registry_of_its_own_uses_no_other_files(volume: Path) -> None:
    shutil.copyfile(MODELS_FOLDER / "registry.toml", volume / "registry.toml")

    with pytest.raises(ModelMissing, match=f"{OWN} is missing"):
        ModelStore(volume, device="cpu", models="embedded").require([PLATE])


def test_the_users_registry_may_lie_in_a_folder_without_the_projects(volume: Path) -> None:
    (volume / LOCAL).write_text('[profiles.mine]\nface = ["own-3"]\n')
    assert ModelStore(volume, device="cpu", models="mine").serves() == {FACE: ("own-3",)}
    (volume / LOCAL).write_text("not toml")
    with pytest.raises(DetectorFailed, match=r"registry\.local\.toml cannot be read"):
        ModelStore(volume)


def test_downloads_go_into_the_folder_that_is_given(volume: Path, data: Path) -> None:
    file = "yunet_n_dynamic.onnx"
    entry = ModelStore(volume).registry.models["yunet-n"]
    with model_server({file: (data / "weights" / file).read_bytes()}) as server:
        fetched = fetch(entry, volume, mirror=server.url)

    assert fetched.path == volume / file
    assert ModelStore(volume, device="cpu", models="face=yunet-n").serves()[FACE] == ("yunet-n",)


def test_the_variable_names_the_folder_of_the_library(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(volume))
    assert ModelStore().folder == volume
    assert ModelStore(MODELS_FOLDER).folder == MODELS_FOLDER
    monkeypatch.setenv(VARIABLE, "")
    assert ModelStore().folder == MODELS_FOLDER


def test_an_installed_package_has_its_models(installed: Path) -> None:
    code = (
        "store = ModelStore(device='cpu', models='embedded'); print(store.folder); print(len(store.serves()));"
        "print(store.registry.models['own-3'].install_command)"
    )

    lines = run_installed(installed, code).splitlines()

    assert lines == [str(installed / "anonymizer" / "model_files"), "4", "pip install --force-reinstall anonymizer"]


def test_another_packages_folder_of_the_same_name_is_not_ours(installed: Path) -> None:
    (installed / "models").mkdir()
    (installed / "models" / "__init__.py").touch()

    assert run_installed(installed, "print(folders.MODELS_FOLDER.name)") == "model_files"


def test_an_installed_package_takes_the_folder_of_the_variable(installed: Path, volume: Path) -> None:
    code = "store = ModelStore(device='cpu', models='embedded'); print(store.folder); print(len(store.serves()))"

    lines = run_installed(installed, code, **{VARIABLE: str(volume)}).splitlines()

    assert lines == [str(volume), "4"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_default_folder_that_is_not_writable_is_named_with_the_variable(
    volume: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(download, "_locked", refuse)
    entry = ModelStore(volume).registry.models["yunet-n"]

    with pytest.raises(FetchFailed, match=f"{volume} is not writable\\.$"):
        fetch(entry, volume)
    with pytest.raises(FetchFailed, match=f"is not writable. Set {VARIABLE} to a writable folder"):
        fetch(entry, MODELS_FOLDER)
