"""Worker processes: what each loads at its start, and how it shows that it is alive."""

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
from anonymizer.service.monitoring import counters
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["alive", "connect", "name", "names_in_process_group"]

log = logging.getLogger(__name__)
BEAT_S = 3.0
#: the lower priority of video workers: they get about a quarter of a core while an image is processed on it, too
NICE = 5
#: a worker that did not show itself for so long is no longer alive
GONE_AFTER = timedelta(seconds=20)


def connect() -> None:
    """Have every django-q2 worker process call `_begin` at its start."""
    from django_q.signals import post_spawn

    post_spawn.connect(_begin, dispatch_uid="anonymizer-worker")


def name() -> str:
    """Return the name of this process: host and process number."""
    return _name(os.getpid())


@functools.lru_cache(maxsize=1)
def _name(pid: int) -> str:
    return f"{socket.gethostname()[:80]}:{pid}"


def alive(kind: Kind | None = None, *, ready: bool = False) -> list[Worker]:
    """Return the workers that are alive.

    Args:
        kind: only workers for this kind of file. Default: all workers.
        ready: only workers that have loaded their models.
    """
    rows = Worker.objects.filter(seen__gt=timezone.now() - GONE_AFTER)
    if kind is not None:
        rows = rows.filter(queue=QUEUES[kind])
    return list(rows.filter(ready=True) if ready else rows)


def names_in_process_group(group: int) -> list[str]:
    """Return the names of the living workers in a process group of this machine.

    Args:
        group: the number of the process group.
    """
    this_host = name().rpartition(":")[0]
    workers = ((worker.name, *worker.name.rpartition(":")[::2]) for worker in alive())
    return [worker for worker, host, pid in workers if host == this_host and _process_group(int(pid)) == group]


def _process_group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _kind() -> Kind:
    """The kind of file that this worker processes."""
    return next(kind for kind, queue in QUEUES.items() if queue == _queue())


def _queue() -> str:
    """The queue that this worker takes its tasks from."""
    return os.environ.get("Q_CLUSTER_NAME", QUEUES[Kind.IMAGE])


def _begin(**kwargs: object) -> None:
    """Show that this worker is alive, load its models, and find tasks that a lost worker left."""
    Worker.objects.filter(seen__lt=timezone.now() - 10 * GONE_AFTER).delete()
    queue, parent = _queue(), os.getppid()
    if _replaces_idle_worker(parent):
        log.critical("A worker of the queue %s was killed while it was idle. The cluster is started again.", queue)
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
    Finalize(None, _remove_row, exitpriority=0)
    if _kind() is Kind.VIDEO:
        # an image that arrives while a video is processed gets most of the cores that it needs
        os.nice(NICE)
    threading.Thread(target=_beat, args=(parent,), name="presence", daemon=True).start()
    _load()
    claims.recover()
    # the task of a killed worker is free only when its lease has run out
    timer = threading.Timer(settings.LEASE.total_seconds() + 1, _recover_once)
    timer.daemon = True
    timer.start()


def _remove_row() -> None:
    """Remove this worker's row when the process ends normally."""
    Worker.objects.filter(name=name()).delete()
    connection.close()


def _replaces_idle_worker(parent: int) -> bool:
    """Return whether a worker of this cluster was killed while it had no task.

    Such a worker held the lock of the cluster's queue. No other worker of the cluster would ever get a task again.
    """
    names = Worker.objects.filter(parent=parent).values_list("name", flat=True)
    dead = [worker for worker in names if _process_group(int(worker.rpartition(":")[2])) is None]
    Worker.objects.filter(name__in=dead).delete()
    busy = Task.objects.filter(status=Status.PROCESSING, worker__in=dead).values_list("worker", flat=True)
    return bool(set(dead) - set(busy))


def _kill_cluster(parent: int) -> NoReturn:
    """Kill the cluster that this worker belongs to. `serve` watches it, and starts it again."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent and int(stat.parent.name) != os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
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
    serves = {object_type: models for object_type, models in store.serves().items() if object_type in wanted}
    device = problem = ""
    try:
        device = store.device
        for detector in store.detectors(tuple(serves)):
            detector.warm_up()
        # faces and plates get masks only on request: the first such request loads the segmenter
        segmenter = store.segmenter() if {ObjectType.PERSON, ObjectType.VEHICLE} & serves.keys() else None
        if segmenter is not None:
            segmenter.warm_up()
        if videos:
            _check_encoder()
            # load the tracking library now, so that the first video does not wait for it
            Tracker((1, 1), Options(), tuple(serves))
    except AnonymizerError as error:
        # the worker goes on, so that each request can be answered with the cause
        log.error("%s", error)
        problem = str(error)
    Worker.objects.filter(name=name()).update(
        ready=True,
        device=device,
        serves={object_type.value: models for object_type, models in serves.items()},
        loaded=store.loaded(),
        problem=problem,
        warning=_cpu_warning(device, torch.version.cuda),
        seen=timezone.now(),
    )


def _check_encoder() -> None:
    """Encode a few frames with the default encoder of requests; for `auto`, with that of H.264.

    Raises:
        InvalidParameter: the encoder does not work on this machine.
    """
    from anonymizer.pipeline.video.io.encoders import encoder_works

    wanted = Options.from_params(settings.DEFAULT_OPTIONS)[0].video_encoder
    name = VideoEncoder.LIBX264 if wanted is VideoEncoder.AUTO else wanted
    if not encoder_works(name):
        raise InvalidParameter("video-encoder", wanted, "auto, or an encoder that works on this machine")


def _cpu_warning(device: str, cuda: str | None) -> str:
    """Return a warning if a build of torch for CUDA runs on the CPU; else an empty text."""
    if device != "cpu" or cuda is None:
        return ""
    if settings.DEVICE == "cpu":
        reason = "because ANONYMIZER_DEVICE is cpu"
    else:
        reason = "because it finds no GPU (if this machine has one, `nvidia-smi` shows whether its driver works)"
    return f"torch is built for CUDA {cuda}, but runs on the CPU, {reason}. This works, but is slower than on a GPU."


def _beat(parent: int) -> None:
    never = threading.Event()
    while not never.wait(BEAT_S):
        if os.getppid() != parent:
            # the cluster has ended: a worker without a cluster would never get a task again
            os._exit(1)
        try:
            Worker.objects.filter(name=name()).update(seen=timezone.now())
            counters.note_gpu_memory(engine.store().device)
        except Exception:
            log.exception("The database could not be told that this worker is alive.")
            connection.close()


def _recover_once() -> None:
    try:
        claims.recover()
    finally:
        connection.close()
