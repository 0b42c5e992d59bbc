"""Bodies of uploads: in chunks of unknown number, cut off, and with no room on the disk."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from anonymizer.models import File, Task
from tests.conftest import Server
from tests.pictures import drawn, encoded

HEAD = b'--x\r\nContent-Disposition: form-data; name="fileobject"; filename="a.jpg"\r\n\r\n'
TAIL = b"\r\n--x--\r\n"
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}


def in_pieces(content: bytes, size: int = 10_000) -> Iterator[bytes]:
    """The body of an upload; requests sends an iterator in chunks."""
    body = HEAD + content + TAIL
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_chunked_upload_works(server: Server, size: int) -> None:
    content = encoded(drawn(640, 480)) + bytes(size)
    answer = requests.post(f"{server.url}/v1/file?face=1", data=in_pieces(content), headers=HEADERS, timeout=60)
    assert answer.status_code == 201, answer.text
    assert server.get(f"/v1/file/{answer.json()['id']}/original").content == content


def test_a_chunked_body_of_another_address_is_told_to_say_its_length(server: Server) -> None:
    answer = requests.post(f"{server.url}/admin/login/", data=in_pieces(b""), headers=HEADERS, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


@pytest.mark.parametrize("chunk", [b"ffff\r\nshort", b"nonsense\r\n", b"5\r\nabcde", b"-1\r\n"])
def test_a_broken_chunked_body_is_no_upload(server: Server, chunk: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    start = b"POST /v1/file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    whole = HEAD + encoded()
    before = server.get("/v1/task/list").json()["count"]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(start + kind + f"{len(whole):x}\r\n".encode() + whole + b"\r\n" + chunk)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400
        assert json.loads(answer.read())["status_code"] == 400
    assert server.get("/v1/task/list").json()["count"] == before
    assert list((server.folder / "input" / ".uploads").glob("*")) == []


@pytest.fixture
def small_disk(media: Path, settings: Any) -> Iterator[Path]:
    """A disk of 4 MB for the input storage; the test is skipped where none may be mounted."""
    folder = media / "input"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    settings.MIN_FREE_BYTES = 0
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def post(content: bytes) -> Any:
    headers = {"x-is-async": "true"}
    return Client().post("/v1/file?face=1", {"fileobject": SimpleUploadedFile("a.jpg", content)}, headers=headers)


def check_full(answer: Any, folder: Path) -> None:
    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert int(answer.headers["Retry-After"]) >= 1
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert Task.objects.count() == File.objects.count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [2_200_000, 6_000_000])
def test_an_upload_that_finds_no_room_leaves_nothing(small_disk: Path, size: int) -> None:
    """The smaller one is in memory while it is received, the larger one is written to the disk at once."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2_500_000))
    answer = post(encoded() + bytes(size))
    filler.unlink()
    check_full(answer, small_disk)
    assert post(encoded()).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_what_a_disk_keeps_free_is_not_taken(media: Path, settings: Any) -> None:
    settings.MIN_FREE_BYTES = 2**60
    answer = post(encoded())
    check_full(answer, media)
    assert "too little room" in answer.json()["error"]


@pytest.mark.django_db(transaction=True)
def test_a_full_queue_takes_no_more(settings: Any) -> None:
    settings.MAX_QUEUE = 2
    assert [post(encoded()).status_code for _ in range(3)] == [202, 202, 503]
    answer = post(encoded())
    assert (answer.json()["code"], answer.headers["Retry-After"]) == ("queue_full", "30")
