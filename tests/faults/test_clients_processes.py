"""A hundred slow clients at once, over real sockets: others are answered, and the slow ones are sent away."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator

import numpy as np
import psutil
from PIL import Image

from tests.conftest import Server
from tests.faults.conftest import web
from tests.pictures import encoded

#: more than the server has threads
MANY = 100
BOUNDARY = "slow"


def connected(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


@contextlib.contextmanager
def crowd(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """That many open connections."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connected(server)) for _ in range(count)]


def upload_request(content: bytes, *headers: str) -> bytes:
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="fileobject"; filename="a.jpg"\r\n\r\n'.encode()
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    lines = [
        "POST /v1/file?face=1 HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}", *headers,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


def statuses(sockets: list[socket.socket], seconds: float, *, trickling: list[socket.socket]) -> list[int]:
    """The status of each answer, 0 for a connection that was closed without one; the rest is silent for so long.

    Args:
        trickling: connections that send one more byte each second meanwhile.
    """
    found: list[int] = []
    end, last = time.monotonic() + seconds, time.monotonic()
    with selectors.DefaultSelector() as waiting:
        for each in sockets:
            waiting.register(each, selectors.EVENT_READ)
        while waiting.get_map() and time.monotonic() < end:
            for key, _ in waiting.select(0.2):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                waiting.unregister(client)
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while not answer.partition(b"\r\n\r\n")[2] and (part := client.recv(65536)):
                        answer += part
                found.append(int(answer.split(b" ")[1]) if answer else 0)
                if found[-1] >= 400:
                    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == found[-1]
            if time.monotonic() - last > 1:
                last = time.monotonic()
                for each in trickling:
                    with contextlib.suppress(OSError):
                        each.send(b"a")
    return found


def is_answered(server: Server) -> None:
    """Short requests are answered at once."""
    for path in ("/healthz", "/readyz", "/v1/task/list?page_size=1"):
        began = time.monotonic()
        assert server.get(path).status_code == 200, path
        assert time.monotonic() - began < 5, path


def test_slow_headers_and_half_bodies_keep_nobody_waiting_and_are_ended(own: Server) -> None:
    with crowd(own, MANY) as headers, crowd(own, MANY) as bodies:
        for each in headers:
            each.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        for each in bodies:
            each.sendall(upload_request(bytes(50_000))[:30_000])
        is_answered(own)
        refused = own.upload(encoded(), "face=1")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert refused.headers["Retry-After"]
        answers = statuses(bodies, 45, trickling=headers)
        assert sorted(set(answers)) == [408, 503]
        assert len(answers) == MANY
        # bytes that trickle in do not make a header last longer
        assert statuses(headers, 10, trickling=[]) == [408] * MANY
    assert own.upload(encoded(), "face=1").status_code == 201


def test_requests_that_wait_for_a_busy_worker_leave_room_for_others(own: Server) -> None:
    (pid,) = own.workers()
    request = upload_request(encoded())
    os.kill(pid, signal.SIGSTOP)
    try:
        with crowd(own, MANY) as waiting:
            for each in waiting:
                each.sendall(request)
            refused = statuses(waiting, 4, trickling=[])
            # half of the 64 places for uploads
            assert refused == [503] * (MANY - 32)
            is_answered(own)
            task_id = own.upload_async(encoded(), "face=1")
            os.kill(pid, signal.SIGCONT)
            own.until(task_id, "done")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_clients_that_do_not_read_their_downloads_keep_nobody_waiting(own: Server) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1500, 1800, 3), np.uint8)
    task_id = own.upload(encoded(Image.fromarray(noise), "PNG"), "face=1&format=whole&save-mask=none").json()["id"]
    with crowd(own, MANY) as readers:
        for each in readers:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.sendall(f"GET /v1/file/{task_id}/anonymised HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(1)
        is_answered(own)
        assert own.upload(encoded(), "face=1").status_code == 201


def test_the_memory_stays_flat_over_a_large_upload(own: Server) -> None:
    process = web(own).children()[0]
    # a video by its first bytes, which this server refuses when all of it has arrived
    content = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
    size = 2**28
    request = upload_request(content)
    head, _, _ = request.partition(b"\r\n\r\n")
    start = request[len(head) :].removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
    before = process.memory_info().rss
    with connected(own) as client:
        grown = len(request) - len(head) - 4 + size
        client.sendall(head.replace(b"Content-Length: ", b"X-Old: ") + f"\r\nContent-Length: {grown}".encode() + start)
        for _ in range(size // 2**20):
            client.sendall(bytes(2**20))
            most = process.memory_info().rss
        client.sendall(f"\r\n--{BOUNDARY}--\r\n".encode())
        answer = client.recv(65536)
    assert b" 415 " in answer.split(b"\r\n")[0], answer
    assert most - before < 2**26, f"{(most - before) >> 20} MiB more"
    assert psutil.pid_exists(process.pid)
