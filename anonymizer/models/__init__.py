"""The database tables."""

from anonymizer.models.profiles import Profile
from anonymizer.models.tasks import File, FileKind, Kind, Status, Task, WebhookStatus, time_ordered_id
from anonymizer.models.tokens import IdempotencyKey, Token, TokenUsage
from anonymizer.models.workers import Worker

__all__ = [
    "File",
    "FileKind",
    "IdempotencyKey",
    "Kind",
    "Profile",
    "Status",
    "Task",
    "Token",
    "TokenUsage",
    "WebhookStatus",
    "Worker",
    "time_ordered_id",
]
