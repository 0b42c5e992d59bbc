"""Repeated uploads, turns of clients, and what is refused when there is no room."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from anonymizer.models import IdempotencyKey, Kind, Status, Task, Token, TokenUsage
from anonymizer.pipeline.options.options import Options
from anonymizer.service import claims, cleanup, deletion, submit, work
from anonymizer.service.clients import capacity, idempotency, quota, tokens, turns
from anonymizer.service.clients.errors import KeyReused, QuotaExceeded
from tests.api.clients import ApiClient, error
from tests.fakes import FakeDetector
from tests.pictures import encoded
from tests.service.conftest import detector  # noqa: F401 (a fixture)
from tests.service.test_task_life import stored

pytestmark = pytest.mark.django_db(transaction=True)


def waiting(owner: Token | None, count: int, kind: str = Kind.IMAGE) -> list[Task]:
    """Tasks that wait, the first of them for the longest time."""
    now = timezone.now()
    return Task.objects.bulk_create(
        Task(status=Status.QUEUED, kind=kind, owner=owner, created=now + timedelta(milliseconds=number))
        for number in range(count)
    )


# --- repeated uploads ---


def test_an_upload_that_is_repeated_is_one_task(media: Path) -> None:
    client = ApiClient("a", tasks_a_day=1)
    first = client.task(Idempotency_Key="k")
    files = stored(media / "input")
    # the quota is used up, but nothing new is uploaded
    assert client.task(Idempotency_Key="k") == first
    assert (Task.objects.count(), stored(media / "input")) == (1, files)
    assert error(client.upload(Idempotency_Key="k2")) == (429, "quota_exceeded")


@pytest.mark.parametrize(
    "change",
    [{"content": encoded(quality=50)}, {"query": "face=1&method=blacken"}, {"query": "face=1&name=b.jpg"}],
)
def test_another_upload_with_the_same_key_is_refused(change: dict[str, Any], media: Path) -> None:
    client = ApiClient("a")
    client.task(Idempotency_Key="k")
    files = stored(media / "input")
    assert error(client.upload(**change, Idempotency_Key="k")) == (409, "key_reused")
    assert (Task.objects.count(), stored(media / "input")) == (1, files)
    assert client.upload(**change, Idempotency_Key="other").status_code == 202
    assert client.upload(**change).status_code == 202


def test_keys_of_two_clients_have_nothing_to_do_with_each_other() -> None:
    first, second = ApiClient("a"), ApiClient("b")
    assert first.task(Idempotency_Key="k") != second.task(Idempotency_Key="k")


def test_a_server_without_tokens_knows_keys_too() -> None:
    client = ApiClient()
    assert client.task(Idempotency_Key="k") == client.task(Idempotency_Key="k")
    assert error(client.upload(query="method=blacken", Idempotency_Key="k")) == (409, "key_reused")


def test_a_key_is_forgotten_after_a_day() -> None:
    client = ApiClient("a")
    first = client.task(Idempotency_Key="k")
    IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=23.9))
    assert client.task(Idempotency_Key="k") == first
    IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=24.1))
    assert client.task(Idempotency_Key="k") != first
    assert IdempotencyKey.objects.count() == 1


def test_the_clean_up_forgets_old_keys_and_old_use(media: Path) -> None:
    client = ApiClient("a")
    client.task(Idempotency_Key="k")
    cleanup.scheduled()
    assert (IdempotencyKey.objects.count(), TokenUsage.objects.count()) == (1, 1)
    IdempotencyKey.objects.update(created=timezone.now() - timedelta(hours=25))
    TokenUsage.objects.update(day=timezone.now().date() - timedelta(days=32))
    cleanup.scheduled()
    assert (IdempotencyKey.objects.count(), TokenUsage.objects.count()) == (0, 0)


@pytest.mark.parametrize("key", ["é" * 3, "k" * 256])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    assert error(ApiClient("a").upload(Idempotency_Key=key)) == (400, "invalid_parameter")


def in_threads(count: int, function: Callable[[], object]) -> list[object]:
    """Call a function in several threads at the same time, each with a database connection of its own."""
    barrier = threading.Barrier(count)

    def call(_: int) -> object:
        try:
            barrier.wait(30)
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def submitted(owner: Token, key: idempotency.Key | None = None, quality: int = 90) -> str:
    options = Options()
    upload = io.BytesIO(encoded(quality=quality))
    return str(submit.submit(upload, options, options.object_types(), owner=owner, key=key).pk)


def test_two_uploads_at_the_same_time_make_one_task(detector: FakeDetector, media: Path) -> None:  # noqa: F811
    owner, _ = tokens.create("a")
    for number in range(3):
        key = idempotency.Key(f"k{number}", "")
        assert len(set(in_threads(4, lambda key=key: submitted(owner, key)))) == 1  # type: ignore[misc]
    assert Task.objects.count() == IdempotencyKey.objects.count() == len(stored(media / "input")) == 3


def test_uploads_at_the_same_time_cannot_exceed_the_quota_together(detector: FakeDetector) -> None:  # noqa: F811
    owner, _ = tokens.create("a", tasks_a_day=3)

    def attempt() -> object:
        try:
            return submitted(owner)
        except QuotaExceeded:
            return None

    assert sum(each is not None for each in in_threads(6, attempt)) == 3
    assert quota.used_today(owner)[0] == Task.objects.count() == 3


def test_a_key_belongs_to_bytes_and_parameters(detector: FakeDetector) -> None:  # noqa: F811
    owner, _ = tokens.create("a")
    submitted(owner, idempotency.Key("k", "same"))
    for parameters, quality in (("other", 90), ("same", 50)):
        with pytest.raises(KeyReused):
            submitted(owner, idempotency.Key("k", parameters), quality)


# --- turns ---


def taken(task_id: object) -> str | None:
    claim = turns.claim_next(str(task_id), "worker")
    return None if claim is None else str(claim.task.pk)


def test_one_photo_is_next_although_thousands_of_another_client_wait() -> None:
    busy, modest = tokens.create("busy")[0], tokens.create("modest")[0]
    many = waiting(busy, 2_000)
    assert taken(many[0].pk) == str(many[0].pk)
    (photo,) = waiting(modest, 1)
    # the notifications come in the order of the uploads: the next one is of the busy client
    assert taken(many[1].pk) == str(photo.pk)
    assert taken(many[2].pk) == str(many[1].pk)


def test_clients_take_turns_and_nothing_is_left() -> None:
    owners = [tokens.create(name)[0] for name in "abc"]
    tasks = [task for owner, count in zip(owners, (5, 3, 1), strict=True) for task in waiting(owner, count)]
    order = [taken(task.pk) for task in tasks]
    names = [Task.objects.get(pk=task_id).owner.name for task_id in order]  # type: ignore[union-attr]
    assert "".join(names) == "abcababaa"
    assert set(order) == {str(task.pk) for task in tasks}
    # the tasks of one client come in the order of their uploads
    assert [task_id for task_id in order if task_id in {str(task.pk) for task in tasks[:5]}] == [
        str(task.pk) for task in tasks[:5]
    ]
    assert taken(tasks[0].pk) is None


def test_turns_are_taken_within_one_kind_of_file() -> None:
    busy, modest = tokens.create("busy")[0], tokens.create("modest")[0]
    images = waiting(busy, 2)
    waiting(modest, 1, Kind.VIDEO)
    assert [taken(image.pk) for image in images] == [str(image.pk) for image in images]


def test_a_deleted_task_gives_its_turn_to_the_next_one() -> None:
    owner, _ = tokens.create("a")
    first, second = waiting(owner, 2)
    deletion.delete_files(first)
    assert taken(first.pk) == str(second.pk)


def test_tasks_of_before_the_first_token_are_not_forgotten() -> None:
    old = waiting(None, 2)
    owner, _ = tokens.create("a")
    (new,) = waiting(owner, 1)
    order = [taken(task.pk) for task in (*old, new)]
    assert set(order) == {str(task.pk) for task in (*old, new)}


def test_without_tokens_a_notification_is_for_its_task_only(detector: FakeDetector) -> None:  # noqa: F811
    first, second = waiting(None, 2)
    assert taken(second.pk) == str(second.pk)
    assert taken(second.pk) is None
    assert work.process(str(first.pk)).startswith("failed")


def test_a_task_whose_worker_was_lost_is_taken_at_once() -> None:
    busy, modest = tokens.create("busy")[0], tokens.create("modest")[0]
    (lost,) = waiting(busy, 1)
    assert claims.claim(str(lost.pk), "dead") is not None
    Task.objects.filter(pk=lost.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    waiting(modest, 1)
    assert taken(lost.pk) == str(lost.pk)


# --- no room ---


def was_read(answer: Any) -> bool:
    """Whether the server read any of the request's body."""
    return bool(answer.wsgi_request._read_started)


