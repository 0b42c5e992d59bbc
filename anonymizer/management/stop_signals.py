"""Signals that stop a command in order: SIGTERM and SIGHUP are raised as exceptions, as Ctrl-C is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StoppedBySignal", "exit_code", "raise_stop_signals"]


class StoppedBySignal(KeyboardInterrupt):
    """An operator, or a terminal that was closed, stopped the command.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """Get what a shell reports for a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (error.number if isinstance(error, StoppedBySignal) else signal.SIGINT)


@contextmanager
def raise_stop_signals() -> Iterator[None]:
    """Raise `StoppedBySignal` for SIGTERM and SIGHUP until the block ends, unless the caller ignores them (`nohup`)."""
    if threading.current_thread() is not threading.main_thread():
        # only the main thread may handle signals
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
