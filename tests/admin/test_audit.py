"""The audit log: who did what, by the API and in the admin; and what the admin offers for webhooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from anonymizer.models import AuditEvent, DeletionReceipt, Task
from anonymizer.service import work
from anonymizer.service.accounting import audit
from anonymizer.service.cleanup import cleanup
from anonymizer.service.clients import tokens
from anonymizer.service.webhooks import sender
from tests.admin.test_tasks import act, done, member, operator, thumbnail  # noqa: F401 (fixtures)
from tests.service.conftest import detector, upload  # noqa: F401 (fixtures)
from tests.service.webhooks.conftest import ended, on_loopback, receiver  # noqa: F401 (fixtures)
from tests.service.webhooks.receivers import Receiver, answer

pytestmark = pytest.mark.django_db(transaction=True)
AUDIT, RECEIPTS = "/admin/anonymizer/auditevent/", "/admin/anonymizer/deletionreceipt/"


def events(task: Task) -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.filter(task=task.pk).order_by("id")
    return [(row.action, row.file, row.actor) for row in rows]


def get(client: Client, path: str, **headers: str) -> int:
    response = client.get(path, headers=headers)
    if response.streaming:
        b"".join(response.streaming_content)  # type: ignore[attr-defined]
        response.close()
    return response.status_code


def test_the_api_writes_down_what_anonymous_callers_do(done: Task) -> None:  # noqa: F811
    for kind in ("original", "anonymised", "anonymised", "binary-mask"):
        assert get(Client(), f"/v1/file/{done.pk}/{kind}") == 200
    # a player reads a file in parts
    for part in ("bytes=0-9", "bytes=10-19"):
        assert get(Client(), f"/v1/file/{done.pk}/anonymised", range=part) == 206
    assert get(Client(), f"/v1/file/{done.pk}/video/metadata") == 409
    Client().delete(f"/v1/task/{done.pk}")
    Client().delete(f"/v1/task/{done.pk}")
    assert events(done) == [
        ("uploaded", "", "anonymous"),
        ("original_seen", "original", "anonymous"),
        ("downloaded", "anonymised", "anonymous"),
        ("downloaded", "binary-mask", "anonymous"),
        ("deleted", "", "anonymous"),
    ]


def test_a_client_is_named_by_its_token(done: Task) -> None:  # noqa: F811
    token, secret = tokens.create("cameras")
    Task.objects.filter(pk=done.pk).update(owner=token)
    assert get(Client(), f"/v1/file/{done.pk}/original", authorization=f"Bearer {secret}") == 200
    assert Client().delete("/v1/task/list", headers={"authorization": f"Bearer {secret}"}).json() == {"deleted": 1}
    assert events(done)[1:] == [("original_seen", "original", "client:cameras"), ("deleted", "", "client:cameras")]
    assert secret not in str(list(AuditEvent.objects.values_list()))


def test_the_admin_writes_down_what_its_users_do(operator: Client, done: Task) -> None:  # noqa: F811
    name = "admin:staff-view_task-change_task-delete_task-view_file-delete_file-view_original"
    get(operator, thumbnail(done, "original"))
    get(operator, f"/admin/anonymizer/task/{done.pk}/file/anonymised/")
    act(operator, "run_again", done)
    again = Task.objects.exclude(pk=done.pk).get()
    act(operator, "delete_with_files", done, post="yes")
    assert events(done)[1:] == [
        ("original_seen", "original", name),
        ("downloaded", "anonymised", name),
        ("deleted", "", name),
    ]
    assert events(again) == [("uploaded", "", name)]
    assert DeletionReceipt.objects.get(task=done.pk).actor == name


def test_a_single_file_that_is_deleted_is_written_down(operator: Client, done: Task, media: Path) -> None:  # noqa: F811
    file = done.file("original")  # type: ignore[arg-type]
    assert file is not None
    form = {
        "files-TOTAL_FORMS": "1", "files-INITIAL_FORMS": "1", "files-MIN_NUM_FORMS": "0", "files-MAX_NUM_FORMS": "1000",
        "files-0-id": str(file.pk), "files-0-task": str(done.pk), "files-0-DELETE": "on",
    }  # fmt: skip
    operator.post(f"/admin/anonymizer/task/{done.pk}/change/", form)
    assert events(done)[-1][:2] == ("deleted", "original")
    receipt = DeletionReceipt.objects.get(task=done.pk)
    assert [each["sha256"] for each in receipt.files] == [file.sha256]
    assert receipt.confirmed is not None


def test_clean_up_is_written_down_too(done: Task) -> None:  # noqa: F811
    from datetime import timedelta

    cleanup(timedelta(0), actor=audit.COMMAND)
    assert events(done)[-1] == ("deleted", "", "command")


def test_the_log_can_only_grow(done: Task) -> None:  # noqa: F811
    event = AuditEvent.objects.get(task=done.pk)
    event.actor = "nobody"
    for change in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(actor="nobody"),
    ):
        with pytest.raises(TypeError, match="append-only"):
            change()
    assert events(done) == [("uploaded", "", "anonymous")]


def test_nobody_changes_the_log_or_the_receipts_in_the_admin(done: Task) -> None:  # noqa: F811
    from django.contrib.auth.models import User

    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    Client().delete(f"/v1/task/{done.pk}")
    for path, row in ((AUDIT, AuditEvent.objects.latest("id")), (RECEIPTS, DeletionReceipt.objects.get())):
        assert str(done.pk) in root.get(path).content.decode()
        assert root.get(f"{path}{row.pk}/change/").status_code == 200
        assert root.get(f"{path}add/").status_code == 403
        assert root.post(f"{path}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert root.post(f"{path}{row.pk}/change/", {"actor": "nobody"}).status_code == 403
    assert get(member("view_task"), AUDIT) == 403


def test_tries_are_shown_and_a_webhook_is_sent_again(
    operator: Client,  # noqa: F811
    ended: Callable[..., Task],  # noqa: F811
    receiver: Callable[..., Receiver],  # noqa: F811
) -> None:
    bad = receiver(answer(503, b"<b>down</b>"), answer(200))
    task = ended(bad.url, header="X-Key", value="secret")
    sender.send_due()
    page = operator.get(f"/admin/anonymizer/task/{task.pk}/change/").content.decode()
    assert "503" in page and "&lt;b&gt;down" in page and "secret" not in page
    Task.objects.filter(pk=task.pk).update(webhook_header_value="")
    assert "the value of the header X-Key" in act(operator, "send_webhook_again", task)
    assert "1 webhook(s) will be sent again" in act(operator, "send_webhook_again", task, header_value="typed")
    sender.send_due()
    assert bad.header("X-Key") == "typed"


def test_a_worker_needs_no_right_to_the_log(done: Task) -> None:  # noqa: F811
    assert work.process(str(done.pk)) == "nothing to do"
    assert len(events(done)) == 1
