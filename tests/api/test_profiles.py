"""Threshold profiles over real HTTP: another process makes them, and the next request has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, serving
from tests.pictures import encoded

#: thresholds that are set by hand are not proven
ACCEPT = "--accept-unproven"


def manage(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"ANONYMIZER_DATA_DIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of its own that starts with an active profile: others would be surprised by it."""
    folder = tmp_path_factory.mktemp("server")
    manage(folder, "migrate", "--verbosity", "0")
    manage(folder, "profile", "create", "few", "--vehicle-threshold", "0.8", "--activate", ACCEPT)
    manage(folder, "profile", "create", "many", "--vehicle-threshold", "0.05", "--person-threshold", "0.3", ACCEPT)
    with serving(folder, ANONYMIZER_VIDEO_WORKERS="0") as running:
        yield running


def scores(server: Server, task: dict[str, Any]) -> list[float]:
    found = server.get(f"/v1/file/{task['id']}/metadata").json()["detections"]
    return [detection["score"] for detection in found]


def test_the_start_says_which_is_active(server: Server) -> None:
    assert "Threshold profile: few is active (vehicle 0.8)" in server.log


def test_the_detections_follow_the_profile(server: Server, data: Path) -> None:
    parking = (data / "images" / "parking.png").read_bytes()
    query = "method=detect&vehicle=1&bbox=1&save-mask=none"
    found: dict[str, int] = {}
    for name in ("few", "none", "many"):
        task = server.upload(parking, f"{query}&profile={name}", name="parking.png").json()
        assert task["status"] == "done", task
        assert task["profile"] == (None if name == "none" else name)
        assert server.get(f"/v1/file/{task['id']}/metadata").json()["profile"] == task["profile"]
        found[name] = task["detections"]["vehicle"]
    assert 0 < found["few"] < found["none"] < found["many"]
    # an explicit threshold wins, and the rest is the profile's
    task = server.upload(parking, f"{query}&profile=many&vehicle-threshold=0.8", name="parking.png").json()
    assert (task["detections"]["vehicle"], task["profile"]) == (found["few"], "many")
    assert task["options"]["person-threshold"] == 0.3
    assert min(scores(server, task)) >= 0.8


def test_what_is_activated_or_made_elsewhere_holds_from_the_next_request_on(server: Server) -> None:
    def named(query: str = "") -> tuple[str | None, float | None]:
        task = server.upload(encoded(), f"face=1&{query}").json()
        return task["profile"], task["options"].get("vehicle-threshold")

    assert named() == named("profile=") == ("few", 0.8)
    manage(server.folder, "profile", "activate", "many", ACCEPT)
    assert named() == ("many", 0.05)
    manage(server.folder, "profile", "create", "new", "--vehicle-threshold", "0.25", ACCEPT)
    assert named("profile=NEW") == ("new", 0.25)
    manage(server.folder, "profile", "activate", "--none")
    assert named() == (None, None)
    manage(server.folder, "profile", "activate", "few", ACCEPT)


def test_the_page_offers_them_and_begins_with_the_active_one(server: Server) -> None:
    page = server.get("/").text
    assert '<option value="few" data-format="" selected>few</option>' in page
    assert '<option value="many" data-format="">many</option>' in page


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nonesuch", ["'nonesuch'", "one of the profiles few, many"]),
        ("a%2Fb", ["'a/b'", "a name of at most 63 letters"]),
    ],
)
def test_a_profile_that_is_not_there_is_a_bad_parameter(server: Server, value: str, words: list[str]) -> None:
    before = server.get("/v1/task/list").json()["count"]
    answer = server.upload(encoded(), f"face=1&profile={value}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert answer.json()["error"].startswith("profile is ")
    assert all(text in answer.json()["error"] for text in words)
    assert server.get("/v1/task/list").json()["count"] == before


def test_a_profile_of_other_models_is_used_with_a_warning(server: Server, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"name": "old", "thresholds": {"face": 0.2}, "models": {"face": "old@7"}}')
    manage(server.folder, "profile", "create", "old", "--from", str(tmp_path / "old.json"), ACCEPT)
    task = server.upload(encoded(), "face=1&profile=old").json()
    assert (task["status"], task["options"]["face-threshold"]) == ("done", 0.2)
    assert any("was chosen with old@7, but this server uses " in warning for warning in task["warnings"])


def test_the_schema_has_it(server: Server) -> None:
    schema = server.get("/v1/openapi.json").json()
    names = [parameter["name"] for parameter in schema["paths"]["/v1/file"]["post"]["parameters"]]
    assert "profile" in names
    assert schema["components"]["schemas"]["TaskObject"]["properties"]["profile"]["nullable"] is True
