"""Receivers that are slow, large or deceitful: they cost one try and ten seconds, and nothing else."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anonymizer.models import Task, WebhookStatus, WebhookTry
from anonymizer.service.webhooks import connection, sender
from tests.service.webhooks.receivers import Receiver, answer, certificate, drip, endless

pytestmark = pytest.mark.django_db(transaction=True)
Ended = Callable[..., Task]
Start = Callable[..., Receiver]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that a test can wait for."""
    monkeypatch.setattr(sender, "TIMEOUT_S", 0.5)


def tried(task: Task) -> WebhookTry:
    """The only try so far, after sending what is due."""
    sender.send_due()
    return WebhookTry.objects.get(delivery__task=task)


@pytest.mark.parametrize("script", [drip(0.1), drip(0.1, headers=True)], ids=["body", "headers"])
def test_a_byte_now_and_then_does_not_hold_it(ended: Ended, receiver: Start, short: None, script: Any) -> None:
    started = time.monotonic()
    attempt = tried(ended(receiver(script).url))
    assert time.monotonic() - started < 3
    assert "took longer" in attempt.error


def test_a_receiver_that_accepts_and_stays_silent_does_not_hold_it(ended: Ended, short: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "took longer" in tried(ended(url)).error
        # a TLS handshake that never comes is under the same deadline
        task = ended(url.replace("http:", "https:"))
        started = time.monotonic()
        assert "took longer" in tried(task).error
        assert time.monotonic() - started < 3


def test_a_name_look_up_that_hangs_does_not_hold_it(ended: Ended, short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    started = time.monotonic()
    attempt = tried(ended("http://receiver.example/"))
    assert time.monotonic() - started < 2
    assert attempt.error == "the receiver was not found (TimeoutError)"


def test_only_the_first_kilobyte_is_read(ended: Ended, receiver: Start) -> None:
    sent: list[int] = []
    task = ended(receiver(endless(sent)).url)
    attempt = tried(task)
    assert (attempt.status, len(attempt.answer)) == (200, 1024)
    # what is in the buffers of the two sockets, and no more
    assert len(sent) < 16
    assert Task.objects.get(pk=task.pk).webhook_status == WebhookStatus.SENT


def test_an_answer_that_is_compressed_is_not_unpacked(ended: Ended, receiver: Start) -> None:
    bomb = gzip.compress(bytes(2**26), 1)
    task = ended(receiver(answer(200, bomb, "Content-Encoding: gzip")).url)
    tracemalloc.start()
    attempt = tried(task)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert attempt.status == 200
    assert len(attempt.answer) <= 1024
    assert peak < 2**23


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_is_no_success(ended: Ended, receiver: Start, status: int) -> None:
    other = receiver(answer(200))
    first = receiver(answer(status, b"", f"Location: {other.url}"))
    task = ended(first.url)
    assert tried(task).status == status
    assert (len(first.requests), other.requests) == (1, [])
    assert Task.objects.get(pk=task.pk).webhook_status == WebhookStatus.SET


@pytest.mark.parametrize("status", [199 + 1, 204, 299])
def test_every_2xx_is_a_success(ended: Ended, receiver: Start, status: int) -> None:
    task = ended(receiver(answer(status)).url)
    sender.send_due()
    assert Task.objects.get(pk=task.pk).webhook_status == WebhookStatus.SENT


@pytest.mark.parametrize("status", [304, 400, 401, 404, 410, 500, 503])
def test_nothing_else_is(ended: Ended, receiver: Start, status: int) -> None:
    task = ended(receiver(answer(status)).url)
    assert tried(task).status == status
    assert Task.objects.get(pk=task.pk).webhook_status == WebhookStatus.SET


def test_nobody_there_is_a_try_without_a_status(ended: Ended) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    attempt = tried(ended(f"http://127.0.0.1:{port}/?secret=1"))
    assert attempt.status is None
    assert attempt.error.startswith("no answer (")
    assert "secret" not in attempt.error


def test_an_answer_that_is_no_http_is_a_failed_try(ended: Ended, receiver: Start) -> None:
    attempt = tried(ended(receiver(lambda connected: connected.sendall(b"\0\0 hello\r\n\r\n")).url))
    assert (attempt.status, attempt.error[:9]) == (None, "no answer")


def test_variables_of_the_environment_change_nothing(
    ended: Ended, receiver: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy, good = receiver(answer(200)), receiver(answer(200))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    tried(ended(good.url))
    assert (len(good.requests), proxy.requests) == (1, [])
    assert good.header("Authorization") is None


@pytest.mark.parametrize("name", ["Host", "X-Anonymizer-Delivery", "Transfer_Encoding"])
def test_a_header_that_an_older_version_stored_is_not_sent(ended: Ended, receiver: Start, name: str) -> None:
    good = receiver(answer(200))
    tried(ended(good.url, header=name, value="old value"))
    assert b"old value" not in good.requests[0]


class TestPinning:
    """The name is looked up once. What is connected to is the address that was checked."""

    @pytest.fixture
    def resolver(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names that were looked up; each has the address 127.0.0.1 at first, and another one later."""
        asked: list[str] = []
        real = socket.getaddrinfo

        def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host.endswith("example"):
                asked.append(host)
                return real("127.0.0.1" if len(asked) == 1 else "127.0.0.99", *args, **kwargs)
            return real(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    def test_http(self, ended: Ended, receiver: Start, resolver: list[str]) -> None:
        good = receiver(answer(200))
        assert tried(ended(f"http://Receiver.example:{good.port}/x")).status == 200
        assert resolver == ["receiver.example"]
        assert good.header("Host") == f"receiver.example:{good.port}"

    @pytest.mark.parametrize(("name", "status"), [("receiver.example", 200), ("other.example", None)])
    def test_the_certificate_must_have_the_name(
        self, ended: Ended, receiver: Start, resolver: list[str], settings: Any, tmp_path: Path, name: str,
        status: int | None,
    ) -> None:  # fmt: skip
        path, context = certificate(tmp_path, "receiver.example")
        asked: list[str | None] = []
        context.sni_callback = lambda _, server_name, __: asked.append(server_name)
        settings.WEBHOOK_CA_FILE = str(path)
        sender._trusted.cache_clear()
        good = receiver(answer(200), context=context)
        attempt = tried(ended(f"https://{name}:{good.port}/"))
        sender._trusted.cache_clear()
        assert attempt.status == status, attempt.error
        assert (asked, len(good.requests)) == ([name], 1 if status else 0)

    def test_a_certificate_of_nobody_is_refused(self, ended: Ended, receiver: Start, tmp_path: Path) -> None:
        _, context = certificate(tmp_path, "receiver.example")
        good = receiver(answer(200), context=context)
        attempt = tried(ended(good.url))
        assert (attempt.status, good.requests) == (None, [])
        assert "SSL" in attempt.error

    def test_a_server_on_the_network_reaches_no_loopback(
        self, ended: Ended, receiver: Start, resolver: list[str], settings: Any
    ) -> None:
        good = receiver(answer(200))
        for host in ("0.0.0.0", "", "192.0.2.1"):
            settings.HOST = host
            assert not sender.serves_loopback_only()
        attempt = tried(ended(f"http://receiver.example:{good.port}/"))
        assert (attempt.status, good.requests) == (None, [])
        assert attempt.error == "refused: receiver.example has the address 127.0.0.1, which is this machine itself"


def test_the_deadline_is_ten_seconds() -> None:
    assert (connection.TIMEOUT_S, connection.ANSWER_BYTES) == (10, 1024)
