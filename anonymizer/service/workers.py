"""Worker processes: what each loads when it starts, and that it is alive."""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from anonymizer.models import Worker
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.objects import ObjectType
from anonymizer.service import claims, engine

__all__ = ["alive", "connect", "name"]

log = logging.getLogger(__name__)
BEAT_S = 3.0
#: a worker that was not seen for so long is gone
GONE_AFTER = timedelta(seconds=20)


def connect() -> None:
    """Have every django-q2 worker process start with `_begin`."""
    from django_q.signals import post_spawn

    post_spawn.connect(_begin, dispatch_uid="anonymizer-worker")


def name() -> str:
    """This process, for people: host and process number."""
    return _name(os.getpid())


@functools.lru_cache(maxsize=1)
def _name(pid: int) -> str:
    return f"{socket.gethostname()[:80]}:{pid}"


def alive(*, ready: bool = False) -> list[Worker]:
    """The workers that were seen a moment ago; only those with their models loaded, if asked."""
    seen = Worker.objects.filter(seen__gt=timezone.now() - GONE_AFTER)
    return list(seen.filter(ready=True) if ready else seen)


def _begin(**kwargs: object) -> None:
    """Show that this worker is there, load its models, and look for tasks that a lost one left."""
    Worker.objects.filter(seen__lt=timezone.now() - 10 * GONE_AFTER).delete()
    queue = os.environ.get("Q_CLUSTER_NAME", "images")
    now = timezone.now()
    Worker.objects.update_or_create(
        name=name(),
        defaults={"queue": queue, "started": now, "seen": now, "ready": False, "problem": "", "warning": ""},
    )
    threading.Thread(target=_beat, args=(os.getppid(),), name="presence", daemon=True).start()
    _load()
    claims.recover()
    # the lease of the task that a killed worker had may have a while to run yet
    timer = threading.Timer(settings.LEASE.total_seconds() + 1, _recover_once)
    timer.daemon = True
    timer.start()


def _load() -> None:
    import cv2
    import torch

    torch.set_num_threads(settings.THREADS)
    cv2.setNumThreads(settings.THREADS)
    store, wanted = engine.store(), engine.served_types()
    serves = {each: models for each, models in store.serves().items() if each in wanted}
    device = problem = ""
    try:
        device = store.device
        for detector in store.detectors(tuple(serves)):
            detector.warm_up()
        # faces and plates have masks only on request: then it is loaded by the first one
        segmenter = store.segmenter() if {ObjectType.PERSON, ObjectType.VEHICLE} & serves.keys() else None
        if segmenter is not None:
            segmenter.warm_up()
    except AnonymizerError as error:
        # the worker lives on, so that each request can be answered with the cause
        log.error("%s", error)
        problem = str(error)
    Worker.objects.filter(name=name()).update(
        ready=True,
        device=device,
        serves={each.value: models for each, models in serves.items()},
        loaded=store.loaded(),
        problem=problem,
        warning=_slower_than_it_could_be(device, torch.version.cuda),
        seen=timezone.now(),
    )


def _slower_than_it_could_be(device: str, cuda: str | None) -> str:
    """A sentence where a build of torch for CUDA runs on the CPU."""
    if device != "cpu" or cuda is None:
        return ""
    if settings.DEVICE == "cpu":
        why = "as ANONYMIZER_DEVICE says"
    else:
        why = "as it finds no GPU (if this machine has one, `nvidia-smi` says whether its driver works)"
    return f"torch is built for CUDA {cuda} and runs on the CPU, {why}: that works, and is slower."


def _beat(parent: int) -> None:
    mine = threading.Event()
    while not mine.wait(BEAT_S):
        if os.getppid() != parent:
            # the cluster is gone: a worker without one would never be given work again
            os._exit(1)
        try:
            Worker.objects.filter(name=name()).update(seen=timezone.now())
        except Exception:
            log.exception("could not show that this worker is alive")
            connection.close()


def _recover_once() -> None:
    try:
        claims.recover()
    finally:
        connection.close()
