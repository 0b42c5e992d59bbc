"""The work of a worker on one review: take the version, render it from what is kept, and make it the served one."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django_q.exceptions import TimeoutException

from anonymizer.models import FileKind, RenderStatus, ResultVersion, Status, Task
from anonymizer.models.tasks import VERSIONED
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, Cancelled
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import engine, files, receipts
from anonymizer.service.claims import Heartbeat
from anonymizer.service.monitoring import counters, log_context
from anonymizer.service.queueing.outages import AWAY
from anonymizer.service.reviewing import leases, versions
from anonymizer.service.reviewing.artefacts import image_artefacts
from anonymizer.service.reviewing.kept import KeptImage

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult, VideoResult

__all__ = ["RenderClaim", "publish", "render"]

log = logging.getLogger(__name__)
NO_ROOM = "There was no room on the disk of the server for the result."


@dataclass(frozen=True, slots=True)
class RenderClaim:
    """The right to render a version, for as long as the lease is renewed."""

    version: ResultVersion
    task: Task
    token: uuid.UUID

    def update(self, **values: object) -> bool:
        """Write nothing, as the task shows the version that is served. Return whether this claim still owns it."""
        return self._owned().exists()

    def is_void(self) -> bool:
        """Return whether the task was deleted, or another worker has the version."""
        return not self._owned().exclude(task__status=Status.DELETED).exists()

    def renew(self, **values: object) -> bool:
        """Extend the lease, if this claim still owns the version. Return whether it did."""
        return self._owned().update(lease_until=timezone.now() + settings.LEASE) == 1

    def _owned(self) -> QuerySet[ResultVersion]:
        return ResultVersion.objects.filter(pk=self.version.pk, lease_token=self.token, status=RenderStatus.RENDERING)


def render(version_id: str) -> str:
    """Render a version, if it still waits; django-q2 calls this.

    Returns:
        The outcome in words, which django-q2 shows.
    """
    from anonymizer.service import workers

    taken = _claim(int(version_id), workers.name())
    if taken is None:
        return "nothing to do"
    with log_context.work_on(taken.task.pk), Heartbeat(taken):
        outcome = _work(taken)
        log.info("Version %d: %s", taken.version.number, outcome)
    return outcome


def _claim(key: int, worker: str) -> RenderClaim | None:
    token = uuid.uuid4()
    taken = leases.free().filter(pk=key).update(
        lease_token=token, lease_until=timezone.now() + settings.LEASE, leases=F("leases") + 1, worker=worker
    )  # fmt: skip
    if not taken:
        return None
    version = ResultVersion.objects.get(pk=key)
    return RenderClaim(version, Task.objects.prefetch_related("files").get(pk=version.task_id), token)


def _work(taken: RenderClaim) -> str:
    """Make and publish the version, or fail it. The version before it stays as it is until then."""
    try:
        published = _image(taken)
    except Cancelled:
        return "dropped: the task was deleted or taken by another worker"
    except AnonymizerError as error:
        if files.is_full(error):
            return leases.fail(
                taken.version, "There was no room on the disk of the server for the result.", taken.token
            )
        return leases.fail(taken.version, str(error), taken.token)
    except MemoryError:
        return leases.fail(taken.version, "The worker has too little memory for this file.", taken.token)
    except TimeoutException:
        leases.fail(taken.version, "The work on this review took longer than this server allows.", taken.token)
        raise
    except AWAY as error:
        log.error("Version %d waits for another worker (%s).", taken.version.number, type(error).__name__)
        return "the database does not answer: the review waits for another worker"
    except Exception as error:
        # the outer edge of the worker: whatever went wrong, the version before stays the served one
        log.exception("Version %d of task %s failed.", taken.version.number, taken.task.pk)
        return leases.fail(taken.version, f"The review could not be rendered ({type(error).__name__}).", taken.token)
    return "done" if published else "dropped: the task was deleted or taken by another worker"


def _image(taken: RenderClaim) -> bool:
    task, anonymizer = taken.task, engine.anonymizer()
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia("The original file of this task does not exist any more.")
    state = ReviewState.from_json(taken.version.state)
    kept = KeptImage.of(task)
    picture = load_picture(original.read(), limits=anonymizer.limits, name=task.name)
    started = time.perf_counter()
    types = tuple(ObjectType(name) for name in task.object_types)
    result = anonymizer.render(picture, kept.found, types, kept.options, review=state)
    result = anonymizer.verify(result)
    log.info("Rendered in %.2f s.", time.perf_counter() - started)
    return publish(taken, result, image_artefacts(result, shared=False))


def publish(
    taken: RenderClaim, result: ImageResult | VideoResult, artefacts: Iterable[files.Artefact], **values: object
) -> bool:
    """Make the whole version visible at once. If the claim is void, remove all of it.

    Args:
        taken: the claim.
        result: of the rendering.
        artefacts: its files.
        values: further fields of the task.

    Returns:
        Whether the version was published.
    """
    task, version = taken.task, taken.version
    stored = files.put(task, taken.token.hex, artefacts)
    published = False
    try:
        receipt = receipts.make(task, result, stored, timezone.now(), version=version.number)
        stored += files.put(task, taken.token.hex, [receipts.artefact(receipt)])
        outcome = {
            "detections": result.counts,
            "review_counts": dict(result.review_counts),
            "model_ids": list(result.models),
            "warnings": list(dict.fromkeys([*task.warnings, *result.warnings])),
            "duration": result.seconds,
            **values,
        }
        with transaction.atomic():
            row = Task.objects.select_for_update().filter(pk=task.pk).exclude(status=Status.DELETED).first()
            mine = ResultVersion.objects.filter(pk=version.pk, lease_token=taken.token, status=RenderStatus.RENDERING)
            if row is not None and mine.update(
                status=RenderStatus.DONE,
                outcome=outcome,
                lease_token=None,
                lease_until=None,
                approved=version.approve_when_done,
            ):
                version.refresh_from_db()
                versions.serve(row, version)
                for file in stored:
                    file.version = version.number if file.kind in VERSIONED else 1
                    file.save(force_insert=True)
                receipts.keep(row, receipt)
                if version.approve_when_done:
                    versions.set_approval(row, version, version.actor, approved=True)
                published = True
    finally:
        if not published:
            files.discard(stored)
    if published:
        counters.observe_step(task.kind, "review", result.seconds)
    return published
