"""Process the video of a task: show the progress, stop when the task is deleted, collect the files of the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from anonymizer.models import FileKind, Task
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.options.options import Options
from anonymizer.service import engine, files
from anonymizer.service.queueing.outages import AWAY, Outage

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress, VideoResult
    from anonymizer.service.claims import Claim

__all__ = ["artefacts", "is_void", "options_of", "run", "video_field"]

#: the shortest time between two updates of the progress, in seconds
UPDATE_S = 1.0
#: The most that work shows before it is done. The last frame is followed by the checks of the file, and with
#: `verify` by more renderings.
MOST_PROGRESS = 0.99
#: while the database is away, it is asked at most so often
AWAY_S = 5.0
MASK = ("video/x-matroska", ".mkv")


def run(claim: Claim, folder: Path, *, insist: Callable[[Callable[[], None]], None]) -> VideoResult:
    """Anonymise the video of a task into a folder.

    Args:
        folder: gets the files, and a copy of the original where the storage is no folder of this machine.
        insist: calls a function that fetches the original, again if the storage is away.

    Raises:
        Cancelled: the task was deleted, or another worker has it.
        AnonymizerError: the video cannot be anonymised.
    """
    task = claim.task
    original = task.file(FileKind.ORIGINAL)
    if original is None:
        raise BrokenMedia("The original file of this task does not exist any more.")
    options = options_of(task)
    progress = _VideoProgress(claim)
    try:
        with files.local_path(original, folder, insist=insist) as source:
            return engine.anonymizer().video(
                source, folder, options, name=task.name, progress=progress.update, stop=progress.is_unwanted,
                # without the original nothing could be rendered from them
                keep=settings.KEEP_ORIGINALS,
            )  # fmt: skip
    except FileNotFoundError:
        raise BrokenMedia("The original file of this task does not exist any more.") from None


def is_void(claim: Claim) -> bool:
    """Return whether the task was deleted, or another worker has it; while the database is away, no."""
    try:
        return claim.is_void()
    except AWAY:
        return False


def options_of(task: Task) -> Options:
    """Return the options of a video, with the object types that were served when the upload arrived."""
    types = {name.replace("-", "_"): True for name in task.object_types}
    return Options.from_params(dict(task.options) | types)[0]


def artefacts(result: VideoResult) -> Iterator[files.Artefact]:
    """Return the files of a result, ready to be moved into the storage."""
    if result.anonymised is not None:
        yield files.Artefact(FileKind.ANONYMISED, result.anonymised, result.info.media_type, result.info.extension)
    if result.binary_mask is not None:
        yield files.Artefact(FileKind.BINARY_MASK, result.binary_mask, *MASK)
    if result.instance_mask is not None:
        yield files.Artefact(FileKind.INSTANCE_MASK, result.instance_mask, *MASK)
    yield files.Artefact(FileKind.METADATA, result.metadata, "application/json", ".json")
    if result.kept is not None:
        yield files.Artefact(FileKind.DETECTIONS, result.kept, "application/x-npz", ".npz")


def video_field(result: VideoResult) -> dict[str, object]:
    """Return the task's `video` field for a video that is done."""
    rate = result.frames / result.seconds if result.seconds else 0.0
    return _progress_values(result.frames, result.frames, rate, 0.0, copied=result.frames_copied)


def _progress_values(
    frames: int, total: int | None, rate: float, left: float | None, *, copied: int | None = None
) -> dict[str, object]:
    return {
        "frames": frames,
        "total": total,
        "frames_per_second": round(rate, 2),
        "seconds_left": None if left is None else round(left, 1),
        "frames_copied": copied,
    }


class _VideoProgress:
    """Write the progress of a video into its task, and tell the pipeline when to stop."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._outage = Outage(f"The progress of task {claim.task.pk}")
        self._updated_s = 0.0
        self._look_again_s = 0.0

    def update(self, progress: VideoProgress) -> None:
        """Write the progress, at most once a second."""
        if time.monotonic() - self._updated_s < UPDATE_S:
            return
        self._updated_s = time.monotonic()
        try:
            self._claim.update(
                progress=round(min(progress.share, MOST_PROGRESS), 4),
                video=_progress_values(progress.frames, progress.total, progress.frames_per_s, progress.seconds_left),
            )
        except AWAY as error:
            # an hour of work must not end because the progress could not be written
            self._outage.note(error)
            self._updated_s += AWAY_S
        else:
            self._outage.end()

    def is_unwanted(self) -> bool:
        """Return whether the task was deleted, or another worker has it; while the database is away, no."""
        if time.monotonic() < self._look_again_s:
            return False
        try:
            unwanted = self._claim.is_void()
        except AWAY as error:
            self._outage.note(error)
            self._look_again_s = time.monotonic() + AWAY_S
            return False
        self._outage.end()
        return unwanted
