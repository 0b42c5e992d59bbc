"""Reviews over a real server with real workers: an image."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import Server, serving
from tests.pictures import decoded, encoded


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("review-server"), ANONYMIZER_VIDEO_WORKERS="0") as running:
        yield running


def post(server: Server, task_id: str, **body: Any) -> requests.Response:
    return requests.post(f"{server.url}/v1/task/{task_id}/review", json=body, timeout=60)


def rendered(server: Server, task_id: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (task := server.task(task_id))["review_status"] == "rendering":
        assert time.monotonic() < end, server.log[-3000:]
        time.sleep(0.05)
    return task


def test_a_picture_is_corrected_restored_and_deleted(own: Server) -> None:
    regions = json.dumps([{"type": "face", "box": [10, 10, 60, 60]}])
    task = own.upload(encoded(), f"method=blacken&face=1&regions={regions}").json()
    task_id = task["id"]
    assert (task["version"], task["review"], task["review_status"]) == (1, None, None)
    first = own.get(f"/v1/file/{task_id}/anonymised").content
    candidates = own.get(f"/v1/file/{task_id}/candidates").json()
    assert candidates["size"] == list(decoded(first).shape[:2])
    rows = own.get(f"/v1/file/{task_id}/metadata").json()["detections"]
    drawn = next(row["id"] for row in rows if row["source"] == "caller")
    answer = post(
        own, task_id, base=1, drop=[{"id": drawn}], add=[{"type": "person", "ellipse": [100, 100, 30, 20]}],
        comment="moved",
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    task = rendered(own, task_id)
    assert (task["version"], task["review_status"], task["detections"]["person"]) == (2, None, 1)
    second = own.get(f"/v1/file/{task_id}/anonymised").content
    assert decoded(second)[95:105, 80:120].mean() < 20
    assert decoded(second)[20:50, 20:50].mean() > 30
    assert own.get(f"/v1/file/{task_id}/anonymised?version=1").content == first
    receipt = own.get(f"/v1/file/{task_id}/receipt").json()["receipt"]
    assert receipt["review"]["version"] == 2
    stale = post(own, task_id, base=1, drop=[{"id": 0}])
    assert (stale.status_code, stale.json()["code"]) == (409, "version_conflict")
    wrong = post(own, task_id, thresholds={"face": 2})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_parameter")
    assert "thresholds.face is '2'" in wrong.json()["error"]
    assert post(own, task_id, restore=1, approve=True).status_code == 200
    assert own.get(f"/v1/file/{task_id}/anonymised").content == first
    listed = own.get(f"/v1/task/{task_id}/versions").json()
    assert [(row["version"], row["approved"], row["served"]) for row in listed] == [(2, False, False), (1, True, True)]
    assert (listed[0]["comment"], listed[0]["by"], listed[0]["added"]) == ("moved", "anonymous", 1)
    assert own.task(task_id)["review"] == "approved"
    own.delete(task_id)
    assert own.get(f"/v1/task/{task_id}/versions").status_code == 410
    assert own.get(f"/v1/file/{task_id}/anonymised?version=2").status_code == 410
    assert post(own, task_id, approve=True).status_code == 410
