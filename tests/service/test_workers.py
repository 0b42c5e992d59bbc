"""What workers show about themselves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from anonymizer.models import Status, Task, Worker
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.service import engine, workers
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


def test_a_worker_that_was_killed_while_idle_is_told_from_one_that_worked() -> None:
    parent, dead = 4321, subprocess.Popen(["true"])
    dead.wait()
    gone = f"here:{dead.pid}"
    for worked in (True, False):
        Worker.objects.create(name=gone, queue="videos", parent=parent)
        task = Task.objects.create(status=Status.PROCESSING, worker=gone if worked else "here:1")
        assert workers._replaces_idle_worker(parent) is not worked
        assert not Worker.objects.filter(name=gone).exists()
        task.delete()
    # living workers, and workers of other clusters, do not count
    Worker.objects.create(name=f"here:{os.getpid()}", queue="videos", parent=parent)
    Worker.objects.create(name=gone, queue="videos", parent=1234)
    assert not workers._replaces_idle_worker(parent)


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
