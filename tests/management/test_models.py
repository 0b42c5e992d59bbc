"""`anonymizer models`, as a user types it, and what `anonymizer serve` does with it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from anonymizer.management.commands import serve
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo import download, registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from tests.conftest import ROOT, free_port, serving
from tests.model_server import ModelServer, model_server
from tests.pictures import drawn, encoded
from tests.pipeline.detection.models.detr.made import made_file
from tests.pipeline.model_zoo.test_store import with_sum

OWN, BASE = "own-3.safetensors", "own-detector.safetensors"
#: the recommended models, in the order of the profile
IDS = ("yunet-n", "own-3", "y5fu-640", "y5fu-320", "d-fine-n", "own-masks", "own-2")
SMALL = ("dfine_n_coco.pth", "yunet_n_dynamic.onnx", "y5fu_640x_sim.onnx", "y5fu_320x_sim.onnx")


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """A models' folder as it is in a fresh clone, and the one that the settings name."""
    folder = tmp_path / "models"
    folder.mkdir()
    for each in ("registry.toml", OWN, BASE, "own-masks.safetensors"):
        shutil.copyfile(MODELS_FOLDER / each, folder / each)
    settings.MODELS_DIR = folder
    return folder


@pytest.fixture(scope="module")
def dfine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file as D-FINE's authors write it, with made weights."""
    return made_file("dfine_n", tmp_path_factory.mktemp("dfine") / "dfine_n_coco.pth", fainter=6).read_bytes()


def names(out: str) -> list[str]:
    """The models that the command names, from the lines that are not set in."""
    return [line.split(":")[0] for line in out.splitlines() if not line.startswith("  ")]


@pytest.fixture
def server(data: Path, dfine: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """Serves the recommended models; the folder's registry has the sum of the made one."""
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.01)
    (folder / "dfine_n_coco.pth").write_bytes(dfine)
    with_sum(folder, "d-fine-n", "dfine_n_coco.pth")
    (folder / "dfine_n_coco.pth").unlink()
    files = {each.name: each.read_bytes() for each in (data / "weights").iterdir()}
    with model_server(files | {"dfine_n_coco.pth": dfine}) as running:
        yield running


