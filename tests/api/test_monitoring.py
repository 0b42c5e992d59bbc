"""What the server tells about itself: metrics of all its processes, readiness, and one format of the log."""

from __future__ import annotations

import json
import logging
import logging.config
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from anonymizer.models import Task
from anonymizer.service import work
from anonymizer.service.monitoring import log_context
from celantur_site.logs import settings_of_logging
from tests.conftest import Server
from tests.pictures import encoded


def values(text: str) -> dict[str, float]:
    """The samples by name and labels: `anonymizer_tasks{status=done}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def metrics(server: Server) -> dict[str, float]:
    return values(server.get("/metrics").text)


def test_all_processes_count_into_one_answer(server: Server) -> None:
    before = metrics(server)
    done = server.upload(encoded(), "face=1").json()
    assert server.upload(encoded()[:-700] + b"\xff\xd9", "face=1").status_code == 422
    after = metrics(server)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown("anonymizer_tasks_ended_total{cause=,kind=image,status=done}") == 1
    assert grown("anonymizer_tasks_ended_total{cause=broken_media,kind=image,status=failed}") == 1
    assert grown("anonymizer_request_seconds_count{method=POST,route=/v1/file,status=201}") == 1
    assert grown("anonymizer_request_seconds_count{method=POST,route=/v1/file,status=422}") == 1
    for step in ("wait", "load", "detect", "redact", "store"):
        assert grown(f"anonymizer_step_seconds_count{{kind=image,step={step}}}") >= 1, step
    assert after["anonymizer_queue_length{kind=image}"] == 0
    assert after["anonymizer_queue_oldest_seconds{kind=video}"] == 0
    assert grown("anonymizer_stored_bytes{storage=input}") > 0
    assert after["anonymizer_disk_bytes{state=free,storage=output}"] > 0
    assert after["anonymizer_webhooks{status=sent}"] >= 0
    assert not [name for name in after if done["id"] in name]


def test_readiness_names_queue_and_disk_and_writes_nothing(server: Server) -> None:
    ready = server.get("/readyz").json()
    assert ready["checks"]["disk"] == ready["checks"]["queue"] == "ok"
    assert ready["queue"]["image"].keys() == {"waiting", "oldest_seconds"}
    assert ready["disk"]["output"]["free_bytes"] > 0
    folders = [server.folder / "input", server.folder / "output"]
    before = [folder.stat().st_mtime_ns for folder in folders if folder.exists()]
    for _ in range(3):
        server.get("/readyz")
    assert [folder.stat().st_mtime_ns for folder in folders if folder.exists()] == before


def test_lines_name_their_task_and_none_is_written_while_idle(server: Server) -> None:
    task_id = server.upload(encoded(), "face=1").json()["id"]
    lines = [line for line in server.log.splitlines() if f"[task {task_id}]" in line]
    assert any("anonymizer.service.submit: Received: jpeg" in line for line in lines)
    assert any("anonymizer.service.work: Done" in line for line in lines)
    assert all(line[:4].isdigit() and line[10] == "T" and " INFO " in line for line in lines)
    time.sleep(0.5)
    before = server.log
    time.sleep(3)
    assert server.log == before


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_counted_with_its_age() -> None:
    from datetime import timedelta

    from django.utils import timezone

    Task.objects.create(status="queued", kind="video", created=timezone.now() - timedelta(minutes=5))
    Task.objects.create(status="queued", kind="video")
    Task.objects.create(status="done", kind="image", webhook_status="failed")
    found = values(Client().get("/metrics").content.decode())
    assert found["anonymizer_queue_length{kind=video}"] == 2
    assert 299 < found["anonymizer_queue_oldest_seconds{kind=video}"] < 330
    assert found["anonymizer_webhooks{status=failed}"] == 1
    assert found["anonymizer_tasks{status=done}"] == 1
    waiting = Client().get("/readyz").json()["queue"]["video"]
    assert waiting["waiting"] == 2
    assert waiting["oldest_seconds"] > 299


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_or_queue_is_named_by_readiness(settings: Any) -> None:
    settings.MIN_FREE_BYTES, settings.MAX_QUEUE = 2**60, 1
    Task.objects.create(status="queued")
    checks = Client().get("/readyz").json()["checks"]
    assert "the disk of the input storage has less than" in checks["disk"]
    assert checks["queue"] == "1 files wait, and no more are taken"


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_is_not_writable_is_named(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    (media / "output").mkdir()
    real = os.access
    # the tests may run as root, who may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: "output" not in str(path) and real(path, mode))
    assert Client().get("/readyz").json()["checks"]["storage"] == "the output storage is not writable"


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_has_one_format(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(settings_of_logging("INFO", form))
    try:
        log = logging.getLogger("anonymizer.example")
        log.info("Nothing special, %s.", "grün")
        with log_context.about("one"):
            log.warning("A name with\nERROR a line break.")
            with log_context.work_on("two"):
                log.error("The inner task is that of the request.")
        with log_context.work_on("two"):
            try:
                raise ValueError("inner")
            except ValueError:
                logging.getLogger("django-q").exception("Failed.", extra={"task": "three"})
        logging.getLogger("django-q").info("A job began.")
    finally:
        from django.conf import settings

        logging.config.dictConfig(settings.LOGGING)
    out = capsys.readouterr().err.splitlines()
    if form == "text":
        assert len([line for line in out if line[:2] == "20"]) == 4
        assert out[0].endswith("INFO anonymizer.example: Nothing special, grün.")
        assert out[1].endswith("WARNING anonymizer.example: A name with\\nERROR a line break. [task one]")
        assert out[2].endswith("[task one]")
        assert "Failed. [task three]" in out[3]
        assert out[-1] == "ValueError: inner"
    else:
        entries = [json.loads(line) for line in out]
        assert [entry.get("task") for entry in entries] == [None, "one", "one", "three"]
        assert entries[0] | {"timestamp": ""} == {
            "event": "Nothing special, grün.", "level": "info", "logger": "anonymizer.example", "timestamp": "",
        }  # fmt: skip
        assert "ValueError: inner" in entries[3]["exception"]


@pytest.mark.django_db(transaction=True)
def test_counters_that_cannot_be_written_fail_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from anonymizer.service.monitoring import counters

    def broken(*labels: str) -> None:
        raise OSError("no room")

    monkeypatch.setattr(counters._REQUESTS, "labels", broken)
    monkeypatch.setattr(counters._ENDED, "labels", broken)
    upload = {"fileobject": SimpleUploadedFile("a.jpg", encoded())}
    task = Client().post("/v1/file?face=1", upload, headers={"x-is-async": "1"}).json()
    assert task["status"] == "queued"
    Task.objects.filter(pk=task["id"]).first().file("original").delete()  # type: ignore[union-attr]
    assert work.process(task["id"]).startswith("failed")


def test_the_memory_of_a_gpu_is_noted_and_that_of_a_processor_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine of the tests has a GPU, so its driver's answer is given here."""
    import torch

    from anonymizer.service.monitoring import counters

    asked: list[torch.device] = []

    def memory(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 3, 10

    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    counters.note_gpu_memory("cpu")
    assert not asked
    counters.note_gpu_memory("cuda:1")
    assert asked == [torch.device("cuda:1")]
    noted = {
        sample.labels["state"]: sample.value
        for family in counters._GPU.collect() for sample in family.samples if sample.labels["device"] == "cuda:1"
    }  # fmt: skip
    assert noted == {"free": 3, "used": 7}
