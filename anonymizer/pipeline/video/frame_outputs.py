"""The metadata and the mask videos of a video, written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.plan import VideoJob

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

    def write(
        self,
        track: VideoTrack,
        number: int,
        pts: int,
        detections: Detections,
        regions: Sequence[RedactionRegion],
        *,
        blackened: bool,
    ) -> None:
        """Write the next frame.

        Args:
            number: of the frame in its track, from 0.
            pts: when it is shown, in the track's time base.
            detections: what was redacted.
            regions: where pixels were changed.
            blackened: whether the whole frame was blackened, because it could not be read whole.
        """
        for mask in self._masks:
            mask.write(track, pts, regions, whole=blackened)
        frame = metadata.frame_metadata(
            self._name, number, float(pts * track.time_base), track.size_hw, detections, regions, self._options,
            miss_costs=self._miss_costs,
        )  # fmt: skip
        if blackened:
            frame["blackened"] = True
        if self._several:
            frame["stream"] = track.index
        self._file.write(",\n" if self._begun else "\n")
        json.dump(frame, self._file)
        self._begun = True

    def close(self) -> None:
        """Finish the files."""
        self._file.write("\n]\n")
        self._file.close()
        for mask in self._masks:
            mask.close()
