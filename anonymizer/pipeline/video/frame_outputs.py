"""The metadata and the mask videos of a video, written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["FrameOutputs"]


class FrameOutputs:
    """Metadata and masks of a video, written frame by frame.

    Args:
        metadata_path: a JSON array, an object for each frame.
        masks: writers of mask videos.
    """

    def __init__(
        self,
        metadata_path: Path,
        masks: Sequence[MaskWriter],
        tracks: Sequence[VideoTrack],
        options: Options,
        name: str,
    ) -> None:
        self._masks, self._options, self._name = masks, options, name
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
        where: Sequence[RedactionRegion],
        *,
        blackened: bool,
    ) -> None:
        """The next frame's; blackened: all of it, as it could not be read whole."""
        for each in self._masks:
            each.write(track, pts, where, whole=blackened)
        frame = metadata.frame_metadata(
            self._name, number, float(pts * track.time_base), track.size_hw, detections, where, self._options
        )
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
        for each in self._masks:
            each.close()
