"""Parts of stored files: what a browser asks for when it plays and seeks in a video."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.test import Client

from anonymizer.models import FileKind, Kind, Status, Task
from anonymizer.service import files

pytestmark = pytest.mark.django_db(transaction=True)
CONTENT = bytes(range(256)) * 8
SIZE = len(CONTENT)


@pytest.fixture
def task(media: Path) -> Task:
    """A done video task; its files are of bytes that tell their place."""
    task = Task.objects.create(kind=Kind.VIDEO, status=Status.DONE, name='größe "a".avi', options={})
    made = media / "made.mp4"
    made.write_bytes(CONTENT)
    artefacts = [
        files.Artefact(FileKind.ANONYMISED, made, "video/mp4", ".mp4"),
        files.Artefact(FileKind.BINARY_MASK, CONTENT[:100], "video/x-matroska", ".mkv"),
        files.Artefact(FileKind.METADATA, b"[]", "application/json", ".json"),
    ]
    files.put_original(task, io.BytesIO(b"RIFF"), "video/x-msvideo", ".avi").save()
    for file in files.put(task, "attempt", artefacts):
        file.save()
    assert not made.exists(), "it was copied"
    return task


def get(
    task: Task, part: str = "video/anonymised", method: str = "get", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    answer = getattr(Client(), method)(f"/v1/file/{task.pk}/{part}", headers=headers)
    return answer.status_code, answer.getvalue(), dict(answer.headers)


def test_the_whole_is_sent_where_no_range_is_asked_for(task: Task) -> None:
    status, body, headers = get(task)
    assert (status, body) == (200, CONTENT)
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Length"] == str(SIZE)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"] == f'"{task.files.get(kind="anonymised").sha256}"'


@pytest.mark.parametrize("part", ["video/anonymised", "video/anonymized", "anonymised"])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, SIZE - 1),
        ("bytes=300-1299", 300, 1299),
        ("bytes=2000-", 2000, SIZE - 1),
        ("bytes=2000-999999", 2000, SIZE - 1),
        ("bytes=-48", SIZE - 48, SIZE - 1),
        ("bytes=-999999", 0, SIZE - 1),
        ("Bytes = 5 - 9", 5, 9),
    ],
)
def test_one_range_is_sent_alone(task: Task, part: str, asked: str, first: int, last: int) -> None:
    status, body, headers = get(task, part, range=asked)
    assert (status, body) == (206, CONTENT[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert headers["Content-Length"] == str(last + 1 - first)
    assert headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=9999-10000", "bytes=-0"])
def test_a_range_behind_the_end_is_not_to_be_had(task: Task, asked: str) -> None:
    answer = Client().get(f"/v1/file/{task.pk}/video/anonymised", headers={"range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "no_such_range")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=9-2", "bytes=-", "bytes=a-b", "seconds=0-1", "bytes=" + "9" * 5000 + "-", ""]
)
def test_what_is_no_single_range_is_answered_with_the_whole(task: Task, asked: str) -> None:
    status, body, headers = get(task, range=asked)
    assert (status, body) == (200, CONTENT)
    assert "Content-Range" not in headers


def test_a_range_of_another_version_is_answered_with_the_whole(task: Task) -> None:
    tag = get(task)[2]["ETag"]
    assert get(task, range="bytes=0-9", if_range=tag)[0] == 206
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert get(task, range="bytes=0-9", if_range=other)[:2] == (200, CONTENT)


def test_head_tells_of_the_whole_and_sends_nothing(task: Task) -> None:
    status, body, headers = get(task, method="head", range="bytes=0-9")
    assert (status, body) == (200, b"")
    assert (headers["Content-Length"], headers["Accept-Ranges"]) == (str(SIZE), "bytes")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("original", ".avi"),
        ("video/anonymised", ".avi.mp4"),
        ("video/binary-mask", ".avi.binary-mask.mkv"),
        ("video/metadata", ".avi.json"),
    ],
)
def test_names_say_what_the_files_are(task: Task, part: str, name: str) -> None:
    quoted = "gr%C3%B6%C3%9Fe%20%22a%22"
    assert get(task, part)[2]["Content-Disposition"] == f"inline; filename*=utf-8''{quoted}{name}"


def test_masks_and_metadata_of_a_video_have_their_own_addresses(task: Task) -> None:
    assert get(task, "video/binary-mask")[1] == CONTENT[:100]
    assert get(task, "metadata")[1] == get(task, "video/metadata")[1] == b"[]"
    answer = Client().get(f"/v1/file/{task.pk}/binary-mask")
    assert answer.status_code == 409
    assert f"is at /v1/file/{task.pk}/video/binary-mask" in answer.json()["error"]
    answer = Client().get(f"/v1/file/{task.pk}/video/instance-mask")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_such_result")


def test_a_picture_has_nothing_at_the_addresses_of_videos(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(kind=Kind.IMAGE)
    for part in ("anonymised", "anonymized", "metadata", "binary-mask", "instance-mask"):
        answer = Client().get(f"/v1/file/{task.pk}/video/{part}")
        assert answer.status_code == 409
        assert "is of kind image" in answer.json()["error"]
