"""Whether this server can take work, and what prevents it if it cannot."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils.crypto import salted_hmac

from anonymizer.models import Kind, Worker
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.service import engine, workers
from anonymizer.service.monitoring import capacity
from anonymizer.service.queueing.broker import problem
from anonymizer.stores import ALIASES, store

__all__ = ["PROBE_HEADER", "probe_proof", "readiness", "worker_readiness"]

#: by which `serve` shows that it is the one that asks: it may ask from an address that is not a loopback address
PROBE_HEADER = "X-Anonymizer-Probe"


def probe_proof() -> str:
    """Return what only a process with the secret key can know."""
    return salted_hmac("anonymizer.probe", "readyz", algorithm="sha256").hexdigest()


def readiness() -> dict[str, str]:
    """Return, for each part that the server needs, "ok" or what is wrong with it."""
    answers = _common()
    known = answers["database"] == "ok"
    answers["queue"] = _check_queue() if known else "not known"
    answers["workers"] = _check_workers(Kind.IMAGE) if known else "not known"
    if engine.takes_videos():
        answers["video_workers"] = _check_workers(Kind.VIDEO) if known else "not known"
    return answers


def worker_readiness(own: Mapping[str, Collection[int]]) -> tuple[dict[str, str], list[Worker]]:
    """Return the same for a host that has no web server, and its workers that have loaded their models.

    Args:
        own: by queue, the numbers of the processes of this host that may be workers. Empty while it is stopped.
    """
    answers = _common()
    if answers["database"] != "ok":
        return answers | {"workers": "not known"}, []
    names = {workers.name(pid) for pids in own.values() for pid in pids}
    found = [worker for worker in workers.alive(ready=True) if worker.name in names]
    if not own:
        answers["workers"] = "the workers are being stopped"
    elif problems := [worker.problem for worker in found if worker.problem]:
        answers["workers"] = problems[0]
    elif missing := own.keys() - {worker.queue for worker in found}:
        answers["workers"] = f"no worker of the queue {min(missing)} has loaded its models"
    else:
        answers["workers"] = "ok"
    return answers, found


def _common() -> dict[str, str]:
    """What the web server and the workers need alike."""
    return {
        "database": _check_database(),
        **({"broker": problem() or "ok"} if settings.BROKER_URL else {}),
        "storage": _check_storage(),
        "disk": _check_disk(),
        "models": _check_models(),
    }


def _check_database() -> str:
    try:
        with connection.cursor() as cursor:
            # the broker's table is in the same database
            cursor.execute("SELECT 1 FROM django_q_ormq LIMIT 1")
    except DatabaseError as error:
        return f"the database does not answer ({type(error).__name__})"
    return "ok"


def _check_storage() -> str:
    # nothing is written: probes come every few seconds
    for alias in ALIASES:
        if problem := store(alias).problem():
            return f"the {alias} storage {problem}"
    return "ok"


def _check_disk() -> str:
    for alias in ("input", "output"):
        usage = capacity.disk_usage(alias)
        if usage is not None and usage[1] < settings.MIN_FREE_BYTES:
            return f"the disk of the {alias} storage has less than {settings.MIN_FREE_BYTES // 2**20} MiB of room"
    return "ok"


def _check_queue() -> str:
    waiting = sum(queue.length for queue in capacity.queues().values())
    return "ok" if waiting < settings.MAX_QUEUE else f"{waiting} files wait, and no more are taken"


def _check_models() -> str:
    served = engine.served_types()
    installed = engine.store().serves()
    missing = [
        object_type.words for object_type in OBJECT_TYPES if object_type in served and object_type not in installed
    ]
    if missing or not served:
        return f"no model serves {', '.join(missing) or 'any type'}: run `anonymizer manage check`"
    return "ok"


def _check_workers(kind: Kind) -> str:
    loaded = workers.alive(kind, ready=True)
    if any(not worker.problem for worker in loaded):
        return "ok"
    if loaded:
        return loaded[0].problem
    return "a worker is loading its models" if workers.alive(kind) else "no worker is alive"
