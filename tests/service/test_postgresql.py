"""What only a server can do wrong: transactions at the same time, announcements, forks, and a lost server."""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing.queues import Queue
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from anonymizer.management import migrating
from anonymizer.models import IdempotencyKey, Status, Task, Token, WebhookStatus
from anonymizer.pipeline.options.options import Options
from anonymizer.service import claims, deletion, work
from anonymizer.service.clients import idempotency, quota, tokens, turns
from anonymizer.service.queueing import broker, notices, waiting
from anonymizer.service.queueing.connections import close_connections
from anonymizer.service.submit import submit
from anonymizer.service.webhooks import deliveries
from anonymizer.service.webhooks.connection import Answer
from tests.fakes import FakeDetector
from tests.pictures import encoded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]
Upload = Callable[..., Task]


def at_once(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Do something in several threads at the same moment, each with a connection of its own."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return action(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def in_processes(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Do something in several forked processes, each with connections of its own, and return what each gives."""
    context = multiprocessing.get_context("fork")
    answers: Queue[Any] = context.Queue()

    def run(number: int) -> None:
        answers.put(action(number))

    started = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in started:
        process.start()
    found = [answers.get(timeout=60) for _ in started]
    for process in started:
        process.join(20)
    return found


def test_processes_that_claim_at_the_same_time_take_each_task_once(upload: Upload) -> None:
    owner = tokens.create("one")[0]
    ids = [upload().pk for _ in range(30)]
    Task.objects.filter(pk__in=ids[::2]).update(owner=owner)

    def claim_all(number: int) -> list[str]:
        taken = []
        while (found := claims.next_waiting("image")) is not None:  # type: ignore[arg-type]
            claim = turns.claim_next(found, f"worker {number}")
            if claim is not None:
                taken.append(str(claim.task.pk))
        return taken

    taken = in_processes(4, claim_all)
    assert sorted(chain(*taken)) == sorted(map(str, ids))
    assert set(Task.objects.values_list("leases", flat=True)) == {1}


def test_no_connection_is_shared_over_a_fork(upload: Upload) -> None:
    assert Task.objects.count() == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ours = cursor.fetchone()[0]

    def backend(number: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), pg_sleep(0.2)")
            return int(cursor.fetchone()[0])

    theirs = in_processes(3, backend)
    assert len({ours, *theirs}) == 4
    # the ends of the children have not closed the connection of the parent
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] == ours


