"""The whole way of a video over real HTTP and a real worker."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
import pytest
import requests
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from anonymizer.models import Task, Worker
from tests.conftest import Server
from tests.pictures import encoded
from tests.videos import cut_short, excerpt, frame_count, moving_square, sound_only

NAME = 'größe "1".mp4'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def clip(folder: Path) -> bytes:
    """A second of video with sound, in which nothing is found."""
    return moving_square(folder / "clip.mp4").read_bytes()


@pytest.fixture(scope="module")
def faces(server: Server, folder: Path, data: Path) -> dict[str, Any]:
    """The done task of half a second of real people, whose faces were blackened."""
    real = excerpt(data / "videos" / "portrait-people.mp4", folder / "people.mp4", 15)
    answer = server.upload(real.read_bytes(), f"face=1&method=blacken&name={quote(NAME)}", name="x.mp4")
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def pictures(content: bytes, form: str = "rgb24") -> np.ndarray:
    """All frames of the first video, (n, h, w, 3) or (n, h, w)."""
    with av.open(io.BytesIO(content)) as file:
        return np.stack([frame.to_ndarray(format=form) for frame in file.decode(video=0)])


def download(task: dict[str, Any], what: str) -> bytes:
    answer = requests.get(task[f"{what}_url"], timeout=60)
    assert answer.ok, answer.text
    return answer.content


def test_a_synchronous_upload_answers_with_the_done_task(faces: dict[str, Any], server: Server) -> None:
    assert (faces["status"], faces["kind"], faces["progress"]) == ("done", "video", 1.0)
    assert faces["detections"]["face"] >= 1
    base = f"{server.url}/v1/file/{faces['id']}/video"
    assert [faces[f"{name}_url"] for name in ("anonymised", "binary_mask", "instance_mask", "metadata")] == [
        f"{base}/{name}" for name in ("anonymised", "binary-mask", "instance-mask", "metadata")
    ]
    video = faces["video"]
    assert (video["frames"], video["total"], video["seconds_left"]) == (15, 15, 0)
    assert video["frames_per_second"] > 0
    assert video["frames_copied"] == 0


def test_the_result_plays_and_the_masks_say_where_it_was_changed(faces: dict[str, Any], folder: Path) -> None:
    before, after = pictures((folder / "people.mp4").read_bytes()), pictures(download(faces, "anonymised"))
    mask = pictures(download(faces, "binary_mask"), "gray")
    instances = pictures(download(faces, "instance_mask"))
    assert len(before) == len(after) == len(mask) == len(instances) == 15
    assert all((frame == 255).any() for frame in mask)
    assert after[mask == 255].mean() < 12
    assert np.abs(after[mask == 0].astype(int) - before[mask == 0]).mean() < 6
    assert np.array_equal(instances[..., 1] > 0, mask == 255)


def test_the_metadata_has_an_object_for_each_frame(faces: dict[str, Any], server: Server) -> None:
    frames = server.get(f"/v1/file/{faces['id']}/video/metadata").json()
    assert [frame["id"] for frame in frames] == list(range(15))
    assert frames[0]["filename"] == faces["name"] == NAME
    assert frames[3]["time"] == pytest.approx(0.1, abs=0.01)
    found = frames[5]["detections"][0]
    assert (found["type_label"], found["is_anonymised"], found["parent_image"]) == ("face", True, 5)
    assert found["track_id"] >= 1
    assert server.get(f"/v1/file/{faces['id']}/metadata").json() == frames


def test_a_browser_can_seek(faces: dict[str, Any], server: Server) -> None:
    path = f"/v1/file/{faces['id']}/video/anonymised"
    whole = server.get(path)
    assert whole.headers["Content-Type"] == "video/mp4"
    assert whole.headers["Content-Disposition"] == f"inline; filename*=utf-8''{quote(NAME)}"
    size = len(whole.content)
    part = server.get(path, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes 100-{size - 1}/{size}")
    assert part.content == whole.content[100:]
    short = server.get(path, headers={"Range": "bytes=10-19"})
    assert (short.content, short.headers["Content-Length"]) == (whole.content[10:20], "10")
    # the next request on the same connection works: nothing more than the range was sent
    with requests.Session() as session:
        for _ in range(2):
            again = session.get(server.url + path, headers={"Range": "bytes=-7"}, timeout=60)
            assert again.content == whole.content[-7:]
        head = session.head(server.url + path, timeout=60)
        assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(size), b"")
    assert server.get(path, headers={"Range": f"bytes={size}-"}).status_code == 416
    original = server.get(f"/v1/file/{faces['id']}/original", headers={"Range": "bytes=4-7"})
    assert original.content == b"ftyp"


def test_an_asynchronous_upload_shows_its_progress(server: Server, folder: Path) -> None:
    longer = moving_square(folder / "longer.mp4", seconds=2)
    task_id = server.upload_async(longer.read_bytes(), "face=1&save-mask=none", name="longer.mp4")
    seen: list[tuple[float, dict[str, Any] | None]] = []
    while (task := server.task(task_id))["status"] not in ("done", "failed"):
        seen.append((task["progress"], task["video"]))
    assert task["status"] == "done", task["error"]
    shown = [video for _, video in seen if video]
    assert shown, "no progress was shown"
    assert {progress["total"] for progress in shown} == {50}
    assert [progress["frames"] for progress in shown] == sorted(progress["frames"] for progress in shown)
    assert all(progress["frames_copied"] is None for progress in shown)
    # nothing was detected: all of the video is unchanged, and so is the sound
    assert task["video"]["frames_copied"] == 50
    (folder / "result.mp4").write_bytes(download(task, "anonymised"))
    assert frame_count(folder / "result.mp4") == 50
    with av.open(str(folder / "result.mp4")) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]


def test_detect_makes_metadata_and_masks_and_no_video(server: Server, clip: bytes) -> None:
    task = server.upload(clip, "face=1&method=detect", name="clip.mp4").json()
    assert task["anonymised_url"] is None
    assert len(server.get(f"/v1/file/{task['id']}/video/metadata").json()) == 25
    assert len(pictures(download(task, "binary_mask"), "gray")) == 25
    for path in ("anonymised", "video/anonymised"):
        answer = server.get(f"/v1/file/{task['id']}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_such_result")


def test_what_cannot_be_anonymised_is_refused(server: Server, folder: Path, clip: bytes) -> None:
    broken = cut_short(folder / "clip.mp4", folder / "cut.mp4").read_bytes()
    silent = sound_only(folder / "sound.mp4").read_bytes()
    for content, status, code in ((broken, 422, "broken_media"), (silent, 415, "unsupported_media")):
        for headers in ({}, {"x-is-async": "true"}):
            answer = server.upload(content, "face=1", name="a.mp4", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert len(answer.json()["error"]) > 15


def test_the_schema_describes_videos(server: Server) -> None:
    schema = server.get("/v1/openapi.json").json()
    assert {"200", "206", "416"} <= schema["paths"]["/v1/file/{task_id}/video/anonymised"]["get"]["responses"].keys()
    assert "frames_per_second" in schema["components"]["schemas"]["VideoObject"]["properties"]


# --- without workers, in this process ---


def post(content: bytes, name: str, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = Client().post("/v1/file?face=1", {"fileobject": SimpleUploadedFile(name, content)}, headers=headers)
    return answer.status_code, answer.json()


ASYNC = {"x-is-async": "true"}


@pytest.mark.django_db(transaction=True)
def test_each_kind_of_file_needs_a_worker_of_its_own(clip: bytes, settings: Any) -> None:
    settings.SYNC_TIMEOUT = timedelta(0)
    for queue, status_of_photo, status_of_video in (("images", 202, 503), ("videos", 503, 202)):
        Worker.objects.all().delete()
        Worker.objects.create(name="one", queue=queue, seen=timezone.now(), ready=True)
        assert post(encoded(), "a.jpg")[0] == status_of_photo
        assert post(clip, "a.mp4")[0] == status_of_video
        checks = Client().get("/readyz").json()["checks"]
        assert (checks["workers"] == "ok", checks["video_workers"] == "ok") == (queue == "images", queue == "videos")
    Worker.objects.all().delete()
    status, body = post(clip, "a.mp4")
    assert (status, body["code"]) == (503, "no_worker")
    assert "No worker for videos" in body["error"]


@pytest.mark.django_db(transaction=True)
def test_a_video_goes_to_the_queue_of_videos(clip: bytes) -> None:
    from django_q.models import OrmQ

    status, body = post(clip, "a.mp4", **ASYNC)
    assert (status, body["kind"], body["video"]) == (202, "video", None)
    assert [entry.key for entry in OrmQ.objects.all()] == ["videos"]


@pytest.mark.django_db(transaction=True)
def test_a_server_without_workers_for_videos_takes_none(clip: bytes, settings: Any) -> None:
    settings.VIDEO_WORKERS = 0
    status, body = post(clip, "a.mp4", **ASYNC)
    assert (status, body["code"]) == (415, "unsupported_media")
    assert "takes no videos" in body["error"]
    assert "video_workers" not in Client().get("/readyz").json()["checks"]
    assert "video/*" not in Client().get("/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_video_that_is_too_long_is_refused(clip: bytes, settings: Any, media: Path) -> None:
    settings.MAX_VIDEO_LENGTH = timedelta(seconds=0.5)
    status, body = post(clip, "a.mp4", **ASYNC)
    assert (status, body["code"]) == (413, "too_large")
    assert "lasts 1 seconds" in body["error"]
    assert [path for path in media.rglob("*") if path.is_file()] == []


class TestLimitsOfBytes:
    """Each kind has its own; a request is turned away as soon as it is seen which one it is over."""

    pytestmark = pytest.mark.django_db(transaction=True)

    def large(self, content: bytes) -> bytes:
        # over the 2.5 MB from which Django's uploads are on disk
        return content + bytes(3_000_000)

    def test_a_video_may_be_larger_than_a_picture(self, settings: Any, media: Path) -> None:
        settings.MAX_BYTES = 2_000_000
        content = self.large(moving_square(media / "a.ts", audio=None).read_bytes())
        assert post(content, "a.ts", **ASYNC)[0] == 202
        status, body = post(self.large(encoded()), "a.jpg", **ASYNC)
        assert (status, body["code"]) == (413, "too_large")
        assert "file has more than the 2000000 bytes" in body["error"]

    def test_a_video_has_a_limit_too(self, settings: Any, media: Path, clip: bytes) -> None:
        settings.MAX_VIDEO_BYTES = 2_000_000
        status, body = post(self.large(clip), "a.mp4", **ASYNC)
        assert (status, body["code"]) == (413, "too_large")
        assert "video has more than the 2000000 bytes" in body["error"]
        assert [path for path in media.rglob("*") if path.is_file()] == []

    def test_an_upload_on_disk_is_moved_and_not_copied(self, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from anonymizer.service import files

        seen: list[int] = []
        put = files.put_original

        def recording(task: Task, upload: Any, *args: str) -> Any:
            seen.append(Path(upload.temporary_file_path()).stat().st_ino)
            return put(task, upload, *args)

        monkeypatch.setattr(files, "put_original", recording)
        content = self.large(encoded())
        status, body = post(content, "a.jpg", **ASYNC)
        assert status == 202
        (stored,) = (media / "input" / body["id"]).iterdir()
        assert [stored.stat().st_ino] == seen
        assert stored.read_bytes() == content
        assert list((media / "input" / ".uploads").iterdir()) == []
