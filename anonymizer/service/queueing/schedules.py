"""The jobs that django-q2 runs on a schedule: find lost and expired tasks, clean up, and forget old calls."""

from __future__ import annotations

from django.conf import settings

__all__ = ["ensure"]


def ensure(**kwargs: object) -> None:
    """Make the stored schedules match the settings. Django calls this after every `migrate`."""
    from django_q.models import Schedule

    _ensure_schedule(Schedule, "recover", "anonymizer.service.claims.recover", minutes=1, keep=False)
    _ensure_schedule(Schedule, "expire", "anonymizer.service.cleanup.expire", minutes=1, keep=False)
    _ensure_schedule(Schedule, "prune", "anonymizer.service.queueing.history.prune", minutes=60)
    minutes = max(1, round(settings.CLEANUP_EVERY.total_seconds() / 60))
    _ensure_schedule(Schedule, "cleanup", "anonymizer.service.cleanup.scheduled", minutes=minutes)


def _ensure_schedule(model: type, name: str, function: str, *, minutes: int, keep: bool = True) -> None:
    # the successes of each minute would push all others out of the list of django-q2
    kwargs = None if keep else repr({"q_options": {"save": False}})
    wanted = {"func": function, "schedule_type": "I", "minutes": minutes, "repeats": -1, "kwargs": kwargs}
    if model.objects.filter(name=name, **wanted).count() != 1:  # type: ignore[attr-defined]
        model.objects.filter(name=name).delete()  # type: ignore[attr-defined]
        model.objects.create(name=name, **wanted)  # type: ignore[attr-defined]
