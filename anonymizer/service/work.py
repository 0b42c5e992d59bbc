"""The work of a worker on one task: claim it, run the pipeline, publish the result or the failure."""

from __future__ import annotations

import io
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.exceptions import TimeoutException

from anonymizer.models import File, FileKind, Kind, Review, Status, Task
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, Cancelled, NotFullyAnalysed, StorageFull
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.receipts.receipt import Receipt
from anonymizer.pipeline.results import ImageResult
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.service import deletion, engine, files, receipts, videos, workers
from anonymizer.service.claims import Claim, Heartbeat, claimed, next_waiting
from anonymizer.service.clients.turns import claim_next
from anonymizer.service.monitoring import counters, log_context
from anonymizer.service.queueing import queue
from anonymizer.service.queueing.outages import AWAY, insist
from anonymizer.service.reviewing import leases
from anonymizer.service.reviewing.artefacts import image_artefacts
from anonymizer.service.webhooks import deliveries

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoResult

__all__ = ["find", "process"]

log = logging.getLogger(__name__)
T = TypeVar("T")
DROPPED = "dropped: the task was deleted or taken by another worker"
TOO_LITTLE_MEMORY = "The worker has too little memory for this file."
#: in the errors of OpenCV, of torch and of FFmpeg
OUT_OF_MEMORY = ("Insufficient memory", "can't allocate memory", "Cannot allocate memory")
#: how long to try to take a task while the database is away
CLAIM_S = 60.0
#: A finished result waits for the database for so many lease durations. Its claim says whether it may be published.
PUBLISH_LEASES = 10


def find() -> dict[str, Any] | None:
    """Return a task or a review that waits for a worker of this kind, packed as django-q2 does it, or None."""
    task_id = next_waiting(workers.kind())
    return leases.find(workers.kind()) if task_id is None else queue.pack(queue.PROCESS, task_id, name=task_id)


def process(task_id: str) -> str:
    """Work on a task, or on one of a client whose turn it is, if there is still something to do.

    django-q2 calls this with an id. A second call, or a call for a task that does not exist, does nothing.

    Returns:
        The outcome in words, which django-q2 shows.
    """
    try:
        taken = _take(task_id)
    except AWAY:
        # an idle worker finds the task as soon as the database answers
        return "the database does not answer: the task waits"
    if taken is None:
        return "nothing to do"
    with log_context.work_on(taken.task.pk), Heartbeat(taken):
        counters.observe_step(taken.task.kind, "wait", (timezone.now() - taken.task.created).total_seconds())
        outcome = _work(taken)
        log.info("%s", outcome.capitalize())
    return outcome


def _work(taken: Claim) -> str:
    """Make and publish the result of a task, or fail it. Return the outcome in words."""
    try:
        published = _process_video(taken) if taken.task.kind == Kind.VIDEO else _process_image(taken)
    except Cancelled:
        return DROPPED
    except NotFullyAnalysed as error:
        return _fail(taken, error.code, str(error), warnings=error.warnings)
    except AnonymizerError as error:
        # a reader or a writer may take a full disk for a broken file
        if files.is_full(error):
            return _fail_without_room(taken)
        if _is_out_of_memory(error.__cause__):
            return _fail(taken, "out_of_memory", TOO_LITTLE_MEMORY)
        return _fail(taken, error.code, str(error))
    except MemoryError:
        return _fail(taken, "out_of_memory", TOO_LITTLE_MEMORY)
    except TimeoutException:
        # django-q2's alarm. The task must fail here, or the next worker would try for just as long.
        _fail(taken, "timeout", "The work on this file took longer than this server allows.")
        raise
    except AWAY as error:
        # not the fault of the file: another worker tries when the lease has run out
        log.error("Task %s waits for another worker (%s).", taken.task.pk, type(error).__name__)
        return "the database does not answer: the task waits for another worker"
    except Exception as error:
        if files.is_full(error):
            return _fail_without_room(taken)
        if _is_out_of_memory(error):
            return _fail(taken, "out_of_memory", TOO_LITTLE_MEMORY)
        # the outer edge of the worker: whatever went wrong, there is no result, and the worker goes on
        log.exception("Task %s failed.", taken.task.pk)
        return _fail(taken, "internal_error", f"The file could not be processed ({type(error).__name__}).")
    return "done" if published else DROPPED


def _take(task_id: str) -> Claim | None:
    """Take a task, and try again for a while if the database is away."""
    token, tries = uuid.uuid4(), itertools.count()

    def take() -> Claim | None:
        # a connection that was lost does not tell whether the try before this one has taken a task
        before = claimed(token) if next(tries) else None
        return before or claim_next(task_id, workers.name(), token)

    return insist(take, f"Task {task_id}", seconds=CLAIM_S)


def _process_image(claim: Claim) -> bool:
    result, keys = _anonymise_image(claim.task)
    return _publish(claim, result, image_artefacts(result), detector_keys=keys)


def _process_video(claim: Claim) -> bool:
    files.remove_working_folders(claim.task)
    with files.working_folder(claim.task, claim.token.hex) as folder:
        with counters.step(Kind.VIDEO, "process"):
            result = videos.run(claim, folder)
        return _publish(claim, result, videos.artefacts(result), video=videos.video_field(result))


