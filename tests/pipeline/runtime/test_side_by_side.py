"""Pieces of work side by side: each on one core, in order, with the errors of one after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from anonymizer.pipeline.runtime import side_by_side
from anonymizer.pipeline.runtime.side_by_side import run_side_by_side


@pytest.fixture(autouse=True)
def _two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def number_of_new_thread() -> int:
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return numbers[0]


def test_two_run_at_once_on_one_core_each() -> None:
    both = threading.Barrier(2)

    def work(number: int) -> tuple[int, int]:
        both.wait(30)
        return number, torch.get_num_threads()

    assert run_side_by_side([partial(work, 0), partial(work, 1)], [1, 1]) == [(0, 1), (1, 1)]
    # threads that begin later, such as those of a web server, have all cores as before
    assert torch.get_num_threads() == 2
    assert number_of_new_thread() == 2


def test_the_largest_begin_first_and_results_keep_their_order() -> None:
    began, lock = [], threading.Lock()

    def work(number: int) -> int:
        with lock:
            began.append(number)
        return number

    # on one thread of the pool, the order of the beginnings is certain
    first_ends = threading.Event()
    hold = threading.Thread(target=run_side_by_side, args=([partial(first_ends.wait, 30), lambda: None], [2, 1]))
    hold.start()
    assert run_side_by_side([partial(work, number) for number in range(4)], [1, 3, 4, 2]) == [0, 1, 2, 3]
    first_ends.set()
    hold.join()
    assert began == [2, 1, 3, 0]


def test_the_first_error_counts_and_the_others_have_ended() -> None:
    ended = []

    def fail(text: str) -> None:
        raise ValueError(text)

    works = [partial(ended.append, 1), partial(fail, "first"), partial(fail, "second"), partial(ended.append, 2)]
    with pytest.raises(ValueError, match="first"):
        run_side_by_side(works, [1, 1, 9, 1])
    assert sorted(ended) == [1, 2]
    assert run_side_by_side([lambda: 1, lambda: 2], [1, 1]) == [1, 2]


def test_after_an_interrupt_nothing_more_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, began = threading.Event(), []

    def interrupt(_futures: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "wait", interrupt)
    works = [partial(going_on.wait, 30), partial(going_on.wait, 30), partial(began.append, 1)]
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(works, [2, 2, 1])
    going_on.set()
    monkeypatch.undo()
    run_side_by_side([lambda: None] * 4, [1] * 4)
    assert began == []


def test_one_core_is_the_thread_of_the_caller() -> None:
    torch.set_num_threads(1)
    threads = run_side_by_side([threading.current_thread, threading.current_thread], [1, 2])
    assert threads == [threading.current_thread()] * 2


def test_threads_last_and_a_forked_child_has_its_own() -> None:
    def names() -> set[str]:
        both = threading.Barrier(2)

        def work() -> str:
            both.wait(30)
            return f"{os.getpid()} {threading.get_ident()}"

        return set(run_side_by_side([work, work], [1, 1]))

    assert names() == names()
    child = os.fork()
    if not child:
        os._exit(0 if len(run_side_by_side([lambda: 1, lambda: 2], [1, 1])) == 2 else 1)
    deadline = threading.Timer(60, os.kill, (child, 9))
    deadline.start()
    _, status = os.waitpid(child, 0)
    deadline.cancel()
    assert status == 0
