"""`registry.local.toml`: models and profiles of a user's own, on top of the project's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed, ModelMissing
from anonymizer.pipeline.model_zoo.registry import Registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore

FACE = ObjectType.FACE
MODEL = """
[[model]]
id = "mine"
description = "ours"
object_types = ["face"]
loader = "own"
file = "mine.safetensors"
sha256 = "00"
licence = "ours"
source = "us"
input = "RGB"
"""


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """The user's file beside the project's; not there yet."""
    shutil.copyfile(MODELS_FOLDER / "registry.toml", tmp_path / "registry.toml")
    return tmp_path / "registry.local.toml"


def test_its_models_come_on_top_of_the_projects(local: Path) -> None:
    project = Registry.read(local.with_name("registry.toml"))
    local.write_text(MODEL)

    both = Registry.read(local.with_name("registry.toml"))

    assert list(both.models) == [*project.models, "mine"]
    assert both.models["mine"].registry == "registry.local.toml"
    assert both.models["own-2"].registry == "registry.toml"
    assert both.profiles == project.profiles


def test_its_profiles_may_name_models_of_both(local: Path) -> None:
    local.write_text('[profiles.mine]\nface = ["mine", "own-2"]\n' + MODEL)
    store = ModelStore(local.parent, models="mine")
    assert [entry.id for entry in store.entries_for([FACE])] == ["mine", "own-2"]


def test_a_missing_file_of_a_users_own_is_for_the_user_to_bring(local: Path) -> None:
    local.write_text(MODEL)
    store = ModelStore(local.parent, models="face=mine")
    with pytest.raises(ModelMissing, match=r"mine\.safetensors is missing.*`cp YOUR-COPY models/mine\.safetensors`"):
        store.require([FACE])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MODEL.replace('"mine"', '"own-2"'), "there is another model 'own-2', in registry.toml"),
        (MODEL + MODEL, "there is another model 'mine', in registry.local.toml"),
        ('[profiles.embedded]\nface = ["own-2"]\n', "there is another profile 'embedded', in registry.toml"),
        ("[profiles.embeded]\nmiss-cost = 2\n", "profile embeded names no model"),
        ("[profiles.embedded]\nmiss_cost = 2\n", "profile embedded: 'miss_cost' is none of face, .*, miss-cost"),
        *(
            (
                f"[profiles.embedded]\nmiss-cost = {value}\n",
                f"profile embedded: miss-cost is {shown}, but must be a number from 1 up",
            )
            for value, shown in (
                ("0.5", "0.5"),
                ("'4'", "'4'"),
                ("true", "True"),
                ("inf", "inf"),
                ("nan", "nan"),
                ("[4]", r"\[4\]"),
            )
        ),
        ('[profiles.mine]\nface = ["mine"]\n', "face may be served by .* not by 'mine'"),
        (MODEL.replace('loader = "own"', 'loader = "mine"'), "mine has the loader 'mine'; known are"),
        ("not toml", "Expected"),
    ],
)
def test_what_it_contradicts_is_named_with_the_file(local: Path, text: str, sentence: str) -> None:
    local.write_text(text)
    with pytest.raises(DetectorFailed, match=rf"registry\.local\.toml cannot be read: .*{sentence}"):
        ModelStore(local.parent)


def test_a_cost_of_misses_alone_changes_that_of_a_profile_of_the_project(local: Path) -> None:
    local.write_text("[profiles.embedded]\nmiss-cost = 8\n")
    before, after = (
        Registry.read(local.with_name("registry.toml"), local.with_name("none")),
        Registry.of_folder(local.parent),
    )
    assert (before.miss_cost("embedded"), after.miss_cost("embedded")) == (4, 8)
    assert after.profiles == before.profiles


def test_an_empty_file_changes_nothing(local: Path) -> None:
    before = Registry.read(local.with_name("registry.toml"))
    local.write_text("# nothing yet\n")
    assert Registry.read(local.with_name("registry.toml")) == before


def test_git_ignores_what_is_the_users(tmp_path: Path) -> None:
    ours = ["registry.toml", "own-3.safetensors", "own-detector.safetensors", "own-masks.safetensors"]
    users = ["registry.local.toml", "my-detector-0123456789ab.safetensors"]
    shutil.copyfile(MODELS_FOLDER / ".gitignore", tmp_path / ".gitignore")
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=60)

    done = subprocess.run(
        ["git", "check-ignore", *ours, *users], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == users
