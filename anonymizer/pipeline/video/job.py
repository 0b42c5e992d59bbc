"""The whole work on one video: two readings of the same file at the same time, then a check of what was written.

The first reading (`analysis`) decodes every frame, runs the detectors in batches and tracks objects from frame to
frame. The detections of a frame are final only when the frames of a window after it have been analysed. The reason: a
track that begins later also covers some frames before its first detection.

The second reading (`rendering`) follows behind. It decodes again, waits for the final detections of a frame, redacts
the frame in its own pixel format, and encodes it. Two readings cost a second decode, but no frame has to be kept in
memory for the length of the window. The second reading also knows of a whole group of pictures whether anything in it
is redacted, before it writes the group (`groups`). A group without any redaction is copied packet by packet where the
codec allows it: that is faster and loses no quality.

Each redacted frame is compared with its source before it is encoded (`verify_rendering`). At the end the result is
opened and decoded (`verify_file`). It must have the same frames at the same times as the source, and redacted frames
drawn by chance must look as intended (`verify_frame`). Otherwise there is no result.

All stages run in threads with bounded queues between them (`thread_stages`). The files of a result are complete or they
are deleted.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from anonymizer.pipeline.detection.windows import plan_views
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import Cancelled, EncoderFailed, NotFullyAnalysed
from anonymizer.pipeline.memory import keep_freed_memory
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.proof.verification import Verification
from anonymizer.pipeline.receipts.receipt import Analysis
from anonymizer.pipeline.results import VideoProgress, VideoResult
from anonymizer.pipeline.video.analysis import downscale_warnings, start_analysis
from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.io.encoders import OutputPlan, with_bit_rate
from anonymizer.pipeline.video.io.track_writer import CannotSplice
from anonymizer.pipeline.video.plan import Hooks, ResultLooks, VideoJob, plan_job
from anonymizer.pipeline.video.rendering import Renderer, RenderStats
from anonymizer.pipeline.video.review.kept import KeptVideo
from anonymizer.pipeline.video.thread_stages import StageThreads, torch_threads
from anonymizer.pipeline.video.verify_file import FrameSamples, verify_file, video_sizes

__all__ = ["anonymise_video"]


#: seconds between two reports of the progress; `stop` is asked as often
_PROGRESS_S = 0.4
#: With `keep-bit-rate`: the relative difference to the source's size that is accepted, and how often to try again.
_SIZE_TOLERANCE, _RETRIES = 0.03, 3


def anonymise_video(
    engine: Engine,
    source: Path,
    folder: Path,
    options: Options,
    *,
    name: str | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 (it is frozen)
) -> VideoResult:
    """Anonymise one video; this is what `Anonymizer.video` does.

    Args:
        engine: the models and limits.
        source: path of the video.
        folder: an existing folder, where the files of the result are written.
        options: what is redacted, and how.
        name: of the video in its metadata. Default: the name of the file.
        hooks: of the caller. Default: none.

    Returns:
        The result. Its files are in `folder`.

    Raises:
        Cancelled: `hooks.stop` returned True.
        InvalidParameter: the result would replace the source, or the encoder does not work on this machine.
        AnonymizerError: one of its kinds, if the file is bad, a model is missing, or a detector or an encoder failed.
    """
    started = time.perf_counter()
    keep_freed_memory()
    threads = torch_threads.count()
    job = plan_job(engine, source, folder, options, name=name, threads=threads, hooks=hooks)
    too_small = _downscale_warnings(job)
    if options.strict and too_small:
        # known from the size alone: no frame need be analysed for it
        raise NotFullyAnalysed(too_small)
    with torch_threads.one_each():
        try:
            return _VideoWork(job, started).run()
        except BaseException:
            # a file that may be incomplete must not be taken for a result
            for path in job.files:
                path.unlink(missing_ok=True)
            raise


class _VideoWork:
    """The work on one video, which was begun at a time of `time.perf_counter`."""

    def __init__(self, job: VideoJob, started: float) -> None:
        self._job, self._started = job, started
        self._busy_s: dict[str, float] = {}
        # frames of the renderings that are finished
        self._frames_before = 0
        self._analysis = StageThreads()
        # a later rendering needs all detections again
        keep = job.options.keep_bit_rate or self._may_splice or job.hooks.looks is not None or job.hooks.keep
        self._queues = {track.index: DetectionQueue(self._analysis, keep=keep) for track in job.tracks}
        self._samples = FrameSamples()
        self._verification: Verification | None = None

    @property
    def _may_splice(self) -> bool:
        options = self._job.options
        return not (options.re_encode or options.debug or options.keep_bit_rate)

    def run(self) -> VideoResult:
        job, analysis = self._job, self._analysis
        try:
            # no thread is started outside of this block: an error has to stop all of them
            if job.hooks.review is None:
                start_analysis(job, analysis, self._queues)
            else:
                job.hooks.review.start(job.tracks, analysis, self._queues)
            stats = self._render_and_verify()
            if job.target is not None and job.hooks.looks is not None:
                stats = self._look_again(job.hooks.looks, stats)
            if job.hooks.keep:
                KeptVideo.of(self._queues, job.tracks, job.options).save(job.detections)
        except BaseException as error:
            analysis.stop(error)
            raise
        finally:
            try:
                analysis.join()
            finally:
                for queue in self._queues.values():
                    queue.close()
        self._add_busy(analysis.busy_s)
        return self._result(stats)

    def _render_and_verify(self) -> RenderStats:
        job = self._job
        if job.options.keep_bit_rate and job.target is not None:
            stats = self._render_at_bit_rate(job.target)
        else:
            stats = self._render_once()
        if job.target is not None:
            self._verify(job.target, stats)
        return stats

    def _look_again(self, looks: ResultLooks, stats: RenderStats) -> RenderStats:
        """Look at the finished video. As long as something is found, redact it, render again and look again."""
        job, started = self._job, time.perf_counter()
        while looks.look(job, self._on_frame(stats)):
            looks.follow(job, self._queues, self._on_frame(stats))
            stats = self._render_and_verify()
        self._verification = looks.outcome(time.perf_counter() - started)
        stats.warnings += looks.warnings()
        return stats

    def _render_once(self) -> RenderStats:
        """Analyse and render at the same time; render again without copied groups where these do not fit."""
        try:
            return self._render(self._job.output, splice=self._may_splice)
        except CannotSplice:
            return self._render(self._job.output, splice=False)

    def _render(self, output: OutputPlan, *, splice: bool, with_outputs: bool = True) -> RenderStats:
        """Render the video. What is written must be verified afterwards.

        Args:
            with_outputs: whether metadata and masks are written too.
        """
        stages = StageThreads(self._analysis)
        renderer: Renderer | None = None
        try:
            renderer = Renderer(self._job, stages, self._queues, output, splice=splice, with_outputs=with_outputs)
            renderer.start()
            self._report_progress(stages, renderer.stats)
        except BaseException as error:
            stages.stop(error)
        try:
            stages.join()
        finally:
            if renderer is not None:
                renderer.close()
        # an error of the analysis ends a rendering too
        self._analysis.raise_error()
        assert renderer is not None
        stats, self._samples = renderer.stats, renderer.samples
        self._frames_before += stats.frames
        self._add_busy(stages.busy_s)
        self._check_counts(stats)
        return stats

    def _verify(self, target: Path, stats: RenderStats) -> None:
        """Verify the last rendering, and report the progress meanwhile: no frame is new, but time is left."""
        started = time.perf_counter()
        job, on_frame = self._job, self._on_frame(stats)
        verify_file(target, job.output.info, job.tracks, stats.times, self._samples, on_frame)
        self._add_busy({"verify": time.perf_counter() - started})

    def _on_frame(self, stats: RenderStats) -> Callable[[int], None]:
        """What is called at each frame that is read again: it reports the progress, and stops the work."""
        started = reported = time.perf_counter()

        def on_frame(count: int) -> None:
            nonlocal reported
            now = time.perf_counter()
            if now - reported >= _PROGRESS_S:
                reported = now
                left_s = max(stats.frames - count, 0) * (now - started) / count
                self._report(0, left_s, since=self._started)

        return on_frame

    def _check_counts(self, stats: RenderStats) -> None:
        for track in self._job.tracks:
            analysed, written = self._queues[track.index].count(), len(stats.times[track.index])
            if analysed != written:
                raise EncoderFailed(f"{analysed} frames were analysed and {written} were written.")

    def _add_busy(self, seconds: Mapping[str, float]) -> None:
        for stage, busy in seconds.items():
            self._busy_s[stage] = self._busy_s.get(stage, 0.0) + busy

    def _render_at_bit_rate(self, target: Path) -> RenderStats:
        """Render until the size of each video track is close enough to the source's."""
        sizes = video_sizes(self._job.source, self._job.info)
        wanted = {index: size for index, (size, _) in sizes.items()}
        requested = {index: float(size) for index, size in wanted.items()}
        with tempfile.TemporaryDirectory() as stats_folder:
            for attempt in range(1 + _RETRIES):
                tracks = {
                    track.index: with_bit_rate(
                        self._job.output.tracks[track.index],
                        bits=8 * requested[track.index],
                        frames=sizes[track.index][1],
                        stats=Path(stats_folder) / f"{track.index}.log",
                        again=attempt > 0,
                    )
                    for track in self._job.tracks
                }
                output = replace(self._job.output, tracks=tracks)
                rendered = self._render(output, splice=False, with_outputs=attempt == 0)
                got = [size for size, _ in video_sizes(target, self._job.output.info).values()]
                pairs = list(zip(wanted.items(), got, strict=True))
                if all(abs(size - was) <= _SIZE_TOLERANCE * was for (_, was), size in pairs):
                    return rendered
                if attempt > 0:
                    # After the first attempt the encoder's statistics of the frames help more than this correction.
                    requested = {index: requested[index] * was / max(size, 1) for (index, was), size in pairs}
        rendered.warnings.append("The bit rate could not be kept: this encoder does not go so high or so low.")
        return rendered

    # --- progress and result ---

    def _report_progress(self, stages: StageThreads, stats: RenderStats) -> None:
        """Report the progress until all threads have ended.

        Raises:
            Cancelled: the caller does not want the result any more.
        """
        started = time.perf_counter()
        while stages.alive():
            stages.wait(_PROGRESS_S)
            self._report(stats.frames, None, since=started)

    def _report(self, frames: int, left_s: float | None, *, since: float) -> None:
        """Ask whether the work shall go on, and report how far it is.

        Args:
            frames: how many frames of this rendering are written.
            left_s: the expected remaining time. Default: as the frames so far tell.
            since: when the frames that give the speed were begun, by `time.perf_counter`.

        Raises:
            Cancelled: the caller does not want the result any more.
        """
        hooks = self._job.hooks
        if hooks.stop is not None and hooks.stop():
            raise Cancelled(f"The work on {self._job.name} was stopped.")
        if hooks.progress is None:
            return
        # how many attempts a bit rate takes is not known yet: two are usual
        total = self._job.frames and self._job.frames * (2 if self._job.options.keep_bit_rate else 1)
        done = self._frames_before + frames
        rate = (frames or done) / (time.perf_counter() - since)
        done = done if total is None else min(done, total)
        if left_s is None:
            left_s = (total - done) / rate if total and rate else None
        hooks.progress(VideoProgress(done, total, rate, left_s))

    def _result(self, stats: RenderStats) -> VideoResult:
        job, review = self._job, self._job.hooks.review
        types = {*job.object_types, *(region.type for region in job.options.regions)}
        types |= set() if review is None else review.types
        counts = {
            object_type.value: len(stats.track_ids.get(object_type, ())) + stats.untracked[object_type]
            for object_type in OBJECT_TYPES
            if object_type in types
        }
        review_counts: Counter[str] = Counter()
        for queue in self._queues.values():
            review_counts.update(queue.review_counts)
        frame_counts = {
            "frames_redacted": stats.redacted,
            "filled_by_tracker": stats.filled,
            "frames_blackened": stats.blackened,
            "packets_lost": stats.lost,
        }
        models = tuple(dict.fromkeys([*(detector.id for detector in job.detectors), *stats.mask_models]))
        size_hw = job.tracks[0].size_hw
        views = {each.id: len(plan_views(size_hw, job.options.video_format, each)) for each in job.detectors}
        return VideoResult(
            name=job.name,
            info=job.output.info,
            anonymised=job.target,
            metadata=job.metadata,
            binary_mask=job.binary_mask,
            instance_mask=job.instance_mask,
            counts=counts,
            frames=stats.frames,
            frames_copied=stats.copied,
            object_types=job.object_types,
            models=models,
            warnings=tuple(self._warnings(stats)),
            not_fully_analysed=_downscale_warnings(job),
            review_counts={"found": 0, **review_counts, **frame_counts},
            seconds=time.perf_counter() - self._started,
            stage_seconds=dict(self._busy_s),
            options=job.options,
            verification=self._verification,
            analysis=Analysis(job.engine.store.sums(models), views, size_hw, stats.frames),
            review=None if review is None else review.state,
            kept=job.detections if job.hooks.keep else None,
            finds=() if job.hooks.looks is None else job.hooks.looks.finds(),
        )

    def _warnings(self, stats: RenderStats) -> Iterator[str]:
        review = self._job.hooks.review
        yield from () if review is None else review.warnings
        yield from self._job.output.warnings
        yield from dict.fromkeys(stats.warnings)
        yield from _downscale_warnings(self._job)
        if stats.blackened:
            yield f"{stats.blackened} frame(s) could not be read whole and were blackened."
        if stats.lost:
            yield f"{stats.lost} part(s) of the video could not be read at all: their frames are missing."


def _downscale_warnings(job: VideoJob) -> tuple[str, ...]:
    return tuple(sentence for track in job.tracks for sentence in downscale_warnings(track, job.options, job.detectors))
