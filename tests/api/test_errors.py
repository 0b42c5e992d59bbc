"""Every error is the JSON object of the contract, whatever part of the server makes it; `Accept` refuses nothing."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import quote

import pytest
import requests

from tests.conftest import Server
from tests.pictures import encoded

ACCEPTED = (
    "image/jpeg",
    "image/*",
    "text/html",
    "application/xml;q=0.9",
    "video/mp4, audio/*",
    "",
    "nonsense/;;=,,",
    "*",
)


def check(answer: requests.Response, status: int, code: str, words: str = "") -> None:
    assert "json" in answer.headers["Content-Type"], answer.text
    body = answer.json()
    assert (answer.status_code, body["status_code"], body["code"]) == (status, status, code), body
    assert words in body["error"], body
    assert len(body["error"]) > 15


def raw(server: Server, request: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes, and return the status and the JSON object of the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.status, json.loads(answer.read())


@pytest.fixture(scope="module")
def done(server: Server) -> str:
    return str(server.upload(encoded(), "face=1").json()["id"])


@pytest.mark.parametrize("accept", ACCEPTED)
def test_accept_never_refuses(server: Server, done: str, accept: str) -> None:
    headers = {"Accept": accept}
    for part in ("anonymised", "original", "binary-mask", "instance-mask?mask-scale=50", "metadata"):
        assert server.get(f"/v1/file/{done}/{part}", headers=headers).status_code == 200, part
    for path in (f"/v1/task/{done}", "/v1/task/list", "/v1/openapi.json", "/docs", "/healthz", "/metrics"):
        assert server.get(path, headers=headers).status_code == 200, path
    assert server.upload(encoded(), "face=1", headers=headers | {"x-is-async": "1"}).status_code == 202
    check(server.get("/v1/task/abc", headers=headers), 404, "not_found")


def test_errors_of_all_parts_are_json(server: Server, done: str) -> None:
    for path in ("/nothing", "/v1/file", "/v1/task/"):
        check(
            server.get(path),
            405 if path == "/v1/file" else 404,
            "method_not_allowed" if path == "/v1/file" else "not_found",
        )
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/v1/openapi.json", f"/v1/file/{done}/anonymised"):
        answer = requests.put(server.url + path, timeout=60)
        check(answer, 405, "method_not_allowed")
        assert "GET" in answer.headers["Allow"]
    login = requests.post(f"{server.url}/admin/login/", data={"username": "a", "password": "b"}, timeout=60)
    check(login, 403, "csrf_failed", "form")


def test_what_never_reaches_django_is_json_too(server: Server) -> None:
    host = b"Host: localhost\r\n"
    for request, status, code in (
        (b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\n" + host + b"\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/9.9\r\n" + host + b"\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\n" + host + b"a b: c\r\n\r\n", 400, "invalid_request"),
        (b"POST /v1/file HTTP/1.1\r\n" + host + b"Transfer-Encoding: zip\r\n\r\n", 501, "not_implemented"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid_host"),
        (b"GET / HTTP/1.1\r\nHost: " + b"a" * 600 + b"\r\n\r\n", 400, "invalid_host"),
    ):
        found, body = raw(server, request)
        assert (found, body["status_code"], body["code"]) == (status, status, code), (request[:60], body)
        assert len(str(body["error"])) > 15


@pytest.mark.parametrize("charset", ["hex", "unicode_escape", "idna", "utf-7", "punycode", "\x00", "a" * 100])
def test_odd_encodings_of_form_fields_are_read_as_utf_8(server: Server, charset: str) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n\\ud800gr\xc3\xb6\r\n'
        b'--x\r\nContent-Disposition: form-data; name="fileobject"; filename="a.jpg"\r\n\r\n'
        + encoded() + b"\r\n--x--\r\n"
    )  # fmt: skip
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = requests.post(f"{server.url}/v1/file?face=1", data=body, headers=headers, timeout=60)
    if charset == "\x00":
        check(answer, 400, "invalid_request")
        return
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "ud800grö"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("quality=1_0", "quality is '1_0'"),
        ("quality=" + quote("٣"), "a whole number"),
        ("quality=%205", "quality is ' 5'"),
        ("quality=5.0", "a whole number"),
        ("face-threshold=" + quote("\u0660.\u0665"), "a number from 0 to 1"),
        ("face-threshold=0.5%0A", "a number from 0 to 1"),
        ("face-threshold=nan", "a number from 0 to 1"),
        ("face-threshold=1e400", "a number from 0 to 1"),
        ("kernel-size-face=inf", "kernel-size-face is 'inf'"),
        ("quality=" + "9" * 5000, "a whole number"),
        ("mask-scale=5%00", "mask-scale is"),
        ("method=blur%00", "method is"),
        ("profile=%00", "profile is"),
        ("format=pano:1_024", "format is"),
        ('format={"number":[1e400,1]}', "format is"),
        ('format={"number":[1,1],"overlap":[1' + "0" * 400 + ",0]}", "format is"),
        ('format={"number":[1,1],"overlap":["0.1",true]}', "format is"),
        ("format=" + "[" * 2000, "format is"),
        ('ignores=[{"topLeftX":1e400,"topLeftY":0,"width":1,"height":1}]', "ignores is"),
        ('ignores=[{"topLeftX":NaN,"topLeftY":0,"width":1,"height":1}]', "ignores is"),
        ('ignores=[{"topLeftX":' + "9" * 3000 + ',"topLeftY":0,"width":1,"height":1}]', "ignores is"),
        ("ignores=" + "[" * 2500, "ignores is"),
        ("ignores=%00", "ignores is"),
        ("webhook=http://a%00b/", "webhook is"),
        ("webhook=http://a%0Ab/", "webhook is"),
        ("webhook=http://a b/", "webhook is"),
        ("webhook=http://a:99999/", "webhook is"),
        ("webhook=http://a:" + quote("٣") + "/", "webhook is"),
        ("webhook=http://" + "a" * 2500, "webhook is"),
        ("web-auth-header-name=a%00", "web-auth-header-name is"),
        ("web-auth-header-value=a%00", "web-auth-header-value is"),
    ],
)
def test_what_is_no_number_or_text_of_a_parameter_is_named(server: Server, query: str, words: str) -> None:
    check(server.upload(encoded(), query), 400, "invalid_parameter", words)


def test_numbers_that_are_written_as_programs_do_are_read(server: Server) -> None:
    query = "face=1&quality=%2B80&face-threshold=.5&kernel-size-face=1.5e1&margin=0."
    assert server.upload(encoded(), query).json()["options"]["quality"] == 80


@pytest.mark.parametrize(
    "query",
    [
        "method=blur&method=blacken",
        "face-threshold=0.5&face_threshold=0.6",
        "name=a&name=b",
        "web_auth_header_value=a&web-auth-header-value=b",
    ],
)
def test_a_name_given_twice_with_different_values_is_refused(server: Server, query: str) -> None:
    answer = server.upload(encoded(), query)
    check(answer, 400, "invalid_parameter", "given once only")
    assert ("(not shown)" in answer.json()["error"]) == ("header-value" in query or "header_value" in query)


def test_a_name_may_be_given_twice_with_the_same_value(server: Server) -> None:
    query = "face=1&face=1&method=&method=blacken&face-threshold=0.5&face_threshold=0.5&watermark=1&watermark=2"
    assert server.upload(encoded(), query).json()["method"] == "blacken"
    url, files = f"{server.url}/v1/file?method=blur", {"fileobject": ("a.jpg", encoded())}
    check(requests.post(url, data={"method": "blacken"}, files=files, timeout=60), 400, "invalid_parameter", "once")


def test_other_file_parts_are_refused(server: Server) -> None:
    part = ("a.jpg", encoded())
    for files in (
        [("fileobject", part), ("file", part)], [("fileobject", part), ("fileobject", part)],
        [("picture", part), ("file", part)],
    ):  # fmt: skip
        answer = requests.post(f"{server.url}/v1/file", files=files, timeout=60)
        check(answer, 400, "extra_file", "2 file parts")


def test_lists_take_several_states_and_name_what_is_wrong(server: Server, done: str) -> None:
    ids = [
        task["id"]
        for task in server.get("/v1/task/list?status=done,failed&kind=image&page_size=1000").json()["results"]
    ]
    assert done in ids
    assert (
        server.get("/v1/task?status=failed,new").json()["count"]
        < server.get("/v1/task?status=failed,done").json()["count"]
    )
    for query, words in (
        ("status=done,gone", "status is 'gone'"), ("status=done&status=failed", "once only"), ("kind=sound", "kind is"),
        ("status=done,", "status is ''"), ("page=0", "page is '0'"), ("page=1_0", "page is"), ("page=last", "page is"),
        ("page=" + quote("٣"), "page is"), ("page_size=1001", "from 1 to 1000"), ("page_size=0", "from 1 to 1000"),
        ("page=%00", "page is"), ("page=" + "9" * 500, "page is"), ("page=1&page=2", "once only"),
    ):  # fmt: skip
        check(server.get(f"/v1/task/list?{query}"), 400, "invalid_parameter", words)
    check(server.get("/v1/task/list?page=1000000"), 404, "no_such_page", "1000000")
    check(server.get(f"/v1/file/{done}/binary-mask?mask-scale=5&mask_scale=6"), 400, "invalid_parameter", "once only")
    for scale in ("1_0", "%D9%A3", "101"):
        check(server.get(f"/v1/file/{done}/binary-mask?mask-scale={scale}"), 400, "invalid_parameter", "mask-scale is")
