"""What workers and web processes count: requests, ended tasks, detections, and how long each step took.

Counting never fails a request or a task: a counter that cannot be written is left out, and the log says so once.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["REGISTRY", "count_end", "count_request", "note_gpu_memory", "observe_step", "step"]

log = logging.getLogger(__name__)
P = ParamSpec("P")
REGISTRY = CollectorRegistry()
#: from a small picture to a long video, in seconds
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_REQUESTS = Histogram(
    "anonymizer_request_seconds",
    "Seconds until a request was answered, by address, method and status",
    ["route", "method", "status"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
    registry=REGISTRY,
)
_ENDED = Counter(
    "anonymizer_tasks_ended",
    "Tasks that ended, by kind of file, status and cause of failure",
    ["kind", "status", "cause"],
    registry=REGISTRY,
)
_STEPS = Histogram(
    "anonymizer_step_seconds",
    "Seconds of each step of the work on a file",
    ["kind", "step"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
_DETECTIONS = Counter("anonymizer_detections", "Redacted objects, by type", ["type"], registry=REGISTRY)
_GPU = Gauge(
    "anonymizer_gpu_memory_bytes",
    "Memory of the GPU of a worker",
    ["device", "state"],
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
_failed: set[str] = set()


def _never_fails(function: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(function)
    def counting(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            if function.__name__ not in _failed:
                _failed.add(function.__name__)
                log.warning("Counters cannot be written (%s: %s).", type(error).__name__, error)

    return counting


@_never_fails
def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request that was answered.

    Args:
        route: the pattern of the address, so that ids make no labels.
        method: of HTTP.
        status: of the answer.
        seconds: until the answer began.
    """
    _REQUESTS.labels(route, method if method in _METHODS else "other", str(status)).observe(seconds)


@_never_fails
def count_end(kind: str, status: str, cause: str = "", detections: Mapping[str, int] | None = None) -> None:
    """Count a task that ended.

    Args:
        kind: image or video.
        status: done or failed.
        cause: why it failed.
        detections: number of redacted objects by type.
    """
    _ENDED.labels(kind, status, cause).inc()
    for object_type, number in (detections or {}).items():
        _DETECTIONS.labels(object_type).inc(number)


@_never_fails
def observe_step(kind: str, name: str, seconds: float) -> None:
    """Count the duration of a step of the work on a file.

    Args:
        kind: image or video.
        name: wait, load, detect, redact, encode or store; for a video process instead of the middle ones.
        seconds: its duration.
    """
    _STEPS.labels(kind, name).observe(seconds)


@contextmanager
def step(kind: str, name: str) -> Iterator[None]:
    """Measure a step of the work on a file, as `observe_step`, unless it fails."""
    began = time.perf_counter()
    yield
    observe_step(kind, name, time.perf_counter() - began)


@_never_fails
def note_gpu_memory(device: str) -> None:
    """Note how much of a GPU's memory is used and free.

    Args:
        device: as torch names it; nothing is noted of a CPU.
    """
    if not device.startswith("cuda"):
        return
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    _GPU.labels(device, "free").set(free)
    _GPU.labels(device, "used").set(total - free)
