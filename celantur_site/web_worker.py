"""The process of gunicorn that answers requests. Slow clients hold no thread, or one of those that are for them.

gunicorn's threaded worker gives each connection to a thread, which waits for the headers and for the body without a
limit. Here the main thread collects the headers of all connections. Bodies and downloads must go on, and only a part of
the threads is for them, so that short requests are always answered.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from functools import partial
from typing import Any

from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from anonymizer.service import inspection
from anonymizer.service.queueing.processes import die_with_parent

__all__ = ["PatientWorker", "Places"]

#: how long the headers of a request may take
HEADERS_S = 15.0
#: how long a client may send nothing of its body, or take nothing of its answer
SILENCE_S = 20.0
#: A body that is slower than this is given up, after the first seconds. Time in which nobody reads does not count.
LEAST_BYTES_S, SLOW_START_S = 4096, 20.0
#: how long a connection is kept open after its answer, so that the client can read it
LINGER_S = 2.0
#: the largest headers; the longest address has 8190 bytes
MOST_HEADER_BYTES = 2**16
#: connections that wait for a request; the oldest is closed for a new one
MOST_WAITING = 1000
#: threads for short requests and for downloads, besides those for uploads
SHORT_THREADS, DOWNLOAD_THREADS = 16, 16
#: seconds after which a client that was refused may try again
RETRY_AFTER_S = 5
#: how often deadlines are looked at
SWEEP_S = 0.25
NEEDED_FILES = 4096


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Read from a client that must not become too slow."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.begin()

    def begin(self) -> None:
        """Begin to measure a request."""
        self._waited_s, self._received = 0.0, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        began = time.monotonic()
        data = bytes(super().chunk(size_hint))
        self._waited_s += time.monotonic() - began
        self._received += len(data)
        if self._waited_s > SLOW_START_S and self._received < LEAST_BYTES_S * self._waited_s:
            raise TimeoutError("The body arrives too slowly.")
        return data


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose headers are collected by the main thread.

    Attributes:
        head: what has arrived of the next request.
        deadline_s: when it is closed; of the monotonic clock.
        lingers: whether it was answered for the last time.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.head = bytearray()
        self.deadline_s = 0.0
        self.lingers = False

    def has_headers(self) -> bool:
        """Return whether a thread can read the headers without waiting; it may have to refuse them."""
        line = self.cfg.limit_request_line
        return b"\r\n\r\n" in self.head or (len(self.head) > line and b"\r\n" not in self.head[: line + 2])

    def hand_over(self) -> None:
        """Give what was collected to gunicorn's parser."""
        if not self.initialized:
            self.init()
            self.parser.unreader = _Unreader(self.sock)
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()