def _anonymise_image(task: Task) -> tuple[ImageResult, dict[str, str]]:
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia("The original file of this task does not exist any more.")
    anonymizer = engine.anonymizer()
    options, _ = Options.from_params(task.options)
    object_types = tuple(ObjectType(name) for name in task.object_types)
    with counters.step(Kind.IMAGE, "load"):
        picture = load_picture(original.read(), limits=anonymizer.limits, name=task.name)
    started = time.perf_counter()
    # detections of older versions, which took fewer looks at a picture, do not serve
    keys = engine.store().keys(object_types) | {"format": str(options.image_format), "looks": "3"}
    detections = _kept_detections(task, keys)
    # The model that makes masks does not change the detections: only the masks of another model are made again.
    keys["masks"] = task.detector_keys.get("masks", "") if options.bbox else _mask_key()
    if detections is None:
        with counters.step(Kind.IMAGE, "detect"):
            (detections,) = anonymizer.engine.detect_pictures([picture], object_types, options.image_format)
    elif keys["masks"] != task.detector_keys.get("masks"):
        detections = detections.without_made_masks()
    with counters.step(Kind.IMAGE, "redact"):
        result = anonymizer.render(picture, detections, object_types, options, seconds=time.perf_counter() - started)
    with counters.step(Kind.IMAGE, "verify"):
        return anonymizer.verify(result), keys


def _mask_key() -> str:
    """Return what masks depend on: the id and the checksum of the model that makes them on this server."""
    segmenter = engine.store().segmenter()
    if segmenter is None:
        return HeuristicSegmenter.id
    entry = engine.store().registry.models.get(segmenter.id)
    return f"{segmenter.id}@{((entry and entry.sha256) or '')[:16]}"


def _kept_detections(task: Task, keys: dict[str, str]) -> Detections | None:
    """Return the stored detections of a task, if the detectors would see the same image again; else None."""
    kept = task.file(FileKind.DETECTIONS)
    if kept is None or not keys.items() <= task.detector_keys.items():
        return None
    return Detections.load(io.BytesIO(kept.read()))


def _publish(
    claim: Claim, result: ImageResult | VideoResult, artefacts: Iterable[files.Artefact], **values: object
) -> bool:
    """Make the whole result visible at once. If the claim is void, remove all of it.

    Returns:
        Whether the result was published.
    """
    # encoding is part of it: the files are made one by one
    with counters.step(claim.task.kind, "store"):
        stored = files.put(claim.task, claim.token.hex, artefacts)
    published, finished = False, timezone.now()

    def publish(receipt: Receipt) -> bool:
        with transaction.atomic():
            owned = claim.update(
                **_end_of(claim.task, finished),
                progress=1.0,
                duration=result.seconds,
                detections=result.counts,
                review_counts=dict(result.review_counts),
                model_ids=list(result.models),
                warnings=[*claim.task.warnings, *result.warnings],
                **values,
            )
            if owned:
                # a task that was run again has the detections of the old task: the new ones replace them
                for old in claim.task.files.filter(kind__in=[file.kind for file in stored]):
                    old.delete()
                for file in stored:
                    # a try before this one may have been rolled back: its numbers are free for others
                    file.pk = None
                    file.save(force_insert=True)
                receipts.keep(claim.task, receipt)
                deletion.drop_original(claim.task)
                if not claim.task.review_required:
                    deliveries.enqueue(claim.task)
        # the connection may have been lost after the commit: then the rows of this attempt are there
        return owned or _is_published(claim, stored)

    try:
        receipt = receipts.make(claim.task, result, stored, finished)
        stored += files.put(claim.task, claim.token.hex, [receipts.artefact(receipt)])
        published = _insist(claim, lambda: publish(receipt))
        if published:
            counters.count_end(claim.task.kind, Status.DONE.value, detections=result.counts)
    finally:
        if not published:
            files.discard(stored)
    return published


def _end_of(task: Task, finished: datetime) -> dict[str, object]:
    """The state of a task whose result is there. One that needs an approval waits for it, without a worker."""
    if task.review_required:
        return {"lease_token": None, "lease_until": None, "worker": "", "review": Review.REQUIRED}
    return {"status": Status.DONE, "finished": finished}


def _is_published(claim: Claim, stored: Sequence[File]) -> bool:
    keys = [file.key for file in stored]
    return bool(keys) and claim.task.files.filter(storage_alias="output", key__in=keys).count() == len(keys)


def _insist(claim: Claim, action: Callable[[], T]) -> T:
    """Write the end of a task, and try again for a while if the database is away."""
    return insist(action, f"Task {claim.task.pk}", seconds=PUBLISH_LEASES * settings.LEASE.total_seconds())


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that no memory was left."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def _fail(claim: Claim, cause: str, sentence: str, *, warnings: Sequence[str] = ()) -> str:
    def record() -> bool:
        with transaction.atomic():
            failed = claim.update(
                status=Status.FAILED,
                finished=timezone.now(),
                failure_cause=cause,
                error=sentence,
                warnings=[*claim.task.warnings, *warnings],
            )
            if failed:
                deletion.drop_original(claim.task)
                deliveries.enqueue(claim.task)
        return failed

    failed = _insist(claim, record)
    if failed:
        counters.count_end(claim.task.kind, Status.FAILED.value, cause)
    # a task that was deleted meanwhile has no original any more: that is no failure
    return f"failed: {sentence}" if failed else DROPPED


def _fail_without_room(claim: Claim) -> str:
    log.error("Task %s failed, because there is no room on the disk.", claim.task.pk)
    return _fail(claim, StorageFull.code, "There was no room on the disk of the server for the result.")
