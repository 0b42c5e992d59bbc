"""The database tables."""

from anonymizer.models.profiles import Profile
from anonymizer.models.receipts import Receipt
from anonymizer.models.tasks import File, FileKind, Kind, Status, Task, WebhookStatus, time_ordered_id
from anonymizer.models.workers import Worker

__all__ = [
    "File",
    "FileKind",
    "Kind",
    "Profile",
    "Receipt",
    "Status",
    "Task",
    "WebhookStatus",
    "Worker",
    "time_ordered_id",
]
