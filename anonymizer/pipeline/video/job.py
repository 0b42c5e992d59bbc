"""A video from end to end: two readings of one file at the same time, in threads with bounded queues.

The first reading decodes, looks for objects in batches and follows them from frame to frame; a frame's objects are
final when the window of future frames has been seen. The second reading follows: it decodes again, waits for a frame's
objects, redacts in the frame's own planes and encodes. So no picture is kept for the window, however long it is or
large the pictures are, and it is known before a group of pictures is written whether anything in it is redacted: a
group in which nothing is, is copied packet by packet where the codec allows it. Each frame has to be the same one, at
the same time, in both readings, and again in the file that was written.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import Cancelled, EncoderFailed, InvalidParameter
from anonymizer.pipeline.memory import keep_freed_memory
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.results import VideoProgress, VideoResult
from anonymizer.pipeline.video.analysis import look, looks_smaller
from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.frame_outputs import FrameOutputs
from anonymizer.pipeline.video.io.encoders import Output, plan, with_bit_rate
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.io.writer import CannotSplice
from anonymizer.pipeline.video.rendering import Rendered, Rendering
from anonymizer.pipeline.video.thread_stages import Run
from anonymizer.pipeline.video.verify_file import Samples, prove, video_sizes

__all__ = ["anonymise_video"]

#: how often progress is told, and `stop` asked
_TELL_S = 0.4
#: With `keep-bit-rate`: how far from the source's rate is near enough, and how often to try to come nearer.
_NEAR, _TRIES = 0.03, 3


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
    """What `Anonymizer.video` does."""
    threads = torch.get_num_threads()
    work = _Work(engine, source, folder, options, name or source.name, threads, progress, stop)
    try:
        # each of the stages' threads works on its own
        torch.set_num_threads(1)
        return work.run()
    except BaseException:
        # none of it is a result
        for each in work.files:
            each.unlink(missing_ok=True)
        raise
    finally:
        torch.set_num_threads(threads)


class _Work:
    """The work on one video."""

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
        # of decoders and encoders, and for finding: this process's share of the cores
        self._threads = threads
        self._progress, self._stop = progress, stop
        self._started = time.perf_counter()
        self._busy_s: dict[str, float] = {}
        self._done = 0
        self._types = options.object_types(tuple(engine.store.serves()))
        self._info = check_video(source, limits=engine.limits)
        keep_freed_memory()
        # everything is loaded before there are threads
        self._detectors = engine.store.detectors(self._types)
        if not options.bbox:
            engine.store.segmenter()
        with VideoReader(source, self._info, threads=1) as reader:
            self._tracks: list[VideoTrack] = reader.tracks
            self._output = plan(reader, options)
        totals = [each.frames for each in self._tracks]
        self._total = sum(n for n in totals if n is not None) if all(totals) else None
        wants = options.save_mask
        self._target = None if options.method is Method.DETECT else folder / f"anonymised{self._output.info.extension}"
        if self._target is not None and self._target.resolve() == source.resolve():
            raise InvalidParameter("folder", folder, "another one than the video's: the result would replace it")
        self._metadata = folder / "metadata.json"
        self._binary = folder / "binary-mask.mkv" if wants.binary else None
        self._instance = folder / "instance-mask.mkv" if wants.instance else None

    @property
    def files(self) -> list[Path]:
        """All that may have been written."""
        return [each for each in (self._target, self._metadata, self._binary, self._instance) if each is not None]

    def run(self) -> VideoResult:
        if self._options.keep_bit_rate and self._target is not None:
            return self._result(self._at_bit_rate(self._target))
        return self._result(self._first(splice=not (self._options.re_encode or self._options.debug)))

    # --- renderings ---

    def _first(self, *, splice: bool) -> Rendered:
        """Look and render at the same time."""
        try:
            return self._render(self._output, splice=splice, look_too=True)
        except CannotSplice:
            return self._render(self._output, splice=False, look_too=True)

    def _render(self, output: Output, *, splice: bool, look_too: bool) -> Rendered:
        run = Run()
        if look_too:
            # renderings that follow need them all once more
            keep = self._options.keep_bit_rate
            self._findings = {each.index: DetectionQueue(run, keep=keep) for each in self._tracks}
            look(
                self._engine, self._source, self._info, run, self._tracks, self._findings, self._types,
                self._options, threads=self._threads,
            )  # fmt: skip
        samples = Samples()
        rendering = Rendering(
            self._engine, self._source, self._info, run, self._findings, self._options, output,
            target=self._target, extras=self._extras() if look_too else None, samples=samples, seed=self._seed(),
            name=self._name, splice=splice, threads=self._threads,
        )  # fmt: skip
        try:
            rendering.start()
            self._attend(run, rendering.rendered)
        except BaseException as error:
            run.stop(error)
        try:
            run.join()
        finally:
            rendering.close()
        self._done += rendering.rendered.frames
        self._add_busy(run.busy_s)
        rendered = rendering.rendered
        for track in self._tracks:
            seen, written = self._findings[track.index].count(), len(rendered.times[track.index])
            if seen != written:
                raise EncoderFailed(f"{seen} frames were looked at and {written} were written.")
        if self._target is not None:
            started = time.perf_counter()
            prove(self._target, output.info, self._tracks, rendered.times, samples)
            self._add_busy({"prove": time.perf_counter() - started})
        return rendered

    def _add_busy(self, seconds: Mapping[str, float]) -> None:
        for stage, busy in seconds.items():
            self._busy_s[stage] = self._busy_s.get(stage, 0.0) + busy

    def _at_bit_rate(self, target: Path) -> Rendered:
        """Render until the video's size is near enough to the source's."""
        sizes = video_sizes(self._source, self._info)
        wanted = {index: size for index, (size, _) in sizes.items()}
        asked = {index: float(size) for index, size in wanted.items()}
        with tempfile.TemporaryDirectory() as stats:
            for number in range(1 + _TRIES):
                tracks = {
                    each.index: with_bit_rate(
                        self._output.tracks[each.index],
                        bits=8 * asked[each.index],
                        frames=sizes[each.index][1],
                        stats=Path(stats) / f"{each.index}.log",
                        again=number > 0,
                    )
                    for each in self._tracks
                }
                rendered = self._render(replace(self._output, tracks=tracks), splice=False, look_too=number == 0)
                got = [size for size, _ in video_sizes(target, self._output.info).values()]
                pairs = list(zip(wanted.items(), got, strict=True))
                if all(abs(size - was) <= _NEAR * was for (_, was), size in pairs):
                    return rendered
                if number > 0:
                    # what was learnt of the frames the first time says more than how far off that was
                    asked = {index: asked[index] * was / max(size, 1) for (index, was), size in pairs}
        rendered.warnings.append("The bit rate could not be kept: this encoder does not go so high or so low.")
        return rendered

    # --- what goes with them ---

    def _seed(self) -> int:
        with self._source.open("rb") as file:
            content = file.read(2**20)
        digest = hashlib.blake2b(content, key=self._engine.noise_key, digest_size=8)
        return int.from_bytes(digest.digest(), "big")

    def _extras(self) -> FrameOutputs:
        legacy, percent = self._engine.legacy_masks, self._options.mask_scale
        masks = [
            MaskWriter(path, self._tracks, instances=instances, percent=percent, legacy=legacy, threads=self._threads)
            for path, instances in ((self._binary, False), (self._instance, True))
            if path is not None
        ]
        return FrameOutputs(self._metadata, masks, self._tracks, self._options, self._name)

    def _attend(self, run: Run, rendered: Rendered) -> None:
        """Until all threads have ended: tell how far they are, and whether to go on."""
        started = time.perf_counter()
        while run.alive():
            run.wait(_TELL_S)
            if self._stop is not None and self._stop():
                raise Cancelled(f"The work on {self._name} was stopped.")
            if self._progress is not None:
                # how often a bit rate is tried is not known before: twice will mostly do
                total = self._total and self._total * (2 if self._options.keep_bit_rate else 1)
                rate = rendered.frames / (time.perf_counter() - started)
                done = self._done + rendered.frames
                done = done if total is None else min(done, total)
                left = (total - done) / rate if total and rate else None
                self._progress(VideoProgress(done, total, rate, left))

    def _result(self, rendered: Rendered) -> VideoResult:
        counts = {
            each.value: len(rendered.tracks.get(each, ())) + rendered.loose[each]
            for each in OBJECT_TYPES
            if each in self._types
        }
        review_counts: Counter[str] = Counter()
        for each in self._findings.values():
            review_counts.update(each.review_counts)
        numbers = {
            "frames_redacted": rendered.redacted,
            "filled_by_tracker": rendered.filled,
            "frames_blackened": rendered.blackened,
            "packets_lost": rendered.lost,
        }
        models = dict.fromkeys([*(each.id for each in self._detectors), *rendered.mask_models])
        return VideoResult(
            name=self._name,
            info=self._output.info,
            anonymised=self._target,
            metadata=self._metadata,
            binary_mask=self._binary,
            instance_mask=self._instance,
            counts=counts,
            frames=rendered.frames,
            frames_copied=rendered.copied,
            object_types=self._types,
            models=tuple(models),
            warnings=tuple(self._warnings(rendered)),
            review_counts={"found": 0, **review_counts, **numbers},
            seconds=time.perf_counter() - self._started,
            stage_seconds=dict(self._busy_s),
            options=self._options,
        )

    def _warnings(self, rendered: Rendered) -> Iterator[str]:
        yield from self._output.warnings
        yield from dict.fromkeys(rendered.warnings)
        for track in self._tracks:
            yield from looks_smaller(track, self._options, self._detectors)
        if rendered.blackened:
            yield f"{rendered.blackened} frame(s) could not be read whole and were blackened."
        if rendered.lost:
            yield f"{rendered.lost} part(s) of the video could not be read at all: their frames are missing."
