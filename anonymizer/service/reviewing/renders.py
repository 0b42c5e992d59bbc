"""The work of a worker on one review: take the version, render it from what is kept, and make it the served one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone
from django_q.exceptions import TimeoutException

from anonymizer.models import FileKind, Kind, RenderStatus, ResultVersion, Status, Task
from anonymizer.models.tasks import VERSIONED
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, Cancelled, StorageAway
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import engine, files, receipts, videos
from anonymizer.service.claims import Heartbeat
from anonymizer.service.monitoring import counters, log_context
from anonymizer.service.queueing.outages import AWAY
from anonymizer.service.reviewing import leases, versions
from anonymizer.service.reviewing.artefacts import image_artefacts
from anonymizer.service.reviewing.kept import KeptImage, found_again
from anonymizer.service.reviewing.video_reviews import review_video

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult, VideoResult

__all__ = ["publish", "render"]

log = logging.getLogger(__name__)
#: what the frames of a rendering tell; all else of a task's counts is of the detection
FRAME_COUNTS = ("frames_redacted", "filled_by_tracker", "frames_blackened", "packets_lost")
NO_ROOM = "There was no room on the disk of the server for the result."


def render(version_id: str) -> str:
    """Render a version, if it still waits; django-q2 calls this.

    Returns:
        The outcome in words, which django-q2 shows.
    """
    from anonymizer.service import workers

    taken = leases.claim(int(version_id), workers.name())
    if taken is None:
        return "nothing to do"
    with log_context.work_on(taken.task.pk), Heartbeat(taken):
        outcome = _work(taken)
        log.info("Version %d: %s", taken.version.number, outcome)
    return outcome


def _work(taken: leases.RenderClaim) -> str:
    """Make and publish the version, or fail it. The version before it stays as it is until then."""
    try:
        published = _video(taken) if taken.task.kind == Kind.VIDEO else _image(taken)
    except Cancelled:
        return "dropped: the task was deleted or taken by another worker"
    except StorageAway:
        # not the fault of the review: its lease does not count, and a worker takes it again
        log.error("Version %d waits, because the storage does not answer.", taken.version.number)
        leases.release([taken.version.worker])
        return "the storage does not answer: the review waits"
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


def _image(taken: leases.RenderClaim) -> bool:
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
    return publish(taken, result, image_artefacts(result, shared=False), state.with_finds(found_again(result)))


def _video(taken: leases.RenderClaim) -> bool:
    task, version = taken.task, taken.version
    files.remove_working_folders(task)
    with files.working_folder(task, taken.token.hex) as folder:
        result, followed = review_video(taken, folder)
        counts = dict(task.review_counts) | {name: result.review_counts[name] for name in FRAME_COUNTS}
        log.info("Version %d: %d frames of %d copied.", version.number, result.frames_copied, result.frames)
        return publish(
            taken,
            result,
            videos.artefacts(result),
            ReviewState.from_json(version.state).with_finds(result.finds),
            review_counts=counts,
            video=videos.video_field(result),
            followed=followed,
        )


def publish(
    taken: leases.RenderClaim,
    result: ImageResult | VideoResult,
    artefacts: Iterable[files.Artefact],
    state: ReviewState,
    **values: object,
) -> bool:
    """Make the whole version visible at once. If the claim is void, remove all of it.

    Args:
        taken: the claim.
        result: of the rendering.
        artefacts: its files.
        state: what was changed up to the version, with what the look at it found.
        values: further fields of the task or of the version.

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
            "warnings": list(dict.fromkeys([*versions.lasting_warnings(task, version), *result.warnings])),
            "duration": result.seconds,
            **values,
        }
        with transaction.atomic():
            row = Task.objects.select_for_update().filter(pk=task.pk).exclude(status=Status.DELETED).first()
            mine = ResultVersion.objects.filter(pk=version.pk, lease_token=taken.token, status=RenderStatus.RENDERING)
            if row is not None and mine.update(
                status=RenderStatus.DONE,
                outcome=outcome,
                state=state.as_json(),
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