class Places:
    """How many requests of each kind may be under way.

    Args:
        uploads: requests with a body. Half of them may wait for the end of their task.
        downloads: answers that are files.
    """

    def __init__(self, uploads: int, downloads: int) -> None:
        self._upload = threading.BoundedSemaphore(uploads)
        self._wait = threading.BoundedSemaphore(max(1, uploads // 2))
        self._download = threading.BoundedSemaphore(downloads)

    @contextlib.contextmanager
    def take(self, method: str, path: str, headers: dict[str, str]) -> Iterator[bool]:
        """Take what a request needs until the block ends.

        Args:
            method: such as "POST".
            path: without the query.
            headers: by name in capital letters.

        Returns:
            Whether there was room. If not, the request is to be refused before its body is read.
        """
        needed = self._needed(method, path, headers)
        taken: list[threading.BoundedSemaphore] = []
        try:
            for each in needed:
                if each.acquire(blocking=False):
                    taken.append(each)
            yield len(taken) == len(needed)
        finally:
            for each in taken:
                each.release()

    def _needed(self, method: str, path: str, headers: dict[str, str]) -> list[threading.BoundedSemaphore]:
        if headers.get("CONTENT-LENGTH", "0") != "0" or "TRANSFER-ENCODING" in headers:
            at_once = headers.get("X-IS-ASYNC", "").strip().lower() not in ("", "0", "false", "no", "off")
            waits = method == "POST" and path.rstrip("/") == "/v1/file" and not at_once
            return [self._upload, self._wait] if waits else [self._upload]
        if method == "GET" and path.startswith(("/v1/file/", "/admin/anonymizer/task/")):
            return [self._download]
        return []


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that ends with gunicorn, and that slow clients cannot stop."""

    def init_process(self) -> None:
        """Begin; gunicorn calls this in the new process."""
        die_with_parent(self.ppid)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = NEEDED_FILES if hard == resource.RLIM_INFINITY else min(NEEDED_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        self._places = Places(self.cfg.threads, DOWNLOAD_THREADS)
        # in the order of their beginnings
        self._waiting: dict[_Connection, None] = {}
        self._swept_s = 0.0
        self._stopped_s: float | None = None
        inspection.prepare()
        self.worker_connections = MOST_WAITING + 2 * self.cfg.threads
        super().init_process()

    def get_thread_pool(self) -> futures.ThreadPoolExecutor:
        """Make the threads; gunicorn calls this."""
        return futures.ThreadPoolExecutor(self.cfg.threads + SHORT_THREADS + DOWNLOAD_THREADS, "request")

    def accept(self, listener: Any) -> None:
        """Take a new connection; its headers are collected without a thread."""
        try:
            client, address = listener.accept()
        except OSError:
            # it was closed again, or no file numbers are left
            return
        if len(self._waiting) >= MOST_WAITING:
            self._drop(next(iter(self._waiting)))
        self.nr_conns += 1
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        self._wait_for(connection, HEADERS_S)

    def _wait_for(self, connection: _Connection, seconds: float) -> None:
        connection.deadline_s = time.monotonic() + seconds
        connection.sock.setblocking(False)
        self._waiting[connection] = None
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._read, connection))

    def _leave(self, connection: _Connection) -> None:
        del self._waiting[connection]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(connection.sock)

    def _drop(self, connection: _Connection) -> None:
        self._leave(connection)
        self.nr_conns -= 1
        connection.close()

    def _read(self, connection: _Connection, client: Any) -> None:
        try:
            data = connection.sock.recv(MOST_HEADER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif not connection.lingers:
            if not connection.head:
                # a kept connection begins its next request
                connection.deadline_s = time.monotonic() + HEADERS_S
            connection.head += data
            self._go_on(connection)

    def _go_on(self, connection: _Connection) -> None:
        if connection.has_headers():
            self._leave(connection)
            try:
                connection.hand_over()
            except OSError:
                self.nr_conns -= 1
                connection.close()
            else:
                self.enqueue_req(connection)
        elif len(connection.head) > MOST_HEADER_BYTES:
            self._refuse(connection, 431, "headers_too_large", f"The headers have more than {MOST_HEADER_BYTES} bytes.")

    def _refuse(self, connection: _Connection, status: int, code: str, sentence: str) -> None:
        """Answer a connection that waits, and close it."""
        self._leave(connection)
        with contextlib.suppress(OSError):
            # a short answer fits into the buffer of the connection
            connection.sock.send(_answer(status, code, sentence))
        self._linger(connection)

    def _linger(self, connection: _Connection) -> None:
        """Close a connection when the client has read the answer; the main thread does not wait for it."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.nr_conns -= 1
            connection.close()
            return
        connection.lingers = True
        self._wait_for(connection, LINGER_S)

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 (the signature is gunicorn's)
        """Close connections whose time is over; gunicorn's main thread calls this all the time."""
        now = time.monotonic()
        if now - self._swept_s < SWEEP_S and not force:
            return
        self._swept_s = now
        if not self.alive and self._stopped_s is None:
            self._stopped_s = now
        for connection in list(self._waiting):
            if self._stopped_s is not None and not connection.head:
                # no request has begun, and a stopping server need not wait for one for long
                connection.deadline_s = min(connection.deadline_s, self._stopped_s + LINGER_S)
            if force or connection.deadline_s <= now:
                if connection.head and not connection.lingers and not force:
                    self._refuse(connection, 408, "timeout", f"The headers took longer than {HEADERS_S:.0f} s.")
                else:
                    self._drop(connection)

    def handle_request(self, req: Any, conn: _Connection) -> bool:
        """Answer a request whose headers have arrived; a thread calls this."""
        conn.sock.settimeout(SILENCE_S)
        conn.parser.unreader.begin()
        with self._places.take(req.method, req.path, dict(req.headers)) as has_room:
            try:
                if has_room:
                    return bool(super().handle_request(req, conn))
                sentence = "Too many requests of this kind are under way. Try again later."
                conn.sock.sendall(_answer(503, "busy", sentence, retry_after=RETRY_AFTER_S))
            except TimeoutError:
                # the client takes nothing of its answer
                self.log.debug("A client was too slow.")
            return False

    def finish_request(self, conn: _Connection, fs: futures.Future[Any]) -> None:
        """Wait for the next request of a connection, or close it; the main thread calls this."""
        keep = not fs.cancelled() and fs.exception() is None and fs.result() is True
        if not keep:
            self._linger(conn)
            return
        # the client may have sent its next request already
        conn.head += conn.parser.unreader.take_buffered()
        self._wait_for(conn, HEADERS_S if conn.head else self.cfg.keepalive)
        self._go_on(conn)


def _answer(status: int, code: str, sentence: str, *, retry_after: int | None = None) -> bytes:
    """A whole answer of HTTP with the JSON object of the contract for errors."""
    body = json.dumps({"status_code": status, "error": sentence, "code": code}).encode()
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}", "Content-Type: application/json", f"Content-Length: {len(body)}",
        "Connection: close", *([] if retry_after is None else [f"Retry-After: {retry_after}"]),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


_REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}
