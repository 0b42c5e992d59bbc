"""Add events to the audit log: who uploaded, saw, downloaded or deleted which file."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone

from anonymizer.models import AuditAction, AuditEvent, Token

__all__ = ["ANONYMOUS", "COMMAND", "SERVER", "client", "record", "record_access", "record_all"]

#: a caller of the API, where the server asks for no token
ANONYMOUS = "anonymous"
#: somebody at the command line of the server
COMMAND = "command"
#: the service itself, such as its scheduled clean-up
SERVER = "server"
#: a player reads a video in many ranges: these are one event
SAME_ACCESS = timedelta(minutes=1)


def client(token: Token | None) -> str:
    """Return the actor of a request to the API.

    Args:
        token: the client, or None where the server asks for no token.
    """
    return ANONYMOUS if token is None else f"client:{token.name}"


def record(action: AuditAction, task: uuid.UUID, actor: str, *, file: str = "", reason: str = "") -> None:
    """Add one event.

    Args:
        task: the id of the task.
        actor: who did it: `client:NAME`, `admin:NAME`, or one of the constants of this module.
        file: the kind of file; empty for the whole task.
        reason: why, where the actor is the server.
    """
    record_all(action, [task], actor, file=file, reason=reason)


def record_all(
    action: AuditAction, tasks: Iterable[uuid.UUID], actor: str, *, file: str = "", reason: str = ""
) -> None:
    """Add the same event for several tasks."""
    now = timezone.now()
    AuditEvent.objects.bulk_create(
        AuditEvent(time=now, action=action, task=task, actor=actor[:200], file=file, reason=reason) for task in tasks
    )


def record_access(action: AuditAction, task: uuid.UUID, actor: str, file: str, *, reason: str = "") -> None:
    """Add an event for a file that was read, unless the same actor read it within the last minute."""
    recent = AuditEvent.objects.filter(
        task=task, action=action, actor=actor[:200], file=file, time__gt=timezone.now() - SAME_ACCESS
    )
    if not recent.exists():
        record(action, task, actor, file=file, reason=reason)
