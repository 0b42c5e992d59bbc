"""Worker processes: what each loads when it starts, and that it is alive."""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from datetime import timedelta
from multiprocessing.util import Finalize
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.db import connection
from django.utils import timezone

from anonymizer.models import Kind, Status, Task, Worker
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter
from anonymizer.pipeline.options.options import Options, VideoEncoder
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.service import claims, engine
from anonymizer.service.queue import QUEUES

__all__ = ["alive", "connect", "name", "of_group"]

log = logging.getLogger(__name__)
BEAT_S = 3.0
#: how much a worker for videos stands back: about a quarter of a core where a photo wants it too
NICE = 5
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


def alive(kind: Kind | None = None, *, ready: bool = False) -> list[Worker]:
    """The workers that were seen a moment ago: for one kind of file, and with their models loaded, if asked."""
    seen = Worker.objects.filter(seen__gt=timezone.now() - GONE_AFTER)
    if kind is not None:
        seen = seen.filter(queue=QUEUES[kind])
    return list(seen.filter(ready=True) if ready else seen)


def of_group(group: int) -> list[str]:
    """The names of the workers that are alive in a process group of this machine."""
    host = name().rpartition(":")[0]
    places = ((each.name, *each.name.rpartition(":")[::2]) for each in alive())
    return [worker for worker, place, pid in places if place == host and _group(int(pid)) == group]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _kind() -> Kind:
    """What this worker works on."""
    return next(kind for kind, queue in QUEUES.items() if queue == _queue())


def _queue() -> str:
    """The queue that this worker takes its tasks from."""
    return os.environ.get("Q_CLUSTER_NAME", QUEUES[Kind.IMAGE])


def _begin(**kwargs: object) -> None:
    """Show that this worker is there, load its models, and look for tasks that a lost one left."""
    Worker.objects.filter(seen__lt=timezone.now() - 10 * GONE_AFTER).delete()
    queue, parent = _queue(), os.getppid()
    if _replaces_one_that_waited(parent):
        log.critical("A worker was killed while it waited for work: the cluster of %s is started again.", queue)
        _kill_cluster(parent)
    if not Worker.objects.filter(parent=parent).exists():
        claims.notify_again(_kind())
    now = timezone.now()
    Worker.objects.update_or_create(
        name=name(),
        defaults={
            "queue": queue, "parent": parent, "started": now, "seen": now, "ready": False, "problem": "", "warning": "",
        },
    )  # fmt: skip
    Finalize(None, _end, exitpriority=0)
    if _kind() is Kind.VIDEO:
        # a photo that comes in while a video is worked on gets most of the cores that it asks for
        os.nice(NICE)
    threading.Thread(target=_beat, args=(parent,), name="presence", daemon=True).start()
    _load()
    claims.recover()
    # the lease of the task that a killed worker had may have a while to run yet
    timer = threading.Timer(settings.LEASE.total_seconds() + 1, _recover_once)
    timer.daemon = True
    timer.start()


def _end() -> None:
    """A worker that ends in its order is no longer shown."""
    Worker.objects.filter(name=name()).delete()
    connection.close()


def _replaces_one_that_waited(parent: int) -> bool:
    """Whether a worker of this cluster was killed while it had no task.

    It died with the lock of the cluster's queue: none of the others would ever be given a task again.
    """
    dead = [
        each.name for each in Worker.objects.filter(parent=parent) if _group(int(each.name.rpartition(":")[2])) is None
    ]
    Worker.objects.filter(name__in=dead).delete()
    worked = Task.objects.filter(status=Status.PROCESSING, worker__in=dead).values_list("worker", flat=True)
    return bool(set(dead) - set(worked))


def _kill_cluster(parent: int) -> NoReturn:
    """End the cluster that this worker belongs to; whoever watches it starts it again."""
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(each.read_text().rpartition(")")[2].split()[1]) == parent and int(each.parent.name) != os.getpid():
                os.kill(int(each.parent.name), signal.SIGKILL)
    os.kill(parent, signal.SIGKILL)
    os._exit(1)


def _load() -> None:
    import cv2
    import torch

    videos = _kind() is Kind.VIDEO
    threads = settings.VIDEO_THREADS if videos else settings.THREADS
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
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
        if videos:
            _prove_encoder()
            # loads the library that tracks, so that the first video does not wait for it
            Tracker((1, 1), Options(), tuple(serves))
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


def _prove_encoder() -> None:
    """Encode a little with the encoder that requests get unless they name one; H.264's, where each codec has its own.

    Raises:
        InvalidParameter: it does not work on this machine.
    """
    from anonymizer.pipeline.video.io.encoders import encoder_works

    wanted = Options.from_params(settings.DEFAULT_OPTIONS)[0].video_encoder
    name = VideoEncoder.LIBX264 if wanted is VideoEncoder.AUTO else wanted
    if not encoder_works(name):
        raise InvalidParameter("video-encoder", wanted, "auto, or an encoder that works on this machine")


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
