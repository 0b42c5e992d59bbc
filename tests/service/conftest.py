"""A worker's work in this process: the real pipeline on a real database."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django_q.brokers import get_broker

from anonymizer.models import Task
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.options.options import Options
from anonymizer.service import engine
from anonymizer.service.submit import submit
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import encoded


@pytest.fixture(autouse=True)
def empty_queue(settings: Any) -> None:
    """Forget the notifications of earlier tests, which Redis keeps."""
    if settings.BROKER_URL:
        get_broker().purge_queue()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDetector]:
    """The engine, with a detector that is passed in."""
    detector = FakeDetector()
    store = FakeStore(detector)
    anonymizer = Anonymizer(store=store, noise_key=b"key")
    monkeypatch.setattr(engine, "store", lambda: store)
    monkeypatch.setattr(engine, "anonymizer", lambda: anonymizer)
    return detector


@pytest.fixture
def upload(detector: FakeDetector) -> Callable[..., Task]:
    """Submit a picture with options."""

    def submitted(content: bytes | None = None, **options: object) -> Task:
        chosen = Options(**options)
        return submit(
            io.BytesIO(content or encoded()), chosen, chosen.object_types(), name="a.jpg", endpoint="http://here"
        )

    return submitted
