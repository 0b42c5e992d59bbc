"""Redis carries notifications and counts requests. While it is away, nothing is lost and nothing fails."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from anonymizer.models import Status, Task
from anonymizer.service import health, work
from anonymizer.service.clients import rates
from anonymizer.service.queueing import broker
from anonymizer.service.queueing.broker import QuietRedisBroker
from anonymizer.service.queueing.flags import Flag
from celantur_site import backends
from tests.conftest import free_port
from tests.fakes import FakeDetector

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


class OwnRedis:
    """A Redis of this test alone, which it may stop."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while broker.problem():
            assert time.monotonic() < end
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis]:
    monkeypatch.setattr(OwnRedis, "start", _with_settings(settings, OwnRedis.start))
    monkeypatch.setattr(broker, "_silence", broker._Silence())
    started = OwnRedis(tmp_path)
    yield started
    started.stop()


def _with_settings(settings: Any, start: Callable[[OwnRedis], None]) -> Callable[[OwnRedis], None]:
    def started(self: OwnRedis) -> None:
        settings.BROKER_URL = self.url
        settings.CACHES = backends.caches(self.url)
        start(self)

    return started


def test_notifications_come_in_their_order_and_are_handed_out_once(own_redis: OwnRedis) -> None:
    queue, other = QuietRedisBroker("somewhere"), QuietRedisBroker("somewhere")
    for name in (b"first", b"second"):
        assert queue.enqueue(name)
    assert queue.queue_size() == 2
    assert [payload for _, payload in queue.dequeue()] == [b"first"]
    assert [payload for _, payload in other.dequeue()] == [b"second"]
    assert queue.dequeue() is None


def test_an_upload_succeeds_without_redis_and_a_worker_finds_it(
    own_redis: OwnRedis, upload: Callable[..., Task], detector: FakeDetector, caplog: pytest.LogCaptureFixture
) -> None:
    assert health.readiness()["broker"] == "ok"
    own_redis.stop()
    assert "the broker does not answer" in health.readiness()["broker"]
    with caplog.at_level(logging.WARNING, "anonymizer"):
        tasks = [upload() for _ in range(3)]
    # one line, not one for each
    assert len([record for record in caplog.records if "Redis" in record.getMessage()]) == 1
    for _ in tasks:
        found = work.find()
        assert found is not None
        assert work.process(*found["args"]) == "done"
    assert set(Task.objects.values_list("status", flat=True)) == {Status.DONE}


def test_the_pusher_outlives_redis_and_has_idle_workers_look(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "AWAY_S", 0.05)
    queue = QuietRedisBroker("somewhere")
    queue.away = Flag()
    own_redis.stop()
    assert queue.dequeue() is None
    assert queue.away.is_set()
    own_redis.start()
    time.sleep(broker.SILENT_S)
    queue.enqueue(b"again")
    end = time.monotonic() + 20
    while not (found := queue.dequeue()):
        assert time.monotonic() < end
    assert found[0][1] == b"again"
    assert not queue.away.is_set()


def test_requests_are_counted_together_and_each_for_itself_without_redis(own_redis: OwnRedis) -> None:
    key = "client_of_this_test"
    assert [rates.count(key, 60) for _ in range(3)] == [1, 2, 3]
    # as another process counts
    assert caches["default"].incr(key) == 4
    own_redis.stop()
    assert [rates.count(key, 60) for _ in range(2)] == [1, 2]
    own_redis.start()
    assert rates.count(key, 60) == 1
