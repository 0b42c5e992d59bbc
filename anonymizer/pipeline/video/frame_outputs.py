"""The metadata and the mask videos of a video, written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["FrameOutputs"]


class FrameOutputs:
    """Writes the metadata and the masks of a video, one frame at a time.

    Args:
        metadata_path: the new file: a JSON array with an object for each frame.
        masks: writers of the mask videos.
        tracks: all tracks; with several, the metadata names the stream of each frame.
        options: of the work; they choose what the metadata shows.
        name: of the video, shown in the metadata.
        miss_costs: by object type, how many needless blurs a miss is worth in the scores.
    """

    def __init__(
        self,
        metadata_path: Path,
        masks: Sequence[MaskWriter],
        tracks: Sequence[VideoTrack],
        options: Options,
        name: str,
        miss_costs: Mapping[ObjectType, float],
    ) -> None:
        self._masks, self._options, self._name, self._miss_costs = masks, options, name, miss_costs
        self._several = len(tracks) > 1
        self._file: IO[str] = metadata_path.open("w")
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
