"""Worker processes: what each loads at its start, and how it shows that it is alive."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.util import Finalize
from typing import Any

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
from anonymizer.service.queueing import processes
from anonymizer.service.queueing.outages import AWAY, Outage, insist
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["alive", "choose_device", "connect", "kind", "looking", "name", "note_idle"]

log = logging.getLogger(__name__)
BEAT_S = 6.0
#: the lower priority of video workers: they get about a quarter of a core while an image is processed on it, too
NICE = 5
#: a worker that did not show itself for so long is no longer alive
GONE_AFTER = timedelta(seconds=20)
#: a worker that has no task and did not look for one for so long hangs: it does not show itself any more
HANGS_AFTER_S = 15.0


class _Loop:
    """What the main thread of this worker does, as its other threads see it."""

    works = False
    #: when it last looked for work; at the start it loads its models instead
    looked_s: float | None = None

    def hangs(self) -> bool:
        """Return whether it neither works nor looks for work."""
        return not self.works and self.looked_s is not None and time.monotonic() - self.looked_s > HANGS_AFTER_S


_loop = _Loop()


def connect() -> None:
    """Have every worker process call `_begin` at its start, and note when it works."""
    from django_q.signals import post_execute_in_worker, post_spawn, pre_execute

    post_spawn.connect(_begin, dispatch_uid="anonymizer-worker")
    pre_execute.connect(_note_start, dispatch_uid="anonymizer-worker-works")
    post_execute_in_worker.connect(_note_end, dispatch_uid="anonymizer-worker-waits")


def _note_start(**kwargs: object) -> None:
    _loop.works = True


def _note_end(**kwargs: object) -> None:
    _loop.works, _loop.looked_s = False, time.monotonic()


def looking(find: Callable[[], dict[str, Any] | None]) -> Callable[[], dict[str, Any] | None]:
    """Make a search for waiting tasks one that an idle worker may call again and again.

    Args:
        find: gives work as django-q2 packs it, or None.

    Returns:
        A function that does the same. While the database is away it finds nothing.
    """
    outage = Outage("A worker that looks for tasks")

    def look() -> dict[str, Any] | None:
        try:
            found = find()
        except AWAY as error:
            outage.note(error)
            return None
        outage.end()
        return found

    return look


def choose_device(place: int) -> None:
    """Have this worker use a device of its own, where the setting `DEVICES` names several.

    Args:
        place: of the worker among those of its queue, from 0.
    """
    if settings.DEVICES:
        settings.DEVICE = settings.DEVICES[place % len(settings.DEVICES)]


def note_idle() -> None:
    """Note that this worker waits for work; one that does not is taken for one that hangs."""
    _loop.looked_s = time.monotonic()


def name(pid: int | None = None) -> str:
    """Return the name of a worker of this machine: the machine, its start, the container, and the process number.

    Args:
        pid: its process number. Default: that of this process.
    """
    return f"{processes.host()}:{os.getpid() if pid is None else pid}"


def alive(kind: Kind | None = None, *, ready: bool = False) -> list[Worker]:
    """Return the workers that are alive.

    Args:
        kind: only workers for this kind of file. Default: all workers.
        ready: only workers that have loaded their models.
    """
    rows = Worker.objects.filter(seen__gt=timezone.now() - GONE_AFTER)
    if kind is not None:
        rows = rows.filter(queue=QUEUES[kind])
    return [worker for worker in (rows.filter(ready=True) if ready else rows) if not _is_dead(worker.name)]


def _is_dead(worker: str) -> bool:
    """Return whether a worker was a process of this machine that has ended. Others may live: their leases tell."""
    place, _, pid = worker.rpartition(":")
    return place == processes.host() and not processes.exists(int(pid))


def kind() -> Kind:
    """Return the kind of file that this worker processes."""
    return next(kind for kind, queue in QUEUES.items() if queue == _queue())


def _queue() -> str:
    """The queue that this worker takes its tasks from."""
    return os.environ.get("Q_CLUSTER_NAME", QUEUES[Kind.IMAGE])


def _begin(**kwargs: object) -> None:
    """Show that this worker is alive, find tasks that a lost worker left, and load its models."""
    insist(_show, "A worker that starts", seconds=math.inf)
    Finalize(None, _remove_row, exitpriority=0)
    if kind() is Kind.VIDEO:
        # an image that arrives while a video is processed gets most of the cores that it needs
        os.nice(NICE)
    threading.Thread(target=_beat, args=(os.getppid(),), name="presence", daemon=True).start()
    processes.limit_memory(_most_memory(_load()))
    _loop.looked_s = time.monotonic()
    # the task of a worker of another machine is free only when its lease has run out
    timer = threading.Timer(settings.LEASE.total_seconds() + 1, _recover_once)
    timer.daemon = True
    timer.start()


def _show() -> None:
    Worker.objects.filter(seen__lt=timezone.now() - 10 * GONE_AFTER).delete()
    dead = [worker for worker in Worker.objects.values_list("name", flat=True) if _is_dead(worker)]
    Worker.objects.filter(name__in=dead).delete()
    working = Task.objects.filter(status=Status.PROCESSING, worker__startswith=f"{processes.host()}:")
    claims.end_leases([worker for worker in working.values_list("worker", flat=True) if _is_dead(worker)])
    claims.recover(notify=False)
    now = timezone.now()
    Worker.objects.update_or_create(
        name=name(),
        defaults={
            "host": processes.host(), "queue": _queue(), "started": now, "seen": now, "ready": False, "problem": "",
            "warning": "",
        },
    )  # fmt: skip


def _remove_row() -> None:
    """Remove this worker's row when the process ends normally."""
    try:
        Worker.objects.filter(name=name()).delete()
    except AWAY:
        log.warning("The row of worker %s stays until it is too old.", name())
    connection.close()


def _most_memory(device: str) -> int | None:
    """The limit of memory of this worker, in bytes.

    Only an operator sets one for a worker with a GPU: how much its driver counts as memory of the process differs.
    """
    if device.startswith("cuda") and not settings.WORKER_MEGABYTES:
        return None
    return processes.memory_limit(settings.WORKER_MEGABYTES)


def _load() -> str:
    """Load the models, and show them. Return the device that they are on; empty if they cannot be loaded."""
    import cv2
    import torch

    videos = kind() is Kind.VIDEO
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
    shown = {
        "ready": True,
        "device": device,
        "serves": {object_type.value: models for object_type, models in serves.items()},
        "loaded": store.loaded(),
        "problem": problem,
        "warning": _cpu_warning(device, torch.version.cuda),
    }
    insist(
        lambda: Worker.objects.filter(name=name()).update(**shown, seen=timezone.now()),
        "A worker that starts",
        seconds=math.inf,
    )
    return device


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
    never, outage = threading.Event(), Outage("A worker that shows that it is alive")
    while not never.wait(BEAT_S):
        if os.getppid() != parent:
            # the guard has ended: a worker without it would never get a task again
            os._exit(1)
        if _loop.hangs():
            continue
        try:
            Worker.objects.filter(name=name()).update(seen=timezone.now())
        except AWAY as error:
            outage.note(error)
        else:
            outage.end()
            counters.note_gpu_memory(engine.store().device)


def _recover_once() -> None:
    try:
        claims.recover(notify=False)
    except AWAY as error:
        log.warning("Lost tasks are looked for a minute later (%s).", type(error).__name__)
    finally:
        connection.close()
