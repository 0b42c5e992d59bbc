"""A task as clients see it: the JSON object of the contract, in API responses and webhooks alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from anonymizer.models import FileKind, Kind, Review, Status, Task

__all__ = ["report"]

_URLS = {
    "anonymised_url": (FileKind.ANONYMISED, "anonymised"),
    "binary_mask_url": (FileKind.BINARY_MASK, "binary-mask"),
    "instance_mask_url": (FileKind.INSTANCE_MASK, "instance-mask"),
    "metadata_url": (FileKind.METADATA, "metadata"),
}


def report(task: Task, *, for_review: bool = False) -> dict[str, Any]:
    """Return the task as the JSON object of the contract.

    Args:
        task: best with its files prefetched, to save a query.
        for_review: whether the addresses of a result are given that waits for an approval.
    """
    is_served = for_review or (task.status == Status.DONE and task.review != Review.REQUIRED)
    stored = {kind for kind in FileKind if task.file(kind) is not None} if is_served else set()
    more = "?review=1" if for_review else ""
    base = f"{task.endpoint}/v1"
    folder = f"{base}/file/{task.pk}" + ("/video" if task.kind == Kind.VIDEO else "")
    return {
        "id": str(task.pk),
        "status": task.status,
        "kind": task.kind,
        "name": task.name,
        "progress": task.progress,
        "video": task.video,
        "created": _time(task.created),
        "started": _time(task.started),
        "finished": _time(task.finished),
        "expires": _time(task.expires),
        "duration": task.duration,
        "method": task.method,
        "object_types": task.object_types,
        "detections": task.detections,
        # the contract's name for the counts that a reviewer looks at
        "coverage": task.review_counts,
        **{name: f"{folder}/{part}{more}" if kind in stored else None for name, (kind, part) in _URLS.items()},
        "receipt_url": f"{base}/file/{task.pk}/receipt{more}" if FileKind.RECEIPT in stored else None,
        "task_url": f"{base}/task/{task.pk}",
        "failure_cause": task.failure_cause,
        "error": task.error,
        "warnings": task.warnings,
        "webhook_status": task.webhook_status,
        "models": task.model_ids,
        "options": task.options,
        "profile": task.profile,
        "version": task.version,
        "review": task.review or None,
        "review_status": task.review_status,
        "versions_url": f"{base}/task/{task.pk}/versions" if task.status != Status.DELETED else None,
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