def models(*arguments: str) -> tuple[str, str, str]:
    """What the command says, and with what sentence it fails."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("models", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), err.getvalue(), str(error)
    return out.getvalue(), err.getvalue(), ""


def row(table: str, model_id: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"{model_id} "))


def test_the_list_says_what_there_is(folder: Path) -> None:
    (folder / "yunet_n_dynamic.onnx").write_bytes(b"half")

    table, _, error = models("list")

    assert error == ""
    assert (
        row(table, "own-3").split()
        == "own-3 license-plate, person, vehicle, face embedded, recommended installed 4.9 MB Apache-2.0".split()
    )
    assert "recommended" in row(table, "yunet-n")
    assert "damaged" in row(table, "yunet-n")
    assert row(table, "sam-vit-h").split() == "sam-vit-h masks - missing 2.4 GB Apache-2.0".split()


def test_the_list_tells_what_was_published_from_what_was_measured(folder: Path) -> None:
    lines = models("list")[0].splitlines()
    for model_id, published, measured in (
        ("rf-detr-seg-l", "mask AP 47.1 on COCO val2017 (Roboflow)", "nothing yet"),
        ("own-3", "nothing that can be compared", "AP50 plates .75"),
        ("yolox-nano", "AP 25.8 on COCO val2017 at 416 pixels (YOLOX authors)", "AP50 persons .868"),
    ):
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{model_id}: "))
        assert lines[at + 1] == f"  published: {published}"
        assert lines[at + 2].startswith(f"  measured here: {measured}")


def test_a_fetched_model_whose_package_is_not_installed_says_what_it_needs(
    folder: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "transformers" else find_spec(name))

    out, err, error = models("fetch", "d-fine-n", "--mirror", server.url)

    assert (err, error) == ("", "")
    assert out.splitlines()[-1] == '  needs: pip install "anonymizer[models]"'
    assert "needs transformers" in row(models("list")[0], "d-fine-n")
    assert "d-fine-n: unchanged" in models("verify")[0]
    for each in SMALL:
        (folder / each).write_bytes(server.files[each])
    store = ModelStore(folder, device="cpu")
    worker = {"models": {"person": ["own-3"]}, "loaded": {}, "device": "cpu"}
    assert serve._models_line(worker, store).endswith('; d-fine-n would need `pip install "anonymizer[models]"`)')


def test_fetch_brings_the_recommended_models(folder: Path, server: ModelServer) -> None:
    server.cuts = 1

    out, err, error = models("fetch", "--mirror", server.url)

    assert (err, error) == ("", "")
    assert tuple(names(out)) == IDS
    assert "  published: AP 42.8 on COCO val2017 (D-FINE authors)\n  measured here: " in out
    assert all((folder / each).is_file() for each in SMALL)
    assert len([wanted for _, wanted in server.asked if wanted]) == 1
    assert ModelStore(folder, device="cpu").serves()[ObjectType.FACE] == ("yunet-n", "own-3")
    again, _, _ = models("fetch", "recommended", "--mirror", server.url)
    assert [line for line in again.splitlines() if not line.startswith("  ")] == [
        f"{each}: already installed" for each in IDS
    ]
    assert len(server.asked) == 5


def test_each_failure_is_a_sentence_and_the_others_are_tried(folder: Path, server: ModelServer) -> None:
    del server.files["y5fu_640x_sim.onnx"]
    server.files["yunet_n_dynamic.onnx"] = b"\0" * 322906

    out, err, error = models("fetch", "--mirror", server.url)

    assert error == "2 of 7 model(s) could not be fetched."
    assert "yunet_n_dynamic.onnx has the sha256" in err
    assert "y5fu_640x_sim.onnx: the server answered 404" in err
    assert len(err.splitlines()) == 2
    assert names(out) == ["own-3", "y5fu-320", "d-fine-n", "own-masks", "own-2"]


def test_models_that_are_not_downloaded_say_where_they_come_from(folder: Path) -> None:
    assert models("fetch", "centerface")[0].startswith("centerface: already installed\n")
    (folder / OWN).unlink()
    (folder / BASE).unlink()
    _, err, error = models("fetch", "embedded")
    first, second, third = err.splitlines()
    assert first == f"own-3 cannot be downloaded ({OWN} is missing): run `git checkout models/{OWN}`."
    assert second.startswith(f"own-masks cannot be downloaded (its base model own-2: {BASE} is missing)")
    assert third == f"own-2 cannot be downloaded ({BASE} is missing): run `git checkout models/{BASE}`."
    assert error


def test_an_unknown_name_is_refused_with_those_there_are(folder: Path) -> None:
    _, _, error = models("fetch", "yunet-n", "nonesuch")
    assert error.startswith(
        "There is no profile or model 'nonesuch'. There are: profiles embedded, recommended, quality;"
    )
    assert "sam-vit-h" in error


def test_no_connection_is_given_up_at_once_where_time_is_short(folder: Path) -> None:
    started = time.monotonic()
    _, err, error = models("fetch", "--mirror", f"http://127.0.0.1:{free_port()}", "--seconds", "5")
    assert time.monotonic() - started < 3
    assert err.count("cannot be reached") == 1
    assert error == "No connection: the other models were not tried."


def test_a_first_sum_is_recorded_and_said(folder: Path, tmp_path: Path) -> None:
    from tests.pipeline.model_zoo.test_download import zipped

    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "ego_blur_face_gen2.zip").write_bytes(zipped(b"network"))

    out, _, error = models("fetch", "egoblur-face-gen2", "--mirror", str(mirror))

    assert error == ""
    assert "Its publisher gives no SHA-256 sum: the sum of this first fetch was recorded" in out
    assert "egoblur-face-gen2: unchanged" in models("verify")[0]
    (folder / "ego_blur_face_gen2.jit").write_bytes(b"changed")
    assert "its sha256 is not the one recorded at the first download" in models("verify")[1]


def test_verify_names_what_is_damaged(folder: Path) -> None:
    out, err, error = models("verify")
    assert (out.splitlines()[-1], err, error) == ("4 of 4 files are unchanged.", "", "")
    content = bytearray((folder / OWN).read_bytes())
    content[-1] ^= 1
    (folder / OWN).write_bytes(content)

    out, err, error = models("verify")

    assert "centerface: unchanged" in out
    assert err.startswith(f"own-3: {OWN} is damaged: its sha256 is not the registry's. Run `git checkout")
    assert error == "1 file(s) are damaged."


def test_where_names_each_path(folder: Path) -> None:
    out, _, _ = models("where")
    assert f"own-3: {folder / OWN}" in out.splitlines()
    assert f"yunet-n: {folder / 'yunet_n_dynamic.onnx'} (missing: anonymizer models fetch yunet-n)" in out


def test_the_exit_code_tells(folder: Path, server: ModelServer) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"ANONYMIZER_MODELS_DIR": str(folder), "ANONYMIZER_MODEL_MIRROR": server.url}
        command = [sys.executable, "manage.py", "models", *arguments]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)

    done = run("fetch", "yunet-n")
    assert done.returncode == 0, done.stderr
    assert (folder / "yunet_n_dynamic.onnx").is_file()
    done = run("fetch", "sam-vit-b")
    assert done.returncode == 1
    assert "sam_vit_b_01ec64.pth: the server answered 404" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("nonsense").returncode == 2


# --- serve ---


@pytest.mark.slow
def test_serve_brings_the_recommended_models_and_says_what_serves(folder: Path, server: ModelServer) -> None:
    place = {"ANONYMIZER_MODELS_DIR": str(folder), "ANONYMIZER_MODEL_MIRROR": server.url}
    with serving(folder.parent, "--fetch-seconds", "30", "--device", "cpu", **place) as service:
        line = next(line for line in service.log.splitlines() if line.startswith("Models:"))
        served = (
            "face yunet-n+own-3, license plate y5fu-640+y5fu-320+own-3, person d-fine-n, vehicle d-fine-n, "
            "masks own-masks"
        )
        assert line.startswith(f"Models: {served}")
        assert line.endswith("(on cpu)")
        worker, other = service.get("/readyz").json()["workers"]
        assert other["models"] == worker["models"]
        assert worker["models"]["license-plate"] == ["y5fu-640", "y5fu-320", "own-3"]
        assert worker["loaded"]["y5fu-320"] == "cpu"
        task = service.upload(encoded(drawn(320, 240))).json()
        assert set(task["models"]) - {"own-masks"} == set(IDS) - {"own-masks", "own-2"}


@pytest.mark.slow
def test_serve_goes_on_with_the_embedded_models_and_remembers_that_there_was_no_network(folder: Path) -> None:
    place = {
        "ANONYMIZER_MODELS_DIR": str(folder), "ANONYMIZER_MODEL_MIRROR": f"http://127.0.0.1:{free_port()}",
        "ANONYMIZER_FETCH_SECONDS": "5",
    }  # fmt: skip
    with serving(folder.parent, "--device", "cpu", **place) as service:
        assert "No connection" in service.log
        line = next(line for line in service.log.splitlines() if line.startswith("Models:"))
        assert line.startswith(
            "Models: face centerface+own-3, license plate own-3, person own-3, vehicle own-3, masks own-masks"
        )
        assert "embedded models; `anonymizer models fetch recommended` fetches better ones" in line
    assert (folder / ".fetch-failed").exists()


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that serve runs; each fails."""
    commands: list[list[str]] = []

    def run(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(serve.subprocess, "run", run)
    return commands


def test_a_try_that_failed_is_not_repeated_for_an_hour(folder: Path, tries: list[list[str]]) -> None:
    store = ModelStore(folder, device="cpu")
    for _ in range(2):
        serve._fetch_recommended(store, 5, {})
    assert len(tries) == 1
    assert tries[0][1:] == ["-m", "anonymizer", "models", "fetch", "recommended", "--seconds", "5"]

    hours_ago = time.time() - 2 * serve.RETRY_FETCH_S
    os.utime(folder / ".fetch-failed", (hours_ago, hours_ago))
    serve._fetch_recommended(store, 5, {})
    assert len(tries) == 2


def test_nothing_is_tried_where_nothing_would_come_of_it(
    folder: Path, server: ModelServer, tries: list[list[str]]
) -> None:
    serve._fetch_recommended(ModelStore(folder, device="cpu"), 0, {})
    for chosen in ("embedded", "quality"):
        serve._fetch_recommended(ModelStore(folder, device="cpu", models=chosen), 5, {})
    for each in SMALL:
        (folder / each).write_bytes(server.files[each])
    serve._fetch_recommended(ModelStore(folder, device="cpu"), 5, {})
    assert tries == []
