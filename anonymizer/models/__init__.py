"""The database tables."""

from anonymizer.models.audit import AuditAction, AuditEvent, DeletionReceipt
from anonymizer.models.profiles import Profile
from anonymizer.models.receipts import KeptReceipt
from anonymizer.models.tasks import File, FileKind, Kind, Review, Status, Task, WebhookStatus, time_ordered_id
from anonymizer.models.tokens import IdempotencyKey, Token, TokenUsage
from anonymizer.models.versions import RenderStatus, ResultVersion
from anonymizer.models.webhooks import WebhookDelivery, WebhookTry
from anonymizer.models.workers import Worker

__all__ = [
    "AuditAction",
    "AuditEvent",
    "DeletionReceipt",
    "File",
    "FileKind",
    "IdempotencyKey",
    "KeptReceipt",
    "Kind",
    "Profile",
    "RenderStatus",
    "ResultVersion",
    "Review",
    "Status",
    "Task",
    "Token",
    "TokenUsage",
    "WebhookDelivery",
    "WebhookStatus",
    "WebhookTry",
    "Worker",
    "time_ordered_id",
]
