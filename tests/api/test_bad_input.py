"""Bad input gets the right status and a sentence that helps; nothing is kept of it, and the worker lives on."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pytest
import requests

from tests.conftest import Server
from tests.pictures import drawn, encoded


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", encoded())
    return file.getvalue()


def _mp4() -> bytes:
    return struct.pack(">I", 24) + b"ftypisom" + struct.pack(">I", 512) + b"isommp41" + b"\0" * 4000


def _animated() -> bytes:
    frames = [drawn(seed=n) for n in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


JPEG = encoded(drawn(640, 480))
FILES = {
    "an empty file": (b"", 422, "empty"),
    "text named .jpg": (b"this is no picture at all\n" * 50, 415, "is text, which is not supported"),
    "a JPEG cut at 10 %": (JPEG[: len(JPEG) // 10], 422, ""),
    "a JPEG cut at 50 %": (JPEG[: len(JPEG) // 2], 422, ""),
    "a JPEG cut at 95 %": (JPEG[: len(JPEG) * 95 // 100], 422, ""),
    "a PNG that claims 50000 x 50000": (_png_header(50000, 50000), 413, "50000 x 50000"),
    "a zip": (_zip(), 415, "ZIP archive"),
    "a picture of 0 x 0": (_png_header(0, 0), 422, ""),
    "a video that has only its beginning": (_mp4(), 422, "The video"),
    "an animation": (_animated(), 415, ""),
}
QUERIES = {
    "face-threshold=2": "face-threshold is '2'",
    "face-threshold=abc": "face-threshold is 'abc'",
    "method=erase": "blur, pixelate, blacken, detect",
    "ignores=[{]": "ignores is '[{]'",
    'ignores=[{"topLeftX":-5,"topLeftY":0,"width":9,"height":9}]': "from 0 up",
    "face=maybe": "face is 'maybe'",
    "face=false": "at least one",
    "format=squares": "format is 'squares'",
    "webhook=ftp://example.org": "webhook is",
    "webhook=http://[": "webhook is",
    "web-auth-header-name=a b": "name of an HTTP header",
    "web-auth-header-value=a%0Ab": "web-auth-header-value",
}


@pytest.fixture(scope="module", autouse=True)
def the_worker_is_the_same_afterwards(server: Server) -> Iterator[None]:
    before = server.workers()
    yield
    assert server.workers() == before
    assert server.upload(encoded(), "face=1").status_code == 201


def check(answer: requests.Response, status: int, words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["status_code"]) == (status, status), body
    assert words in body["error"]
    assert len(body["error"]) > 15
    assert body["code"]


@pytest.mark.parametrize("what", FILES)
def test_a_bad_file_is_refused_synchronously(server: Server, what: str) -> None:
    content, status, words = FILES[what]
    check(server.upload(content, "face=1"), status, words)


@pytest.mark.parametrize("what", FILES)
def test_a_bad_file_never_has_a_result_asynchronously(server: Server, what: str) -> None:
    content, status, words = FILES[what]
    answer = server.upload(content, "face=1", headers={"x-is-async": "1"})
    if answer.status_code != 202:
        check(answer, status, words)
        return
    task = server.until(answer.json()["id"], "done", "failed")
    assert task["status"] == "failed"
    assert task["failure_cause"] in ("broken_media", "unsupported_media", "too_large")
    assert len(task["error"]) > 15
    result = server.get(f"/v1/file/{task['id']}/anonymised")
    assert (result.status_code, result.json()["code"]) == (409, "task_failed")
    assert "Retry-After" not in result.headers
    assert task["error"] in result.json()["error"]


@pytest.mark.parametrize("query", QUERIES)
def test_a_bad_parameter_is_named(server: Server, query: str) -> None:
    check(server.upload(encoded(), query), 400, QUERIES[query])


def test_no_part_is_named(server: Server) -> None:
    url = f"{server.url}/v1/file"
    check(requests.post(url, timeout=60), 400, "fileobject")
    check(requests.post(url, json={"face": True}, timeout=60), 400, "fileobject")
    check(requests.post(url, files={"picture": ("a.jpg", encoded())}, timeout=60), 400, "fileobject")
    broken = {"Content-Type": "multipart/form-data"}
    check(requests.post(url, data=b"--x\r\n", headers=broken, timeout=60), 400, "")
    check(requests.get(url, timeout=60), 405, "")


def test_form_fields_without_end_are_refused(server: Server) -> None:
    url, files = f"{server.url}/v1/file", {"fileobject": ("a.jpg", encoded())}
    check(requests.post(url, data={"name": "x" * 2_000_000}, files=files, timeout=60), 413, "")
    check(requests.post(url, data={f"field{n}": "1" for n in range(1100)}, files=files, timeout=60), 400, "")


def test_a_header_that_is_neither_true_nor_false_is_named(server: Server) -> None:
    check(server.upload(encoded(), headers={"x-is-async": "perhaps"}), 400, "x-is-async is 'perhaps'")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../etc/passwd.jpg", "passwd.jpg"),
        ("x" * 900 + ".jpg", "x" * 251 + ".jpg"),
        ("a\tb\x07c.jpg", "abc.jpg"),
        ("x" * 5000 + ".jpg", None),
    ],
)
def test_odd_file_names_are_made_harmless_or_named(server: Server, name: str, kept: str | None) -> None:
    boundary = "limit"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="fileobject"; filename="{name}"\r\n\r\n'.encode()
        + encoded()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = requests.post(f"{server.url}/v1/file?face=1", data=body, headers=headers, timeout=60)
    if kept is None:
        check(answer, 400, "a shorter name")
        return
    assert answer.status_code == 201, answer.text
    task = answer.json()
    assert task["name"] == kept
    assert requests.get(task["anonymised_url"], timeout=60).ok


def test_a_name_parameter_is_made_harmless_too(server: Server) -> None:
    task = server.upload(encoded(), "face=1&name=..%2F..%2Fa%00%0Ab.jpg").json()
    assert task["name"] == "ab.jpg"


def test_too_many_bytes_are_refused_before_they_are_read(server: Server) -> None:
    # what is announced is judged: the body is not even sent
    import http.client

    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/file")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders(b"--x\r\n")
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"too_large" in answer.read()
    connection.close()
