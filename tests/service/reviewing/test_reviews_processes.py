"""Reviews over a real server with real workers: an image, and a video."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import requests

from tests.conftest import Server, serving
from tests.pictures import decoded, encoded
from tests.pipeline.video.review.test_follow import vanishing_square, written
from tests.videos import moving_square


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("review-server")) as running:
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


def test_a_video_gets_an_object_between_key_frames_and_loses_it_again(own: Server, tmp_path: Path) -> None:
    content = moving_square(tmp_path / "a.mp4", seconds=2).read_bytes()
    task_id = own.upload(content, "face=1&method=blacken", name="a.mp4").json()["id"]
    keys = [{"time": 1.1, "box": [10, 10, 50, 50]}, {"time": 1.5, "box": [90, 10, 130, 50]}]
    answer = post(own, task_id, add=[{"type": "face", "keyframes": keys}])
    assert answer.status_code == 202, answer.text
    task = rendered(own, task_id)
    assert (task["version"], task["review_status"], task["detections"]) == (2, None, {"face": 1})
    # the first group of pictures has nothing to hide
    assert task["video"]["frames_copied"] == 25
    frames = own.get(f"/v1/file/{task_id}/video/metadata").json()
    shown = [frame["time"] for frame in frames if frame["detections"]]
    assert (min(shown), max(shown)) == (1.12, 1.48)
    middle = next(frame for frame in frames if frame["time"] == 1.32)["detections"][0]
    x1, y1, x2, y2 = middle["bbox"]
    assert abs(x1 - 54) <= 2
    video = tmp_path / "result.mp4"
    video.write_bytes(own.get(f"/v1/file/{task_id}/video/anonymised").content)
    with av.open(str(video)) as file:
        pictures = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    assert len(pictures) == 50
    assert pictures[33][y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].mean() < 24
    assert post(own, task_id, drop=[{"track_id": 7}]).status_code == 400
    low = post(own, task_id, thresholds={"face": 0.1})
    assert low.status_code == 202, low.text
    assert rendered(own, task_id)["detections"] == {"face": 1}
    listed = own.get(f"/v1/file/{task_id}/candidates").json()
    assert listed["lowest_thresholds"]["face"] == pytest.approx(0.1)
    low = post(own, task_id, thresholds={"face": 0.05})
    assert "of this video, nothing fainter is kept" in low.json()["error"]
    assert post(own, task_id, take=[{"candidate": 77}]).status_code == 400
    assert post(own, task_id, drop=[{"track_id": middle["track_id"]}], approve=True).status_code == 202
    task = rendered(own, task_id)
    assert (task["version"], task["detections"], task["review"]) == (4, {"face": 0}, "approved")
    assert task["video"]["frames_copied"] == 50


def test_a_followed_object_that_is_lost_says_so_in_the_answer(own: Server, tmp_path: Path) -> None:
    path = written(tmp_path / "lost.mp4", [picture for picture, _ in vanishing_square(30, until=15)])
    box = vanishing_square(30, until=15)[5][1]
    task_id = own.upload(path.read_bytes(), "face=1&method=blacken", name="a.mp4").json()["id"]
    added = {"type": "face", "keyframes": [{"time": 5 / 25, "box": box}], "follow": "both"}
    assert post(own, task_id, add=[added]).status_code == 202
    task = rendered(own, task_id)
    assert task["review_status"] is None
    (followed,) = own.get(f"/v1/task/{task_id}/versions").json()[0]["followed"]
    assert (followed["from_frame"], followed["begins"], followed["ends"]) == (0, "video", "lost")
    assert followed["to_frame"] in (14, 15)
    assert followed["warning"] in task["warnings"]
    # another review of it does not say it twice, and without the object nothing is said
    assert post(own, task_id, add=[{"type": "face", "box": [1, 1, 30, 30], "from": 0, "to": 0.1}]).status_code == 202
    assert rendered(own, task_id)["warnings"].count(followed["warning"]) == 1
    assert post(own, task_id, drop=[{"track_id": followed["track_id"]}]).status_code == 202
    assert followed["warning"] not in rendered(own, task_id)["warnings"]
