"""Stages in threads: their order, their pace, and how they end."""

from __future__ import annotations

import threading
import time

import pytest

from anonymizer.pipeline.video import thread_stages
from anonymizer.pipeline.video.thread_stages import StageQueue, StagesStopped, StageThreads


def test_what_one_stage_hands_on_comes_to_the_next_in_order() -> None:
    stages, got = StageThreads(), list[int]()
    queue: StageQueue[int] = StageQueue(stages, 2)

    def give() -> None:
        for number in range(50):
            queue.put(number)
        queue.close()

    stages.start("give", give)
    stages.start("take", lambda: got.extend(queue))
    stages.join()
    assert got == list(range(50))
    assert stages.busy_s.keys() == {"give", "take"}
    assert not stages.alive()


def test_a_stage_waits_for_one_that_is_behind() -> None:
    stages, ahead = StageThreads(), list[int]()
    queue: StageQueue[int] = StageQueue(stages, 3)
    given = 0

    def give() -> None:
        nonlocal given
        for number in range(20):
            queue.put(number)
            given += 1
        queue.close()

    def take() -> None:
        for number in queue:
            time.sleep(0.005)
            ahead.append(given - number)

    stages.start("give", give)
    stages.start("take", take)
    stages.join()
    # what lies in the pipe, what is taken, and what waits to be put
    assert max(ahead) <= 3 + 2
    assert stages.busy_s["take"] >= 0.1
    assert stages.busy_s["give"] < 0.5 * stages.busy_s["take"]


def test_the_first_error_ends_all_stages_and_is_raised() -> None:
    stages = StageThreads()
    queue: StageQueue[int] = StageQueue(stages, 1)

    def give() -> None:
        while True:
            queue.put(0)

    def fail() -> None:
        for _ in queue:
            raise ValueError("first")

    stages.start("give", give)
    stages.start("fail", fail)
    stages.start("wait", lambda: list(StageQueue[int](stages, 1)))  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="first"):
        stages.join()
    assert not stages.alive()
    assert stages.busy_s == {}


def test_a_caller_can_stop_it() -> None:
    stages = StageThreads()
    started = time.monotonic()
    stages.start("wait", lambda: list(StageQueue[int](stages, 1)))  # type: ignore[arg-type, return-value]
    stages.stop(KeyError("caller"))
    stages.stop(ValueError("later"))
    with pytest.raises(KeyError):
        stages.join()
    assert time.monotonic() - started < 1
    with pytest.raises(StagesStopped):
        stages.check()


def test_waiting_is_not_being_busy() -> None:
    stages, ready = StageThreads(), threading.Event()

    def wait() -> None:
        with stages.waiting():
            ready.wait(5)

    stages.start("wait", wait)
    time.sleep(0.2)
    ready.set()
    stages.join()
    assert stages.busy_s["wait"] < 0.1


def test_one_can_wait_for_it_a_while() -> None:
    stages, ready = StageThreads(), threading.Event()
    stages.start("wait", lambda: ready.wait(5))  # type: ignore[arg-type, return-value]
    started = time.monotonic()
    stages.wait(0.1)
    assert stages.alive()
    assert 0.05 < time.monotonic() - started < 2
    ready.set()
    stages.wait(5)
    assert not stages.alive()


def test_a_stage_that_may_be_left_is_not_waited_for() -> None:
    stages, go_on = StageThreads(), threading.Event()
    ended: list[str] = []

    def writes() -> None:
        while True:
            time.sleep(0.01)
            try:
                stages.check()
            finally:
                ended.append("writes")

    stages.start("looks", lambda: ended.append(f"looks {go_on.wait(10)}"), may_be_left=True)
    stages.start("writes", writes)
    stages.stop(ValueError("no more"))
    started = time.monotonic()
    with pytest.raises(ValueError, match="no more"):
        stages.join()
    assert time.monotonic() - started < 1
    assert "writes" in ended
    assert stages.alive()
    go_on.set()


def test_an_interrupt_ends_the_stages_and_is_raised_when_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stages, ended = StageThreads(), list[str]()

    def write() -> None:
        while True:
            try:
                stages.check()
            except StagesStopped:
                time.sleep(0.3)
                ended.append("write")
                raise

    join, calls = threading.Thread.join, list[int]()

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        calls.append(1)
        if len(calls) in (1, 3):
            raise KeyboardInterrupt
        join(thread, timeout)

    stages.start("write", write)
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages.join()
    assert ended == ["write"]
    assert not stages.alive()


def test_the_end_of_the_process_waits_for_a_stage_that_was_left() -> None:
    stages, ended = StageThreads(), list[str]()

    def detect() -> None:
        time.sleep(0.5)
        ended.append("detect")
        stages.check()

    stages.start("detect", detect, may_be_left=True)
    stages.stop(ValueError("no more"))
    with pytest.raises(ValueError, match="no more"):
        stages.join()
    assert ended == []
    thread_stages._end_stages()
    assert ended == ["detect"]
    assert not stages.alive()


def test_the_end_of_the_process_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    stages, go_on = StageThreads(), threading.Event()
    monkeypatch.setattr(thread_stages, "_EXIT_WAIT_S", 0.3)
    stages.start("hangs", lambda: go_on.wait(30))  # type: ignore[arg-type, return-value]
    started = time.monotonic()
    thread_stages._end_stages()
    assert 0.2 < time.monotonic() - started < 3
    assert stages.alive()
    go_on.set()
    with pytest.raises(StagesStopped, match="The process ends"):
        stages.join()


def test_where_all_goes_well_every_stage_is_waited_for() -> None:
    stages, ended = StageThreads(), list[str]()
    stages.start("looks", lambda: (time.sleep(0.3), ended.append("looks"))[1], may_be_left=True)
    stages.join()
    assert ended == ["looks"]
