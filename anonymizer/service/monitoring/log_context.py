"""Which task a line of the log is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["about", "current", "name", "work_on"]

_request_task: ContextVar[str] = ContextVar("request_task", default="")
_worker_task = ""


def current() -> str:
    """Return the id of the task that the current request or this worker process is about; empty for none."""
    return _request_task.get() or _worker_task


@contextmanager
def about(task_id: object = "") -> Iterator[None]:
    """Have all lines that this thread logs in the block name a task.

    Args:
        task_id: of the task. Default: no task, until an inner block names one.
    """
    token = _request_task.set(str(task_id))
    try:
        yield
    finally:
        _request_task.reset(token)


def name(task_id: object) -> None:
    """Have the lines of this thread name a task, until the block of `about` around it ends."""
    _request_task.set(str(task_id))


@contextmanager
def work_on(task_id: object) -> Iterator[None]:
    """Have all lines of this process name a task in the block: a worker has one at a time, and threads of its own."""
    global _worker_task
    _worker_task = str(task_id)
    try:
        yield
    finally:
        _worker_task = ""
