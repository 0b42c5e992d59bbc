"""The work on one file: from the original to the files of its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anonymizer.pipeline.errors import AnonymizerError, NotFullyAnalysed
from anonymizer.pipeline.files.whole import move_all, side_file, temporary_folder
from anonymizer.pipeline.jobs.job import Job, OnProgress, Outcome, State
from anonymizer.pipeline.jobs.listing import media_info, result_places
from anonymizer.pipeline.media_kinds import MediaKind
from anonymizer.pipeline.options.options import Method, Options

if TYPE_CHECKING:
    from anonymizer.pipeline.anonymizer import Anonymizer
    from anonymizer.pipeline.results import ImageResult, VideoResult

__all__ = ["JobRunner"]


class JobRunner:
    """What is done with every job.

    Args:
        options: what to detect and how to redact it.
        overwrite: process files again that already have a result.
    """

    def __init__(self, options: Options, *, overwrite: bool) -> None:
        self.options = options
        self.overwrite = overwrite

    def mask_places(self, job: Job) -> list[Path]:
        """The paths that the masks of an image or a video would have."""
        wanted = self.options.save_mask
        names = [name for name, saved in (("binary", wanted.binary), ("instance", wanted.instance)) if saved]
        return [side_file(job.target, f".{name}-mask{ending}") for name in names for ending in (".png", ".mkv")]

    def run(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None = None) -> Outcome:
        """Process one file; a failure is its outcome.

        Args:
            anonymizer: does the work.
            job: the file and the path of its result.
            on_progress: is called with the progress within a video.
        """
        return self._timed(job, lambda: self._process(anonymizer, job, on_progress))

    def run_together(self, anonymizer: Anonymizer, jobs: Sequence[Job], *, batch_size: int) -> Iterator[Outcome]:
        """Process several files: the images among them go through the detectors in batches, which a GPU needs.

        Args:
            anonymizer: does the work.
            jobs: the files and the paths of their results; there is none yet.
            batch_size: the most images that go through the detectors together.

        Yields:
            The outcomes in the order of the jobs.
        """
        images = [job for job in jobs if _is_image(job.source)]
        together = anonymizer.outcomes([job.source for job in images], self.options, batch_size=batch_size)
        for job in jobs:
            if job in images:
                yield self._timed(job, partial(self._take, anonymizer, job, together))
            else:
                yield self.run(anonymizer, job)

    def _take(
        self, anonymizer: Anonymizer, job: Job, together: Iterator[ImageResult | AnonymizerError | OSError]
    ) -> Outcome:
        """The outcome of the next image of a batch."""
        try:
            outcome = next(together, None)
        except Exception:
            # an error that is no fault of one image ends the batches: each image is tried alone, and tells it
            outcome = None
        if isinstance(outcome, Exception):
            raise outcome
        return self._write_image(job, anonymizer.image(job.source, self.options) if outcome is None else outcome)

    def _timed(self, job: Job, work: Callable[[], Outcome]) -> Outcome:
        started = time.perf_counter()
        try:
            outcome = work()
        except NotFullyAnalysed as error:
            outcome = Outcome(job, State.FAILED, str(error), warnings=error.warnings)
        except (AnonymizerError, OSError) as error:
            outcome = Outcome(job, State.FAILED, str(error))
        except Exception as error:
            # the outer edge of one file: the others go on, and this one has no result
            outcome = Outcome(job, State.FAILED, f"{type(error).__name__}: {error}")
        return replace(outcome, seconds=time.perf_counter() - started)

    def _process(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None) -> Outcome:
        kind = media_info(job.source).kind
        if existing := self._existing_result(job, kind):
            return Outcome(job, State.SKIPPED, "It already has a result.", output=existing)
        if kind is MediaKind.VIDEO:
            return self._process_video(anonymizer, job, on_progress)
        return self._write_image(job, anonymizer.image(job.source, self.options))

    def _existing_result(self, job: Job, kind: MediaKind) -> Path | None:
        """The file that shows that there is a result; None if it is to be made again.

        Raises:
            FileExistsError: that file is the original itself, under this or another name.
        """
        places = list(result_places(job)) if kind is MediaKind.VIDEO else [job.target]
        if self.options.method is Method.DETECT:
            places = [side_file(job.target, ".json")]
        existing = next((path for path in places if path.is_file()), None)
        if existing is not None and existing.samefile(job.source):
            raise FileExistsError(f"{existing} is the original itself: its result would replace it")
        return None if self.overwrite else existing

    def _write_image(self, job: Job, result: ImageResult) -> Outcome:
        output = side_file(job.target, ".json")
        with temporary_folder(job.target.parent) as folder:
            result.save_extras(folder, "result")
            endings = (".binary-mask.png", ".instance-mask.png", ".json")
            files = [(folder / f"result{ending}", side_file(job.target, ending)) for ending in endings]
            files = [(made, place) for made, place in files if made.exists()]
            if self.options.method is not Method.DETECT:
                # the ending of the name may be wrong
                result.save(folder / "result", any_ending=True)
                output = job.target
                files.append((folder / "result", output))
            move_all(files)
        return _done(job, result, output)

    def _process_video(self, anonymizer: Anonymizer, job: Job, on_progress: OnProgress | None) -> Outcome:
        output = side_file(job.target, ".json")
        with temporary_folder(job.target.parent) as folder:
            result = anonymizer.video(
                # FFmpeg takes the colon in a relative path for the end of a protocol's name
                job.source.absolute(),
                folder,
                self.options,
                name=job.source.name,
                progress=None if on_progress is None else lambda progress: on_progress(job, progress),
            )
            made = (
                (result.binary_mask, side_file(job.target, ".binary-mask.mkv")),
                (result.instance_mask, side_file(job.target, ".instance-mask.mkv")),
                (result.metadata, output),
            )
            files = [(path, place) for path, place in made if path is not None]
            if result.anonymised is not None:
                output = _video_target(job, result)
                files.append((result.anonymised, output))
            move_all(files)
        return _done(job, result, output)


def _is_image(file: Path) -> bool:
    try:
        return media_info(file).kind is MediaKind.IMAGE
    except (AnonymizerError, OSError):
        # `run` tells what is wrong
        return False


def _done(job: Job, result: ImageResult | VideoResult, output: Path) -> Outcome:
    return Outcome(job, State.DONE, counts=result.counts, warnings=result.warnings, models=result.models, output=output)


def _video_target(job: Job, result: VideoResult) -> Path:
    """The path of a video's result: with another ending if its container is another one."""
    if media_info(job.source).format == result.info.format:
        return job.target
    ending = result.info.extension
    if side_file(job.source, ending).exists():
        raise FileExistsError(f"its result would have the name of another one's: {job.target.name}{ending}")
    return side_file(job.target, ending)
