"""What workers show about themselves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from anonymizer.models import Status, Task, Worker
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.service import engine, workers
from anonymizer.service.queueing import processes
from tests.fakes import FakeDetector, FakeStore

pytestmark = pytest.mark.django_db


class Segmenter:
    device = "cpu"
    warm = 0

    def warm_up(self) -> None:
        self.warm += 1


class MaskStore(FakeStore):
    """A store with a fake segmenter beside the fake detector."""

    def __init__(self) -> None:
        super().__init__(FakeDetector())
        self.masks = Segmenter()

    def segmenter(self) -> Segmenter:  # type: ignore[override]
        return self.masks

    def loaded(self) -> dict[str, str]:
        return {"fake": "cpu", "fake-masks": "cpu"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MaskStore]:
    store = MaskStore()
    monkeypatch.setattr(engine, "store", lambda: store)
    Worker.objects.create(name=workers.name(), queue="images")
    return store


def test_a_worker_shows_what_it_has_loaded(store: MaskStore) -> None:
    workers._load()
    worker = Worker.objects.get()
    assert worker.ready
    assert worker.serves == {object_type.value: ["fake"] for object_type in ObjectType}
    assert worker.loaded == {"fake": "cpu", "fake-masks": "cpu"}
    assert worker.problem == ""
    assert store.masks.warm == 1


def test_masks_are_loaded_at_once_only_for_persons_and_vehicles(store: MaskStore, settings: Any) -> None:
    settings.OBJECT_TYPES = ["face"]
    workers._load()
    assert store.masks.warm == 0


def test_a_model_that_cannot_be_loaded_is_a_problem_and_no_crash(
    store: MaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise DetectorFailed("The model fake-masks cannot be loaded (ValueError).")

    monkeypatch.setattr(store, "segmenter", fails)
    workers._load()
    assert Worker.objects.get().problem == "The model fake-masks cannot be loaded (ValueError)."


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        ("videos", "video-encoder is 'av1_nvenc', but must be auto, or an encoder that works on this machine."),
        ("images", ""),
    ],
)
def test_the_encoder_that_the_settings_name_is_tried_before_it_is_needed(
    store: MaskStore, settings: Any, monkeypatch: pytest.MonkeyPatch, queue: str, problem: str
) -> None:
    monkeypatch.setenv("Q_CLUSTER_NAME", queue)
    settings.DEFAULT_OPTIONS = {"video_encoder": "av1_nvenc"}
    workers._load()
    assert Worker.objects.get().problem == problem


def dead_pid() -> int:
    dead = subprocess.Popen(["true"])
    dead.wait()
    return dead.pid


def test_a_worker_of_this_machine_that_died_is_not_alive_and_its_lease_ends() -> None:
    gone, other_machine = workers.name(dead_pid()), f"there:0123456789ab:{dead_pid()}"
    for each in (gone, other_machine, workers.name()):
        Worker.objects.create(name=each, queue="images")
        Task.objects.create(status=Status.PROCESSING, worker=each, lease_until=timezone.now() + timedelta(hours=1))
    assert {worker.name for worker in workers.alive()} == {other_machine, workers.name()}
    workers._show()
    assert not Worker.objects.filter(name=gone).exists()
    ended = Task.objects.filter(status=Status.PROCESSING, lease_until__lte=timezone.now())
    # process numbers of other machines, containers and starts say nothing here
    assert [task.worker for task in ended] == [gone]


def test_a_worker_whose_main_thread_hangs_does_not_show_itself() -> None:
    loop = workers._Loop()
    assert not loop.hangs(), "it loads its models"
    loop.looked_s = time.monotonic() - workers.HANGS_AFTER_S - 1
    assert loop.hangs()
    loop.works = True
    assert not loop.hangs(), "a task may take long; the guard has a limit for it"


def test_a_worker_with_a_gpu_has_the_limit_of_memory_that_was_set_and_no_other(settings: Any) -> None:
    settings.WORKER_MEGABYTES = 0
    assert workers._most_memory("cuda:0") is None
    assert workers._most_memory("cpu") == processes.memory_limit(0)
    settings.WORKER_MEGABYTES = 3000
    assert workers._most_memory("cuda:0") == workers._most_memory("cpu") == 3000 * 2**20


def test_the_name_of_a_worker_tells_machine_start_and_container() -> None:
    machine, code, pid = workers.name().rsplit(":", 2)
    assert (machine, pid) == (socket.gethostname()[:70], str(os.getpid()))
    assert len(code) == 12
    script = "from anonymizer.service.queueing.processes import host; print(host())"
    # a container of its own: there, process numbers begin anew
    command = ["unshare", "--fork", "--pid", "--mount-proc", sys.executable, "-c", script]
    inside = subprocess.run(command, capture_output=True, text=True, check=False)
    if inside.returncode:
        pytest.skip(f"this user may not make a container: {inside.stderr}")
    assert inside.stdout.strip() != processes.host()
    assert inside.stdout.startswith(machine)


@pytest.mark.parametrize(
    ("device", "cuda", "setting", "sentence"),
    [
        ("cpu", None, "auto", ""),
        ("cuda:0", "13.0", "auto", ""),
        ("", "13.0", "cuda:99", ""),
        ("cpu", "13.0", "auto", "built for CUDA 13.0, but runs on the CPU, because it finds no GPU"),
        ("cpu", "13.0", "cpu", "runs on the CPU, because ANONYMIZER_DEVICE is cpu"),
    ],
)
def test_a_build_for_cuda_on_the_cpu_is_warned_of(
    settings: Any, device: str, cuda: str | None, setting: str, sentence: str
) -> None:
    settings.DEVICE = setting
    warning = workers._cpu_warning(device, cuda)
    assert sentence in warning
    assert bool(sentence) == bool(warning)


def test_readyz_and_the_admin_show_models_devices_and_warnings() -> None:
    Worker.objects.create(
        name="here:1", queue="images", ready=True, device="cpu", serves={"license-plate": ["y5fu-640", "y5fu-320"]},
        loaded={"y5fu-640": "cpu", "y5fu-320": "cpu"}, warning="slower than it could be",
    )  # fmt: skip
    answer = Client().get("/readyz")
    assert answer.json()["checks"]["workers"] == "ok"
    (worker,) = answer.json()["workers"]
    assert worker["models"] == {"license-plate": ["y5fu-640", "y5fu-320"]}
    assert worker["loaded"] == {"y5fu-640": "cpu", "y5fu-320": "cpu"}
    assert worker["warning"] == "slower than it could be"

    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    page = client.get("/admin/anonymizer/worker/").content.decode()
    for text in ("license-plate y5fu-640+y5fu-320", "y5fu-640 on cpu, y5fu-320 on cpu", "slower than it could be"):
        assert text in page