def test_a_full_queue_is_told_before_the_bytes_are_taken(settings: Any) -> None:
    settings.MAX_QUEUE = 4
    busy, modest = ApiClient("busy"), ApiClient("modest")
    waiting(busy.token, 2)
    answer = busy.upload()
    assert error(answer) == (503, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0
    assert not was_read(answer)
    # one client fills half of the queue, and leaves the rest to others
    answer = modest.upload()
    assert answer.status_code == 202
    assert was_read(answer)
    waiting(None, 1)
    assert error(modest.upload()) == (503, "queue_full")


def test_a_full_disk_is_told_before_the_bytes_are_taken(settings: Any, media: Path) -> None:
    client = ApiClient("a")
    settings.MIN_FREE_BYTES = 2**62
    answer = client.upload(Idempotency_Key="k")
    assert error(answer) == (507, "no_room")
    assert int(answer.headers["Retry-After"]) > 0
    assert stored(media) == []
    assert not was_read(answer)
    settings.MIN_FREE_BYTES = 0
    first = client.task(Idempotency_Key="k")
    settings.MIN_FREE_BYTES = 2**62
    # its bytes are here already
    assert client.task(Idempotency_Key="k") == first


def test_the_room_that_an_upload_needs_counts(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MIN_FREE_BYTES = 100
    monkeypatch.setattr(capacity, "_free_bytes", lambda alias: 1000)
    capacity.check(None, 900)
    with pytest.raises(capacity.NoRoom):
        capacity.check(None, 901)
