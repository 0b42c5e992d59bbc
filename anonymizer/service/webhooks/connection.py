"""One POST to one address that was checked: no redirect, no proxy, no name look-up, one deadline over all of it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from anonymizer.service.webhooks.targets import Receiver

__all__ = ["ANSWER_BYTES", "TIMEOUT_S", "Answer", "Deadline", "post", "resolve"]

#: the time for one try, from the name look-up to the last byte that is read
TIMEOUT_S = 10.0
#: how much of an answer is read
ANSWER_BYTES = 1024
CLOSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered.

    Attributes:
        status: the HTTP status, or None if no answer came.
        error: why the answer does not count; empty if it came in time.
        text: the beginning of the body.
    """

    status: int | None = None
    error: str = ""
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the receiver has the webhook: a 2xx status, in time."""
        return not self.error and self.status is not None and 200 <= self.status < 300


class Deadline:
    """Ends a connection when its time is over, whatever it waits for. A limit for each read does not do that.

    Args:
        seconds: the time from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self.is_over = False

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._forget()

    def left_s(self) -> float:
        """Return the seconds that are left, at least a millisecond."""
        return max(0.001, self._end_s - time.monotonic())

    def watch(self, connected: socket.socket) -> None:
        """End this connection when the time is over.

        Raises:
            TimeoutError: it is over already.
        """
        with self._lock:
            if self.is_over:
                raise TimeoutError
            self._forget()
            # TLS takes the socket itself away; a duplicate stays the handle of the same connection
            self._socket = connected.dup()

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _expire(self) -> None:
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with suppress(OSError):
                    # the receiver may have closed it in this moment
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Watched(HTTPConnection):
    """A connection to an address, which a deadline can end."""

    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        self.deadline.watch(connected)
        return connected


class _WatchedTLS(HTTPSConnection):
    deadline: Deadline

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        self.deadline.watch(connected)
        return connected


def resolve(receiver: Receiver, deadline: Deadline) -> list[str]:
    """Return the addresses of a receiver. The system's look-up has no time limit, so a thread of its own does it.

    Raises:
        OSError: the name does not exist, or the time is over.
    """
    if receiver.address is not None:
        return [receiver.host]
    future: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(receiver.host, receiver.port, type=socket.SOCK_STREAM)
            future.set_result([str(entry[4][0]) for entry in found])
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        return future.result(deadline.left_s())
    except FutureTimeout:
        raise TimeoutError("the name look-up took too long") from None
    except UnicodeError as error:
        raise OSError("the name cannot be looked up") from error


def post(
    receiver: Receiver,
    addresses: list[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    deadline: Deadline,
    context: ssl.SSLContext,
) -> Answer:
    """POST to the first address that answers.

    Args:
        receiver: gives the path, the header `Host`, and the name that the certificate must have.
        addresses: the addresses that were checked.
        headers: all headers besides `Host` and the length.
        body: sent as it is.
        deadline: ends the connection when its time is over.
        context: which certificates are trusted.
    """
    answer = Answer(error="no address")
    for address in addresses:
        answer = _post(receiver, address, headers, body, deadline, context)
        if answer.status is not None or deadline.is_over:
            break
    return answer


def _post(
    receiver: Receiver,
    address: str,
    headers: Mapping[str, str],
    body: bytes,
    deadline: Deadline,
    context: ssl.SSLContext,
) -> Answer:
    connection: _Watched | _WatchedTLS
    if receiver.scheme == "https":
        connection = _WatchedTLS(
            address, receiver.port, timeout=deadline.left_s(), ssl_context=context, server_hostname=receiver.host
        )
    else:
        connection = _Watched(address, receiver.port, timeout=deadline.left_s())
    connection.deadline = deadline
    status: int | None = None
    content = b""
    try:
        connection.request(
            "POST", receiver.path, body, {**headers, "Host": receiver.header, "Accept-Encoding": "identity"},
            preload_content=False, decode_content=False,
        )  # fmt: skip
        response = connection.getresponse()
        status = response.status
        content = response.read(ANSWER_BYTES, decode_content=False)
        error = ""
    except (HTTPError, HTTPException, OSError, ValueError) as problem:
        # a receiver that closes too early has given its status all the same
        error = "" if status is not None else f"no answer ({_cause(problem)})"
    finally:
        connection.close()
    if deadline.is_over or deadline.left_s() < CLOSE_S:
        # the limit of a single read may come a moment before the deadline
        error = f"the answer took longer than {TIMEOUT_S:.0f} s"
    # PostgreSQL keeps no NUL in texts
    return Answer(status, error, content.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"))


def _cause(error: BaseException) -> str:
    """The kind of an error, without the address that its text may have."""
    reason = getattr(error, "reason", None) or error.__cause__
    return type(reason if isinstance(reason, BaseException) else error).__name__
