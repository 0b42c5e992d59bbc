"""Stages in threads: the order, the pace, and the end."""

from __future__ import annotations

import threading
import time

import pytest

from anonymizer.pipeline.video.thread_stages import Pipe, Run, Stopped


def test_what_one_stage_hands_on_comes_to_the_next_in_order() -> None:
    run, got = Run(), list[int]()
    pipe: Pipe[int] = Pipe(run, 2)

    def give() -> None:
        for number in range(50):
            pipe.put(number)
        pipe.close()

    run.start("give", give)
    run.start("take", lambda: got.extend(pipe))
    run.join()
    assert got == list(range(50))
    assert run.busy_s.keys() == {"give", "take"}
    assert not run.alive()


def test_a_stage_waits_for_one_that_is_behind() -> None:
    run, ahead = Run(), list[int]()
    pipe: Pipe[int] = Pipe(run, 3)
    given = 0

    def give() -> None:
        nonlocal given
        for number in range(20):
            pipe.put(number)
            given += 1
        pipe.close()

    def take() -> None:
        for number in pipe:
            time.sleep(0.005)
            ahead.append(given - number)

    run.start("give", give)
    run.start("take", take)
    run.join()
    # what lies in the pipe, what is taken, and what waits to be put
    assert max(ahead) <= 3 + 2
    assert run.busy_s["take"] >= 0.1
    assert run.busy_s["give"] < 0.5 * run.busy_s["take"]


def test_the_first_error_ends_all_stages_and_is_raised() -> None:
    run = Run()
    pipe: Pipe[int] = Pipe(run, 1)

    def give() -> None:
        while True:
            pipe.put(0)

    def fail() -> None:
        for _ in pipe:
            raise ValueError("first")

    run.start("give", give)
    run.start("fail", fail)
    run.start("wait", lambda: list(Pipe[int](run, 1)))  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="first"):
        run.join()
    assert not run.alive()
    assert run.busy_s == {}


def test_a_caller_can_stop_it() -> None:
    run = Run()
    started = time.monotonic()
    run.start("wait", lambda: list(Pipe[int](run, 1)))  # type: ignore[arg-type, return-value]
    run.stop(KeyError("caller"))
    run.stop(ValueError("later"))
    with pytest.raises(KeyError):
        run.join()
    assert time.monotonic() - started < 1
    with pytest.raises(Stopped):
        run.check()


def test_waiting_is_not_being_busy() -> None:
    run, ready = Run(), threading.Event()

    def wait() -> None:
        with run.waiting():
            ready.wait(5)

    run.start("wait", wait)
    time.sleep(0.2)
    ready.set()
    run.join()
    assert run.busy_s["wait"] < 0.1


def test_one_can_wait_for_it_a_while() -> None:
    run, ready = Run(), threading.Event()
    run.start("wait", lambda: ready.wait(5))  # type: ignore[arg-type, return-value]
    started = time.monotonic()
    run.wait(0.1)
    assert run.alive()
    assert 0.05 < time.monotonic() - started < 2
    ready.set()
    run.wait(5)
    assert not run.alive()


def test_a_stage_that_may_be_left_is_not_waited_for() -> None:
    run, go_on = Run(), threading.Event()
    ended: list[str] = []

    def writes() -> None:
        while True:
            time.sleep(0.01)
            try:
                run.check()
            finally:
                ended.append("writes")

    run.start("looks", lambda: ended.append(f"looks {go_on.wait(10)}"), may_be_left=True)
    run.start("writes", writes)
    run.stop(ValueError("no more"))
    started = time.monotonic()
    with pytest.raises(ValueError, match="no more"):
        run.join()
    assert time.monotonic() - started < 1
    assert "writes" in ended
    assert run.alive()
    go_on.set()


def test_where_all_goes_well_every_stage_is_waited_for() -> None:
    run, ended = Run(), list[str]()
    run.start("looks", lambda: (time.sleep(0.3), ended.append("looks"))[1], may_be_left=True)
    run.join()
    assert ended == ["looks"]
