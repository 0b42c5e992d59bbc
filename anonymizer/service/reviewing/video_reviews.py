"""Render the review of a video from what its task keeps: the original, the detections, and the version before."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anonymizer.models import File, FileKind, ResultVersion
from anonymizer.pipeline.errors import BrokenMedia, Cancelled
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, sniff
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import engine, files, videos

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoResult
    from anonymizer.pipeline.video.review.base import BaseFiles
    from anonymizer.service.reviewing.leases import RenderClaim

__all__ = ["review_video"]


def review_video(taken: RenderClaim, folder: Path) -> tuple[VideoResult, list[dict[str, Any]]]:
    """Render the version of a video into a folder.

    Returns:
        The result, and how far each object was followed.

    Raises:
        Cancelled: the task was deleted, or another worker has the version.
        AnonymizerError: the version cannot be rendered.
    """
    from anonymizer.pipeline.video.review.kept import KeptVideo
    from anonymizer.pipeline.video.review.work import plan_review

    task, version = taken.task, taken.version
    options = videos.options_of(task)
    before = ResultVersion.objects.get(task=task, number=version.base)

    def on_frame(count: int) -> None:
        if count % 100 == 0 and taken.is_void():
            raise Cancelled("The review is not wanted any more.")

    with ExitStack() as opened:

        def path(kind: FileKind, number: int | None = None) -> Path:
            stored = task.file(kind, number)
            if stored is None:
                raise BrokenMedia(f"The {kind} of this task does not exist any more.")
            return opened.enter_context(files.local_path(stored, _folder(folder, stored)))

        source = path(FileKind.ORIGINAL)
        kept = KeptVideo.load(path(FileKind.DETECTIONS))
        base = _base(task.files.all(), version.base, folder, opened)
        states = ReviewState.from_json(before.state), ReviewState.from_json(version.state)
        review = plan_review((source, _info(source)), kept, states, options, base, on_frame)
        result = engine.anonymizer().video(
            source, folder, review.after.options, name=task.name, stop=taken.is_void, review=review
        )
        return result, list(review.followed)


def _base(stored: Iterable[File], number: int, folder: Path, opened: ExitStack) -> BaseFiles | None:
    """The files of the version that is reviewed; None without a video."""
    from anonymizer.pipeline.video.review.base import BaseFiles

    of_version = {file.kind: file for file in stored if file.version == number}
    if FileKind.ANONYMISED not in of_version or FileKind.METADATA not in of_version:
        return None
    wanted = (FileKind.ANONYMISED, FileKind.METADATA, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK)
    video, metadata, *masks = (
        opened.enter_context(files.local_path(of_version[kind], _folder(folder, of_version[kind])))
        for kind in wanted
        if kind in of_version
    )
    return BaseFiles(video, _info(video), metadata, tuple(masks))


def _folder(folder: Path, stored: File) -> Path:
    """A folder for a copy of a stored file, which has the name of the file that will be written."""
    own = folder / f"before-{stored.kind}"
    own.mkdir(exist_ok=True)
    return own


def _info(path: Path) -> MediaInfo:
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))
