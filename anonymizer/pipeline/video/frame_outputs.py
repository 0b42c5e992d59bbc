"""The metadata and the mask videos of a video, written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.review.selection import Selection
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.plan import VideoJob
from anonymizer.pipeline.video.review.base import BaseOutputs

__all__ = ["FrameOutputs"]


class FrameOutputs:
    """Writes the metadata and the masks of a video, one frame at a time.

    Args:
        job: what is written, and where. With several tracks, the metadata names the stream of each frame.
    """

    def __init__(self, job: VideoJob) -> None:
        legacy, percent = job.engine.legacy_masks, job.options.mask_scale
        self._masks = [
            MaskWriter(path, job.tracks, instances=instances, percent=percent, legacy=legacy, threads=job.threads)
            for path, instances in ((job.binary_mask, False), (job.instance_mask, True))
            if path is not None
        ]
        self._options, self._name = job.options, job.name
        self._miss_costs = job.engine.store.miss_costs(job.object_types)
        self._several = len(job.tracks) > 1
        self._file: IO[str] = job.metadata.open("w")
        self._file.write("[")
        self._begun = False
        review = job.hooks.review
        self._base = BaseOutputs(review.base) if review is not None and review.base is not None else None

    def reuse(self, track: VideoTrack, number: int, pts: int) -> dict[str, Any]:
        """Copy the next frame from the version that a review changes.

        Args:
            track: of the frame.
            number: of the frame in its track, from 0.
            pts: when it is shown, in the track's time base.

        Returns:
            The metadata of the frame.

        Raises:
            CannotSplice: the masks cannot be copied.
            EncoderFailed: the version has no such frame.
        """
        assert self._base is not None
        for index, (mask, header) in enumerate(zip(self._masks, self._base.mask_headers, strict=True)):
            mask.copy(track, pts, self._base.mask(index, number), header)
        text, row = self._base.frame(number)
        self._line(text)
        return row

    def write(
        self,
        track: VideoTrack,
        number: int,
        pts: int,
        selection: Selection,
        regions: Sequence[RedactionRegion],
        *,
        blackened: bool,
    ) -> None:
        """Write the next frame.

        Args:
            number: of the frame in its track, from 0.
            pts: when it is shown, in the track's time base.
            selection: the objects, and which of them were redacted.
            regions: where pixels were changed.
            blackened: whether the whole frame was blackened, because it could not be read whole.
        """
        for mask in self._masks:
            mask.write(track, pts, regions, whole=blackened)
        frame = metadata.frame_metadata(
            self._name, number, float(pts * track.time_base), track.size_hw, selection.objects, regions, self._options,
            miss_costs=self._miss_costs, notes=selection.notes,
        )  # fmt: skip
        if blackened:
            frame["blackened"] = True
        if self._several:
            frame["stream"] = track.index
        self._line(json.dumps(frame))

    def close(self) -> None:
        """Finish the files."""
        self._file.write("\n]\n")
        self._file.close()
        for mask in self._masks:
            mask.close()
        if self._base is not None:
            self._base.close()

    def _line(self, text: str) -> None:
        self._file.write((",\n" if self._begun else "\n") + text)
        self._begun = True