def test_a_waiting_request_is_woken_and_sends_few_queries(
    upload: Upload, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = upload()
    looks: list[float] = []
    real = Task.objects.filter

    def counting(*args: Any, **kwargs: Any) -> Any:
        looks.append(time.monotonic())
        return real(*args, **kwargs)

    def end(number: int) -> Any:
        if number:
            time.sleep(1)
            assert work.process(str(task.pk)) == "done"
            return time.monotonic()
        found = waiting.wait(task, 30)
        return time.monotonic(), found.status

    began = time.monotonic()
    monkeypatch.setattr(waiting.Task.objects, "filter", counting)
    (woken_s, status), ended_s = at_once(2, end)
    assert status == Status.DONE
    assert woken_s - began < 25
    assert ended_s - began > 1
    # the look before waiting, one when the connection listens, one at the end
    assert len([look for look in looks if look - began < 0.9]) <= 3


def test_the_pusher_is_woken_by_a_notification_and_asks_nothing_before() -> None:
    queue = broker.QuietORMBroker("somewhere")
    queue.purge_queue()
    while queue.dequeue():
        pass
    # the connection that listens is there now
    queue.dequeue()
    with connection.execute_wrapper(_refuse):
        assert queue.dequeue() is None
    other = broker.QuietORMBroker("elsewhere")
    other.enqueue("not for this one")
    queue.enqueue("a task")
    ((key, payload),) = queue.dequeue()
    assert payload == "a task"
    queue.acknowledge(key)
    assert queue.queue_size() == 0


def _refuse(*args: Any) -> Any:
    raise AssertionError("a query")


def test_a_notification_goes_to_one_of_the_pushers() -> None:
    queue = broker.QuietORMBroker("somewhere")
    for number in range(20):
        queue.enqueue(str(number))

    def take(number: int) -> list[str]:
        own, found = broker.QuietORMBroker("somewhere"), []
        while taken := own._take():
            found += [payload for _, payload in taken]
        return found

    assert sorted(chain(*at_once(4, take)), key=int) == [str(number) for number in range(20)]


def test_uploads_at_the_same_time_with_one_key_are_one_task_and_keep_the_quota(detector: FakeDetector) -> None:
    owner = tokens.create("one", tasks_a_day=3)[0]
    content = encoded()

    def post(number: int, key: str) -> str:
        try:
            options = Options()
            return str(
                submit(
                    io.BytesIO(content), options, options.object_types(), owner=owner,
                    key=idempotency.Key(key, "same"),
                ).pk
            )  # fmt: skip
        except quota.QuotaExceeded:
            return "refused"

    assert len(set(at_once(4, lambda number: post(number, "key")))) == 1
    assert (Task.objects.count(), IdempotencyKey.objects.count()) == (1, 1)
    answers = at_once(6, lambda number: post(number, f"key {number}"))
    assert answers.count("refused") == 4
    assert quota.used_today(owner)[0] == Task.objects.count() == 3


def test_a_deletion_and_the_end_of_a_webhook_do_not_block_each_other(upload: Upload) -> None:
    for _ in range(6):
        task = upload()
        Task.objects.filter(pk=task.pk).update(
            status=Status.DONE, webhook_url="http://localhost/", webhook_status=WebhookStatus.SET
        )
        task.refresh_from_db()
        deliveries.enqueue(task)
        taken = deliveries.take_due()
        assert taken is not None
        ends = [partial(deliveries.end, taken, Answer(status=200)), partial(deletion.delete_files, task)]
        at_once(2, lambda number, ends=ends: ends[number]())
        task.refresh_from_db()
        assert (task.status, task.webhook_url) == (Status.DELETED, "")


def test_a_result_and_a_deletion_at_the_same_time_leave_nothing_behind(
    upload: Upload, detector: FakeDetector, media: Any
) -> None:
    for _ in range(4):
        task = upload()
        ends = [partial(work.process, str(task.pk)), partial(deletion.delete_files, task)]
        outcome = at_once(2, lambda number, ends=ends: ends[number]())
        task.refresh_from_db()
        assert task.status == Status.DELETED, outcome
        assert task.files.count() == 0
    assert [path for alias in ("input", "output") for path in (media / alias).rglob("*") if path.is_file()] == []


def test_recover_notifies_once_however_many_do_it_at_once(upload: Upload, settings: Any) -> None:
    long_ago = timezone.now() - 100 * settings.LEASE
    for _ in range(10):
        upload()
    Task.objects.update(created=long_ago, notified_at=long_ago)
    assert claims.recover(notify=False) == 0
    assert sum(at_once(3, lambda number: claims.recover())) == 10


def test_only_one_process_migrates_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "PAUSE_S", 0.02)
    inside: list[int] = []

    def migrate(number: int) -> None:
        with migrating.one_at_a_time():
            inside.append(number)
            time.sleep(0.1)
            assert inside[-1] == number
            inside.append(number)

    at_once(3, migrate)
    assert inside[::2] == inside[1::2]
    monkeypatch.setattr(migrating, "WAIT_S", 0.1)
    with migrating.one_at_a_time(), pytest.raises(OperationalError), migrating.one_at_a_time():
        pass


def test_a_server_that_ended_all_connections_is_reached_again(upload: Upload, detector: FakeDetector) -> None:
    task = upload()
    with notices.NoticeWatch(notices.ENDED, str(task.pk)) as watched:
        while watched.wait(0.5):
            pass
        _end_all_connections()
        assert work.process(str(task.pk)) == "done"
        # what listens is told to look, because it may have missed something
        assert watched.wait(10)
    assert Task.objects.get(pk=task.pk).status == Status.DONE
    assert Token.objects.count() == 0


def _end_all_connections() -> None:
    with notices.session() as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_close_connections_leaves_none_to_a_fork() -> None:
    assert Task.objects.count() == 0
    close_connections()
    assert connections["default"].connection is None
    assert os.getpid() and Task.objects.count() == 0
