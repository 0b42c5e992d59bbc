"""What a worker does with the video of a task: shows how far it is, stops when nobody wants it, makes its files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import DatabaseError

from anonymizer.models import FileKind
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.options.options import Options
from anonymizer.service import engine, files

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress, VideoResult
    from anonymizer.service.claims import Claim

__all__ = ["artefacts", "figures", "run"]

log = logging.getLogger(__name__)
#: seconds between two writings of the progress
SHOW_S = 1.0
MASK = ("video/x-matroska", ".mkv")


def run(mine: Claim, folder: Path) -> VideoResult:
    """Anonymise the video of a task into a folder.

    Raises:
        Cancelled: the task was deleted, or another worker has it.
        AnonymizerError: there is no result.
    """
    task = mine.task
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia("The original is gone.")
    # the types of the task, not those of the options: what was served when it came in
    types = {each.replace("-", "_"): True for each in task.object_types}
    options, _ = Options.from_params(dict(task.options) | types)
    watch = _Watch(mine)
    try:
        with files.local(original, folder) as source:
            return engine.anonymizer().video(
                source, folder, options, name=task.name, progress=watch.show, stop=watch.stop
            )
    except FileNotFoundError:
        raise BrokenMedia("The original is gone.") from None


def artefacts(result: VideoResult) -> Iterator[files.Artefact]:
    """The files of a result, to be moved into the storage."""
    if result.anonymised is not None:
        yield files.Artefact(FileKind.ANONYMISED, result.anonymised, result.info.media_type, result.info.extension)
    if result.binary_mask is not None:
        yield files.Artefact(FileKind.BINARY_MASK, result.binary_mask, *MASK)
    if result.instance_mask is not None:
        yield files.Artefact(FileKind.INSTANCE_MASK, result.instance_mask, *MASK)
    yield files.Artefact(FileKind.METADATA, result.metadata, "application/json", ".json")


def figures(result: VideoResult) -> dict[str, object]:
    """What a task shows of a video that is done."""
    rate = result.frames / result.seconds if result.seconds else 0.0
    return _figures(result.frames, result.frames, rate, 0.0, copied=result.frames_copied)


def _figures(
    frames: int, total: int | None, rate: float, left: float | None, *, copied: int | None = None
) -> dict[str, object]:
    return {
        "frames": frames,
        "total": total,
        "frames_per_second": round(rate, 2),
        "seconds_left": None if left is None else round(left, 1),
        "frames_copied": copied,
    }


class _Watch:
    """Between the pipeline and the task's row."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._shown = 0.0

    def show(self, now: VideoProgress) -> None:
        """Write how far it is, at most once a second."""
        if time.monotonic() - self._shown < SHOW_S:
            return
        self._shown = time.monotonic()
        try:
            self._claim.update(
                progress=round(now.share, 4),
                video=_figures(now.frames, now.total, now.frames_per_s, now.seconds_left),
            )
        except DatabaseError:
            # an hour's work must not end because a figure could not be shown
            log.exception("could not show the progress of task %s", self._claim.task.pk)

    def stop(self) -> bool:
        """Whether nobody wants the result any longer."""
        try:
            return self._claim.is_void()
        except DatabaseError:
            log.exception("could not look whether task %s is still wanted", self._claim.task.pk)
            return False
