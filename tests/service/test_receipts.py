"""Receipts and verification of tasks: the work of a worker, with a detector that is passed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from anonymizer.checks import check_defaults, check_receipt_key
from anonymizer.models import FileKind, KeptReceipt, Status, Task
from anonymizer.pipeline.receipts.receipt import Receipt
from anonymizer.pipeline.receipts.signing import load_public_key, make_key
from anonymizer.service import deletion, work
from anonymizer.service.submit import run_again
from tests.fakes import FakeDetector
from tests.pictures import encoded
from tests.pipeline.proof.test_pictures import textured

pytestmark = pytest.mark.django_db(transaction=True)


def worked(task: Task) -> Task:
    work.process(str(task.pk))
    task.refresh_from_db()
    return task


def downloaded(client: Client, task: Task) -> tuple[int, bytes]:
    answer = client.get(f"/v1/file/{task.pk}/receipt")
    return answer.status_code, b"".join(answer.streaming_content) if answer.streaming else answer.content


def test_a_task_has_a_signed_receipt_that_stays_after_its_deletion(
    upload: Callable[..., Task], client: Client, settings: Any, tmp_path: Path
) -> None:
    make_key(tmp_path / "receipt.pem")
    settings.RECEIPT_KEY = str(tmp_path / "receipt.pem")
    task = upload(encoded(textured()), verify=True)
    assert downloaded(client, task)[0] == 409
    assert worked(task).status == Status.DONE
    shown = client.get(f"/v1/task/{task.pk}").json()
    assert shown["receipt_url"] == f"http://here/v1/file/{task.pk}/receipt"
    status, data = downloaded(client, task)
    assert status == 200
    receipt = Receipt.load(data)
    assert receipt.problem(load_public_key(tmp_path / "receipt.pem.pub")) is None
    content, stored = receipt.content, {file.kind: file for file in task.files.all()}
    assert content["task"] == str(task.pk)
    assert content["input"] == {"sha256": stored["original"].sha256, "bytes": stored["original"].size}
    assert content["outputs"] == {
        kind: {"sha256": stored[kind].sha256, "bytes": stored[kind].size}
        for kind in ("anonymised", "binary-mask", "instance-mask", "metadata")
    }
    assert content["counts"] == task.detections
    assert content["coverage"] == task.review_counts
    assert content["verification"]["added"] == {"face": 1}
    assert content["times"]["finished"] == shown["finished"]
    assert task.name.encode() not in data
    deletion.delete_files(task)
    assert not task.files.exists()
    assert downloaded(client, task) == (200, data)
    assert client.get(f"/v1/file/{task.pk}/anonymised").status_code == 410
    task.delete()
    assert not KeptReceipt.objects.exists()


def test_without_a_key_it_says_that_it_is_not_signed(upload: Callable[..., Task], client: Client) -> None:
    task = worked(upload())
    envelope = json.loads(downloaded(client, task)[1])
    assert envelope["signature"] is None
    assert envelope["receipt"]["signed"] is False
    assert envelope["receipt"]["verification"] is None


def test_a_task_that_was_deleted_before_it_was_done_has_none(upload: Callable[..., Task], client: Client) -> None:
    task = upload()
    deletion.delete_files(task)
    assert downloaded(client, task)[0] == 410
    assert downloaded(client, Task(pk="0199f1c2-0000-7000-8000-000000000000"))[0] == 404


def test_a_task_that_is_run_again_has_a_receipt_of_its_own(upload: Callable[..., Task], client: Client) -> None:
    first = worked(upload())
    second = worked(run_again(first))
    receipts = [json.loads(downloaded(client, task)[1])["receipt"] for task in (first, second)]
    assert [receipt["task"] for receipt in receipts] == [str(first.pk), str(second.pk)]
    assert receipts[0]["input"] == receipts[1]["input"]


def test_what_the_second_look_added_is_no_detection_of_the_next_run(upload: Callable[..., Task]) -> None:
    first = worked(upload(encoded(textured()), verify=True))
    assert first.detections == {"face": 2, "license-plate": 1, "person": 0, "vehicle": 0}
    assert any("looked at again" in warning for warning in first.warnings)
    from anonymizer.pipeline.options.options import Options

    second = worked(run_again(first, Options()))
    assert second.detections["face"] == 1


def test_strict_fails_the_task_and_leaves_no_result(upload: Callable[..., Task], client: Client) -> None:
    task = worked(upload(encoded(textured()), verify="strict"))
    assert (task.status, task.failure_cause) == (Status.FAILED, "verification_failed")
    assert "still shows objects: a face of 40 x 40 pixels" in str(task.error)
    assert [file.kind for file in task.files.all()] == [FileKind.ORIGINAL]
    assert downloaded(client, task)[0] == 409


def test_a_key_that_cannot_be_used_is_named_by_the_check_and_fails_the_task(
    upload: Callable[..., Task], detector: FakeDetector, settings: Any, tmp_path: Path
) -> None:
    settings.RECEIPT_KEY = str(tmp_path / "none.pem")
    (problem,) = check_receipt_key(None)
    assert problem.id == "anonymizer.E005"
    assert "ANONYMIZER_RECEIPT_KEY is" in problem.msg
    task = worked(upload())
    assert task.status == Status.FAILED
    assert [file.kind for file in task.files.all()] == [FileKind.ORIGINAL]


def test_the_setting_verify_is_checked(settings: Any) -> None:
    settings.DEFAULT_OPTIONS = {"verify": "perhaps"}
    (problem,) = check_defaults(None)
    assert "ANONYMIZER_VERIFY: verify is 'perhaps'" in problem.msg
