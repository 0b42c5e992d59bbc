"""What a worker does with one task: claim it, run the pipeline, publish the result or the failure."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone
from django_q.exceptions import TimeoutException

from anonymizer.models import FileKind, Kind, Status, Task, WebhookStatus
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, Cancelled
from anonymizer.pipeline.images.io import encode_png, load_picture
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.results import ImageResult
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter
from anonymizer.service import engine, files, videos, webhooks, workers
from anonymizer.service.claims import Claim, Heartbeat, claim

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoResult

__all__ = ["process"]

log = logging.getLogger(__name__)
DROPPED = "dropped: deleted or taken by another worker"


def process(task_id: str) -> str:
    """Work on a task, if it is still to be done; what django-q2 shows as the outcome is returned.

    Called by django-q2 with an id. Calling it twice, or for a task that is gone, does nothing.
    """
    mine = claim(task_id, workers.name())
    if mine is None:
        return "nothing to do"
    with Heartbeat(mine):
        try:
            published = _video(mine) if mine.task.kind == Kind.VIDEO else _image(mine)
        except Cancelled:
            return DROPPED
        except AnonymizerError as error:
            return _fail(mine, error.code, str(error))
        except MemoryError:
            return _fail(mine, "out_of_memory", "The worker has too little memory for this file.")
        except TimeoutException:
            # django-q2's alarm: without an end here, the next worker would try for as long
            _fail(mine, "timeout", "The work took longer than this server allows.")
            raise
        except Exception as error:
            # the worker's outer edge: whatever went wrong, there is no result, and the worker lives on
            log.exception("task %s failed", task_id)
            return _fail(mine, "internal_error", f"The file could not be processed ({type(error).__name__}).")
    return "done" if published else DROPPED


def _image(mine: Claim) -> bool:
    result, keys = _run(mine.task)
    return _publish(mine, result, _artefacts(result), detector_keys=keys)


def _video(mine: Claim) -> bool:
    files.remove_workplaces(mine.task)
    with files.workplace(mine.task, mine.token.hex) as folder:
        result = videos.run(mine, folder)
        return _publish(mine, result, videos.artefacts(result), video=videos.figures(result))


def _run(task: Task) -> tuple[ImageResult, dict[str, str]]:
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia("The original is gone.")
    anonymizer = engine.anonymizer()
    options, _ = Options.from_params(task.options)
    object_types = tuple(ObjectType(each) for each in task.object_types)
    picture = load_picture(original.read(), limits=anonymizer.limits, name=task.name)
    started = time.perf_counter()
    keys = engine.store().keys(object_types) | {"format": str(options.format)}
    found = _kept_detections(task, keys)
    # which model makes masks does not touch what was found: masks of another one are made anew, where any are wanted
    keys["masks"] = task.detector_keys.get("masks", "") if options.bbox else _mask_key()
    if found is None:
        (found,) = anonymizer.engine.detect([picture.rgb()], object_types, options.format)
    elif keys["masks"] != task.detector_keys.get("masks"):
        found = found.without_made_masks()
    result = anonymizer.render(picture, found, object_types, options, seconds=time.perf_counter() - started)
    return result, keys


def _mask_key() -> str:
    """What masks depend on: the model that makes them here, and its sum."""
    segmenter = engine.store().segmenter()
    if segmenter is None:
        return HeuristicSegmenter.id
    entry = engine.store().registry.models.get(segmenter.id)
    return f"{segmenter.id}@{((entry and entry.sha256) or '')[:16]}"


def _kept_detections(task: Task, keys: dict[str, str]) -> Detections | None:
    """What the detectors gave before, where they would see nothing else now."""
    kept = task.file(FileKind.DETECTIONS)
    if kept is None or not keys.items() <= task.detector_keys.items():
        return None
    return Detections.load(io.BytesIO(kept.read()))


def _publish(
    mine: Claim, result: ImageResult | VideoResult, artefacts: Iterable[files.Artefact], **values: object
) -> bool:
    """Make the result visible, all of it at once; nothing is left of it where the task is no longer ours."""
    stored = files.put(mine.task, mine.token.hex, artefacts)
    published = False
    try:
        with transaction.atomic():
            ours = mine.update(
                status=Status.DONE,
                finished=timezone.now(),
                progress=1.0,
                duration=result.seconds,
                detections=result.counts,
                review_counts=dict(result.review_counts),
                model_ids=list(result.models),
                warnings=[*mine.task.warnings, *result.warnings],
                **values,
            )
            if ours:
                # a task that was run again brings detections along: these take their place
                for old in mine.task.files.filter(kind__in=[each.kind for each in stored]):
                    old.delete()
                for each in stored:
                    each.save()
                _notify_webhook(mine.task)
        published = ours
    finally:
        if not published:
            files.discard(stored)
    return published


def _artefacts(result: ImageResult) -> Iterator[files.Artefact]:
    options, info = result.options, result.picture.info
    if options.method is not Method.DETECT:
        yield files.Artefact(FileKind.ANONYMISED, result.encode(), info.media_type, info.extension)
    # masks are kept whole: mask-scale is applied when one is asked for
    if options.save_mask.binary:
        yield files.Artefact(FileKind.BINARY_MASK, encode_png(result.binary_mask), "image/png", ".png")
    if options.save_mask.instance:
        yield files.Artefact(FileKind.INSTANCE_MASK, encode_png(result.instance_mask), "image/png", ".png")
    yield files.Artefact(FileKind.METADATA, json.dumps(result.metadata).encode(), "application/json", ".json")
    detections = io.BytesIO()
    result.found.save(detections)
    yield files.Artefact(FileKind.DETECTIONS, detections.getvalue(), "application/x-npz", ".npz")


def _fail(mine: Claim, cause: str, sentence: str) -> str:
    with transaction.atomic():
        failed = mine.update(status=Status.FAILED, finished=timezone.now(), failure_cause=cause, error=sentence)
        if failed:
            _notify_webhook(mine.task)
    return f"failed: {sentence}"


def _notify_webhook(task: Task) -> None:
    if task.webhook_status == WebhookStatus.SET:
        webhooks.notify_on_commit(task)
