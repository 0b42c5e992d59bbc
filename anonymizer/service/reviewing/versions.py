"""Take reviews: make a version that a worker renders, approve versions, and bring earlier ones back."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from django.db import transaction
from django.utils import timezone

from anonymizer.models import AuditAction, File, FileKind, Kind, RenderStatus, ResultVersion, Review, Status, Task
from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter
from anonymizer.pipeline.review.edits import ReviewEdits, ReviewRequest
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import receipts
from anonymizer.service.accounting import audit
from anonymizer.service.reviewing import leases
from anonymizer.service.reviewing.errors import NoOriginal, NotReviewable, VersionConflict
from anonymizer.service.reviewing.kept import KeptImage, KeptTracks, first_state
from anonymizer.service.webhooks import deliveries

__all__ = [
    "OUTCOME",
    "current",
    "is_withheld",
    "lasting_warnings",
    "listing",
    "outcome_of",
    "review",
    "serve",
    "set_approval",
    "state_of",
]

Kept: TypeAlias = "KeptImage | KeptTracks"
RENDERING = RenderStatus.RENDERING.value
#: fields of a task that belong to the version that it serves
OUTCOME = ("detections", "review_counts", "model_ids", "warnings", "duration", "video")


class _Gone(AnonymizerError):
    """The task was deleted."""

    status = 410
    code = "deleted"


def review(task: Task, request: ReviewRequest, actor: str) -> bool:
    """Take a review of a task that has a result.

    Args:
        task: with its files.
        request: what the reviewer wants.
        actor: who that is, for the audit log.

    Returns:
        Whether a worker has to render a new version; if not, all is done.

    Raises:
        InvalidParameter: the review names an object or a version that is not there.
        NoOriginal, NotReviewable, VersionConflict: a review is not possible, or not now.
    """
    kept = _kept(task, request.edits) if request.edits else None
    with transaction.atomic():
        row = Task.objects.select_for_update().get(pk=task.pk)
        _check(row, request)
        base = current(row)
        if request.edits and kept is not None:
            _enqueue(row, base, request, kept, actor)
            return True
        if request.restore is not None:
            base = _restore(row, request.restore, actor)
        if request.comment:
            base.comment = request.comment
            base.save(update_fields=["comment"])
        if request.approve is not None:
            set_approval(row, base, actor, approved=request.approve)
    return False


def _kept(task: Task, edits: ReviewEdits) -> Kept:
    if task.status in (Status.DELETED, Status.FAILED) or task.file(FileKind.METADATA) is None:
        raise NotReviewable(f"Task {task.pk} is {task.status} and has no result that could be reviewed.")
    if task.file(FileKind.ORIGINAL) is None:
        raise NoOriginal(f"The original of task {task.pk} is not kept. A review has nothing to render from.")
    kept = KeptImage.of(task) if task.kind == Kind.IMAGE else KeptTracks.of(task)
    kept.check(edits)
    return kept


def _check(task: Task, request: ReviewRequest) -> None:
    if task.status == Status.DELETED:
        raise _Gone(f"Task {task.pk} was deleted.")
    if task.status != Status.DONE and not task.waits_for_review:
        raise NotReviewable(f"Task {task.pk} is {task.status} and has no result that could be reviewed.")
    if request.base is not None and request.base != task.version:
        raise VersionConflict(f"The review is of version {request.base}, but the current version is {task.version}.")
    if task.review_status == RENDERING:
        raise NotReviewable(f"A review of task {task.pk} is being rendered. Try again later.")


def current(task: Task) -> ResultVersion:
    """Return the version that a task serves. The first one gets its row here, at the first review."""
    found = ResultVersion.objects.filter(task=task, number=task.version).first()
    if found is not None:
        return found
    described = task.file(FileKind.METADATA, 1)
    state = first_state(json.loads(described.read())) if described and task.kind == Kind.IMAGE else ReviewState()
    return ResultVersion.objects.create(
        task=task,
        number=1,
        created=task.finished or timezone.now(),
        actor=audit.SERVER,
        state=state.as_json(),
        outcome=outcome_of(task),
        status=RenderStatus.DONE,
        approved=task.review == Review.APPROVED,
    )


def state_of(task: Task) -> dict[str, Any]:
    """Return what reviews changed in the version that a task serves, as JSON values."""
    found = ResultVersion.objects.filter(task=task, number=task.version).values_list("state", flat=True).first()
    return dict(found or {})


def lasting_warnings(task: Task, version: ResultVersion) -> list[str]:
    """Return the warnings of the version that is reviewed which its review does not make anew."""
    base = ResultVersion.objects.filter(task=task, number=version.base).first()
    followed = [] if base is None else base.outcome.get("followed", [])
    made_anew = {row["warning"] for row in followed}
    return [sentence for sentence in task.warnings if sentence not in made_anew]


def outcome_of(task: Task) -> dict[str, Any]:
    """Return the fields of a task that belong to the version that it serves."""
    return {name: getattr(task, name) for name in OUTCOME}


def _enqueue(task: Task, base: ResultVersion, request: ReviewRequest, kept: Kept, actor: str) -> None:
    before = ReviewState.from_json(base.state)
    state = before.apply(request.edits, kept.key_of(before))
    last = ResultVersion.objects.filter(task=task).order_by("-number").values_list("number", flat=True)[0]
    version = ResultVersion.objects.create(
        task=task,
        number=last + 1,
        base=base.number,
        actor=actor[:200],
        comment=request.comment,
        state=state.as_json(),
        counts=request.edits.counts,
        approve_when_done=bool(request.approve),
    )
    Task.objects.filter(pk=task.pk).update(review_status=RENDERING)
    audit.record(AuditAction.REVIEWED, task.pk, actor, reason=_in_words(version))
    transaction.on_commit(lambda: leases.notify(version, task), robust=True)


def _restore(task: Task, number: int, actor: str) -> ResultVersion:
    found = ResultVersion.objects.filter(task=task, number=number, status=RenderStatus.DONE).first()
    if found is None:
        raise InvalidParameter("restore", number, "the number of a version that is there (see /versions)")
    serve(task, found)
    audit.record(AuditAction.RESTORED, task.pk, actor, reason=f"version {number}")
    receipt = task.file(FileKind.RECEIPT, number)
    if receipt is not None:
        receipts.keep_content(task, receipt.read().decode())
    return found


def serve(task: Task, version: ResultVersion) -> None:
    """Make a version the served one. The caller has a transaction open, in which the row of the task is locked.

    A result that needs an approval is served only if this version has one.
    """
    # what shows the version that was served until now
    for preview in File.objects.filter(task=task.pk, kind__in=[FileKind.PREVIEW_AFTER, FileKind.SIDE_BY_SIDE]):
        preview.delete()
    values = {name: value for name, value in version.outcome.items() if name in OUTCOME}
    task.version, task.review = version.number, _review_of(task, version)
    Task.objects.filter(pk=task.pk).update(**values, version=task.version, review=task.review, review_status=None)


def _review_of(task: Task, version: ResultVersion) -> str:
    if version.approved:
        return Review.APPROVED
    return Review.REQUIRED if task.review_required else Review.NONE


def set_approval(task: Task, version: ResultVersion, actor: str, *, approved: bool) -> None:
    """Approve the served version, or take its approval back. With the approval, a task that waited for it is done.

    The caller has a transaction open, in which the row of the task is locked.
    """
    version.approved = approved
    version.save(update_fields=["approved"])
    task.review = _review_of(task, version)
    Task.objects.filter(pk=task.pk).update(review=task.review)
    action = AuditAction.APPROVED if approved else AuditAction.APPROVAL_WITHDRAWN
    audit.record(action, task.pk, actor, reason=f"version {version.number}")
    waiting = Task.objects.filter(pk=task.pk, status=Status.PROCESSING, review_required=True, lease_until=None)
    if approved and waiting.update(status=Status.DONE, finished=timezone.now()):
        deliveries.enqueue(task)


def is_withheld(task: Task, number: int | None) -> bool:
    """Return whether a version is not for clients: the task needs approvals, and this version has none."""
    if not task.review_required or number is None or number == task.version:
        return False
    return not ResultVersion.objects.filter(task=task, number=number, approved=True).exists()


def listing(task: Task) -> list[dict[str, Any]]:
    """Return the versions of a task as JSON values, newest first."""
    rows = list(ResultVersion.objects.filter(task=task))
    if not rows and task.file(FileKind.METADATA) is not None:
        outcome = outcome_of(task)
        rows = [
            ResultVersion(
                task=task, number=1, created=task.finished or task.created, actor=audit.SERVER, outcome=outcome,
                status=RenderStatus.DONE, approved=task.review == Review.APPROVED,
            )
        ]  # fmt: skip
    return [_listed(row, task) for row in rows]


def _listed(row: ResultVersion, task: Task) -> dict[str, Any]:
    counts = {"added": 0, "taken": 0, "dropped": 0, "visible": 0, "changed": 0} | row.counts
    return {
        "version": row.number, "base": row.base or None, "status": row.status, "error": row.error or None,
        "created": row.created.isoformat().replace("+00:00", "Z"), "by": row.actor, "comment": row.comment,
        **counts, "thresholds": row.state.get("thresholds", {}), "detections": row.outcome.get("detections", {}),
        "followed": row.outcome.get("followed", []), "approved": row.approved,
        "served": row.status == RenderStatus.DONE and row.number == task.version,
    }  # fmt: skip


def _in_words(version: ResultVersion) -> str:
    changed = ", ".join(f"{count} {name}" for name, count in version.counts.items() if count)
    return f"version {version.number}: {changed or 'thresholds'}"[:100]
