"""An S3 server: moto's, in a process of its own, behind a gate that can be closed."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import requests

from tests.conftest import ROOT, free_port

BUCKET = "pictures"
KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_EC2_METADATA_DISABLED": "true"}
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
sys.stdin.read()
server.stop()
"""


class Gate:
    """Hand connections on to a port, or refuse them and break those that are open."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._open: set[socket.socket] = set()
        self._door: socket.socket | None = None
        #: how many requests came by, of each method
        self.requests: list[bytes] = []

    def open(self) -> None:
        """Let connections in."""
        door = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self._door = door
        threading.Thread(target=self._let_in, args=(door,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and break those that are open."""
        door, self._door = self._door, None
        assert door is not None
        door.shutdown(socket.SHUT_RDWR)
        door.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Keep the storage away while the block runs."""
        self.close()
        try:
            yield
        finally:
            self.open()

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                return
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            self._open |= {client, server}
            other = {client: server, server: client}
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(2**18)
                    if not data:
                        return
                    if ready is client and data.partition(b" ")[0] in (b"GET", b"PUT", b"POST", b"DELETE", b"HEAD"):
                        self.requests.append(data.partition(b"\r\n")[0])
                    other[ready].sendall(data)
        self._open -= {client, server}


class S3:
    """A running server with a bucket."""

    def __init__(self, gate: Gate, port: int) -> None:
        self.gate = gate
        self.direct_url = f"http://127.0.0.1:{port}"
        self.url = f"http://127.0.0.1:{gate.port}"
        self.client: Any = boto3.session.Session().client(
            "s3", endpoint_url=self.direct_url, region_name="us-east-1", aws_access_key_id="test-key",
            aws_secret_access_key="test-secret",
        )  # fmt: skip
        self.client.create_bucket(Bucket=BUCKET)

    def storage_url(self, prefix: str = "") -> str:
        return f"s3://{BUCKET}/{prefix}?endpoint={self.url}&region=us-east-1&addressing=path"

    def objects(self, prefix: str = "") -> dict[str, int]:
        """Keys and sizes of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def bytes_of(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def unfinished(self) -> int:
        """The number of multipart uploads that have begun and not ended."""
        return len(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))


@contextlib.contextmanager
def running() -> Iterator[S3]:
    """Run the server while the block runs."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER, str(port)], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | KEYS,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.RequestException):
                # any answer will do; the first one of S3 loads what moto needs for it
                requests.get(f"http://127.0.0.1:{port}/{BUCKET}", timeout=10)
                break
            assert process.poll() is None, "moto did not start"
            assert time.monotonic() < end, "moto does not answer"
            time.sleep(0.1)
        gate = Gate(port)
        gate.open()
        yield S3(gate, port)
        gate.close()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(20)
