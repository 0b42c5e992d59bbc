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

import torch

from anonymizer.pipeline.detection.windows import plan_views
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import Cancelled, EncoderFailed, InvalidParameter, NotFullyAnalysed
from anonymizer.pipeline.memory import keep_freed_memory
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.proof.verification import Verification
from anonymizer.pipeline.receipts.receipt import Analysis
from anonymizer.pipeline.results import VideoProgress, VideoResult
from anonymizer.pipeline.video.analysis import downscale_warnings, start_analysis
from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.frame_outputs import FrameOutputs
from anonymizer.pipeline.video.io.encoders import OutputPlan, plan_output, with_bit_rate
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from anonymizer.pipeline.video.io.track_writer import CannotSplice
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.rendering import Renderer, RenderStats, noise_seed
from anonymizer.pipeline.video.second_looks import Looks
from anonymizer.pipeline.video.thread_stages import StageThreads
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
    progress: Callable[[VideoProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> VideoResult:
    """Anonymise one video; this is what `Anonymizer.video` does.

    Args:
        engine: the models and limits.
        source: path of the video.
        folder: an existing folder, where the files of the result are written.
        options: what is redacted, and how.
        name: of the video in its metadata. Default: the name of the file.
        progress: called about twice a second, in the calling thread.
        stop: called as often; if it returns True, the work ends.

    Returns:
        The result. Its files are in `folder`.

    Raises:
        Cancelled: `stop` returned True.
        InvalidParameter: the result would replace the source, or the encoder does not work on this machine.
        AnonymizerError: one of its kinds, if the file is bad, a model is missing, or a detector or an encoder failed.
    """
    threads = torch.get_num_threads()
    job = _VideoJob(engine, source, folder, options, name or source.name, threads, progress, stop)
    try:
        # the threads of the stages run side by side: each uses one core
        torch.set_num_threads(1)
        return job.run()
    except BaseException:
        # a file that may be incomplete must not be taken for a result
        for path in job.files:
            path.unlink(missing_ok=True)
        raise
    finally:
        torch.set_num_threads(threads)


class _VideoJob:
    """The work on one video.

    Args:
        threads: how many cores this process may use, for decoders, encoders and detectors.
    """

    def __init__(
        self,
        engine: Engine,
        source: Path,
        folder: Path,
        options: Options,
        name: str,
        threads: int,
        progress: Callable[[VideoProgress], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._engine, self._source, self._options, self._name = engine, source, options, name
        self._threads = threads
        self._progress, self._stop = progress, stop
        self._started = time.perf_counter()
        self._busy_s: dict[str, float] = {}
        # frames of the renderings that are finished
        self._frames_before = 0
        self._queues: dict[int, DetectionQueue] = {}
        self._samples = FrameSamples()
        self._verification: Verification | None = None
        self._types = options.object_types(tuple(engine.store.serves()))
        self._info = check_video(source, limits=engine.limits)
        keep_freed_memory()
        # all models are loaded before there are threads
        self._detectors = engine.store.detectors(self._types)
        if not options.bbox:
            engine.store.segmenter()
        with VideoReader(source, self._info, threads=1) as reader:
            self._tracks: list[VideoTrack] = reader.tracks
            self._output = plan_output(reader, options)
        if options.strict and (downscaled := tuple(self._downscale_warnings())):
            # known from the size alone: no frame need be analysed for it
            raise NotFullyAnalysed(downscaled)
        totals = [track.frames for track in self._tracks]
        self._total = sum(n for n in totals if n is not None) if all(totals) else None
        wanted_masks = options.save_mask
        self._target = None if options.method is Method.DETECT else folder / f"anonymised{self._output.info.extension}"
        if self._target is not None and self._target.resolve() == source.resolve():
            raise InvalidParameter("folder", folder, "another one than the video's: the result would replace it")
        self._metadata = folder / "metadata.json"
        self._binary = folder / "binary-mask.mkv" if wanted_masks.binary else None
        self._instance = folder / "instance-mask.mkv" if wanted_masks.instance else None

    @property
    def files(self) -> list[Path]:
        """All files that may have been written."""
        return [path for path in (self._target, self._metadata, self._binary, self._instance) if path is not None]

    def run(self) -> VideoResult:
        stats = self._render_all(analyse=True)
        if self._target is not None and self._options.verify:
            looks = Looks(self._engine, self._source, self._info, self._options, self._types, self._queues)
            stats = self._look_again(self._target, looks, stats)
        return self._result(stats)

    def _render_all(self, *, analyse: bool) -> RenderStats:
        """Render and verify; without `analyse`, with the detections of an earlier rendering."""
        if self._options.keep_bit_rate and self._target is not None:
            stats = self._render_at_bit_rate(self._target, analyse=analyse)
        else:
            stats = self._render_once(splice=not (self._options.re_encode or self._options.debug), analyse=analyse)
        if self._target is not None:
            self._verify(self._target, stats)
        return stats

    def _look_again(self, target: Path, looks: Looks, stats: RenderStats) -> RenderStats:
        """Look at the finished video; if something is found, redact it and render again, once."""
        started = time.perf_counter()
        if looks.look(target, self._output.info, self._metadata, self._on_frame(stats)):
            looks.follow(self._on_frame(stats))
            stats = self._render_all(analyse=False)
            looks.look(target, self._output.info, self._metadata, self._on_frame(stats))
        self._verification = looks.outcome(time.perf_counter() - started)
        stats.warnings += looks.warnings()
        return stats

    def _render_once(self, *, splice: bool, analyse: bool) -> RenderStats:
        """Analyse and render at the same time; start again without copied groups where these do not fit."""
        try:
            return self._render(self._output, splice=splice, analyse=analyse, record=True)
        except CannotSplice:
            return self._render(self._output, splice=False, analyse=analyse, record=True)

    def _render(self, output: OutputPlan, *, splice: bool, analyse: bool, record: bool) -> RenderStats:
        """Render the video. What is written must be verified afterwards.

        Args:
            analyse: False: use the detections of an earlier rendering again.
            record: False: an earlier rendering wrote the same metadata and masks.
        """
        stages, self._samples = StageThreads(), FrameSamples()
        renderer: Renderer | None = None
        try:
            # no thread is started outside of this block: an error has to stop all of them
            seed = noise_seed(self._source, self._engine.noise_key)
            if analyse:
                self._start_analysis(stages)
            renderer = Renderer(
                self._engine, self._source, self._info, stages, self._queues, self._options, output,
                target=self._target, open_frame_outputs=self._open_frame_outputs if record else None,
                samples=self._samples, seed=seed, splice=splice, threads=self._threads,
            )  # fmt: skip
            renderer.start()
            self._report_progress(stages, renderer.stats)
        except BaseException as error:
            stages.stop(error)
        try:
            stages.join()
        finally:
            if renderer is not None:
                renderer.close()
        assert renderer is not None
        stats = renderer.stats
        self._frames_before += stats.frames
        self._add_busy(stages.busy_s)
        self._check_counts(stats)
        return stats

    def _verify(self, target: Path, stats: RenderStats) -> None:
        """Verify the last rendering, and report the progress meanwhile: no frame is new, but time is left."""
        started = time.perf_counter()
        verify_file(target, self._output.info, self._tracks, stats.times, self._samples, self._on_frame(stats))
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

    def _start_analysis(self, stages: StageThreads) -> None:
        # later renderings need all detections again
        keep = self._options.keep_bit_rate or bool(self._options.verify)
        self._queues = {track.index: DetectionQueue(stages, keep=keep) for track in self._tracks}
        start_analysis(
            self._engine, self._source, self._info, stages, self._tracks, self._queues, self._types, self._options,
            threads=self._threads,
        )  # fmt: skip

    def _check_counts(self, stats: RenderStats) -> None:
        for track in self._tracks:
            analysed, written = self._queues[track.index].count(), len(stats.times[track.index])
            if analysed != written:
                raise EncoderFailed(f"{analysed} frames were analysed and {written} were written.")

    def _add_busy(self, seconds: Mapping[str, float]) -> None:
        for stage, busy in seconds.items():
            self._busy_s[stage] = self._busy_s.get(stage, 0.0) + busy

    def _render_at_bit_rate(self, target: Path, *, analyse: bool) -> RenderStats:
        """Render until the size of each video track is close enough to the source's."""
        sizes = video_sizes(self._source, self._info)
        wanted = {index: size for index, (size, _) in sizes.items()}
        requested = {index: float(size) for index, size in wanted.items()}
        with tempfile.TemporaryDirectory() as stats_folder:
            for attempt in range(1 + _RETRIES):
                tracks = {
                    track.index: with_bit_rate(
                        self._output.tracks[track.index],
                        bits=8 * requested[track.index],
                        frames=sizes[track.index][1],
                        stats=Path(stats_folder) / f"{track.index}.log",
                        again=attempt > 0,
                    )
                    for track in self._tracks
                }
                first = attempt == 0
                output = replace(self._output, tracks=tracks)
                rendered = self._render(output, splice=False, analyse=analyse and first, record=first)
                got = [size for size, _ in video_sizes(target, self._output.info).values()]
                pairs = list(zip(wanted.items(), got, strict=True))
                if all(abs(size - was) <= _SIZE_TOLERANCE * was for (_, was), size in pairs):
                    return rendered
                if attempt > 0:
                    # After the first attempt the encoder's statistics of the frames help more than this correction.
                    requested = {index: requested[index] * was / max(size, 1) for (index, was), size in pairs}
        rendered.warnings.append("The bit rate could not be kept: this encoder does not go so high or so low.")
        return rendered

    # --- inputs and outputs of a rendering ---

    def _open_frame_outputs(self) -> FrameOutputs:
        legacy, percent = self._engine.legacy_masks, self._options.mask_scale
        masks = [
            MaskWriter(path, self._tracks, instances=instances, percent=percent, legacy=legacy, threads=self._threads)
            for path, instances in ((self._binary, False), (self._instance, True))
            if path is not None
        ]
        miss_costs = self._engine.store.miss_costs(self._types)
        return FrameOutputs(self._metadata, masks, self._tracks, self._options, self._name, miss_costs)

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
        if self._stop is not None and self._stop():
            raise Cancelled(f"The work on {self._name} was stopped.")
        if self._progress is None:
            return
        # how many attempts a bit rate takes is not known yet: two are usual
        total = self._total and self._total * (2 if self._options.keep_bit_rate else 1)
        done = self._frames_before + frames
        rate = (frames or done) / (time.perf_counter() - since)
        done = done if total is None else min(done, total)
        if left_s is None:
            left_s = (total - done) / rate if total and rate else None
        self._progress(VideoProgress(done, total, rate, left_s))

    def _result(self, stats: RenderStats) -> VideoResult:
        counts = {
            object_type.value: len(stats.track_ids.get(object_type, ())) + stats.untracked[object_type]
            for object_type in OBJECT_TYPES
            if object_type in self._types
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
        models = tuple(dict.fromkeys([*(detector.id for detector in self._detectors), *stats.mask_models]))
        size_hw = self._tracks[0].size_hw
        views = {each.id: len(plan_views(size_hw, self._options.video_format, each)) for each in self._detectors}
        return VideoResult(
            name=self._name,
            info=self._output.info,
            anonymised=self._target,
            metadata=self._metadata,
            binary_mask=self._binary,
            instance_mask=self._instance,
            counts=counts,
            frames=stats.frames,
            frames_copied=stats.copied,
            object_types=self._types,
            models=models,
            warnings=tuple(self._warnings(stats)),
            not_fully_analysed=tuple(self._downscale_warnings()),
            review_counts={"found": 0, **review_counts, **frame_counts},
            seconds=time.perf_counter() - self._started,
            stage_seconds=dict(self._busy_s),
            options=self._options,
            verification=self._verification,
            analysis=Analysis(self._engine.store.sums(models), views, size_hw, stats.frames),
        )

    def _warnings(self, stats: RenderStats) -> Iterator[str]:
        yield from self._output.warnings
        yield from dict.fromkeys(stats.warnings)
        yield from self._downscale_warnings()
        if stats.blackened:
            yield f"{stats.blackened} frame(s) could not be read whole and were blackened."
        if stats.lost:
            yield f"{stats.lost} part(s) of the video could not be read at all: their frames are missing."

    def _downscale_warnings(self) -> Iterator[str]:
        for track in self._tracks:
            yield from downscale_warnings(track, self._options, self._detectors)
