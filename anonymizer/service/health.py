"""Whether this server can take work, and if not, what keeps it."""

from __future__ import annotations

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, connection

from anonymizer.models import Kind
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.service import engine, workers

__all__ = ["readiness"]


def readiness() -> dict[str, str]:
    """Each thing that is needed, and "ok" or what is wrong with it."""
    answers = {"database": _database(), "storage": _storage(), "models": _models()}
    known = answers["database"] == "ok"
    answers["workers"] = _workers(Kind.IMAGE) if known else "not known"
    if engine.takes_videos():
        answers["video_workers"] = _workers(Kind.VIDEO) if known else "not known"
    return answers


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            # the broker's table lives in the same database
            cursor.execute("SELECT 1 FROM django_q_ormq LIMIT 1")
    except DatabaseError as error:
        return f"the database does not answer ({type(error).__name__})"
    return "ok"


def _storage() -> str:
    for alias in ("input", "output"):
        try:
            key = storages[alias].save("ready.txt", ContentFile(b"ready"))
            storages[alias].delete(key)
        except OSError as error:
            return f"the {alias} storage cannot be written to ({error.strerror or type(error).__name__})"
    return "ok"


def _models() -> str:
    served = engine.served_types()
    installed = engine.store().serves()
    missing = [each.words for each in OBJECT_TYPES if each in served and each not in installed]
    if missing or not served:
        return f"no model serves {', '.join(missing) or 'any type'}: run `python manage.py check`"
    return "ok"


def _workers(kind: Kind) -> str:
    loaded = workers.alive(kind, ready=True)
    if any(not each.problem for each in loaded):
        return "ok"
    if loaded:
        return loaded[0].problem
    return "a worker is loading its models" if workers.alive(kind) else "no worker is alive"
