"""A file server on this machine that fails in the ways that a test asks for."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ModelServer:
    """The files of the server, how it answers, and the requests that it got.

    Attributes:
        url: of the folder of the files.
        files: contents by name.
        cuts: how many answers end half way.
        ignores_range: whether every answer is the whole file.
        statuses: the status codes of the first answers, which have no content.
        hangs: seconds before each answer.
        etag: of every file; None: answers have no ETag.
        asked: the name and the Range header of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: int = 0
    ignores_range: bool = False
    statuses: list[int] = field(default_factory=list)
    hangs: float = 0.0
    etag: str | None = '"1"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers["Range"]
        self.asked.append((name, wanted))
        time.sleep(self.hangs)
        content = self.files.get(name)
        if content is None or self.statuses:
            handler.send_error(self.statuses.pop(0) if self.statuses else 404)
            return
        start = 0
        changed = handler.headers["If-Range"] not in (None, self.etag)
        if wanted is not None and not self.ignores_range and not changed:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert match, wanted
            start = int(match[1])
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        body = content[start:]
        if self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(body)


@contextlib.contextmanager
def model_server(files: dict[str, bytes]) -> Iterator[ModelServer]:
    served = ModelServer(files=files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/models"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
