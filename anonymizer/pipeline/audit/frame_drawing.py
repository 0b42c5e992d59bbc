"""Draw some frames of a video by chance, and read them as detectors see them."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.video.frame_images import rgb_image
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import DecodedFrame
from anonymizer.pipeline.video.verify_file import video_sizes

__all__ = ["Drawn", "draw_frames", "read_frames"]

#: by stream index, the numbers of frames
Drawn = Mapping[int, Collection[int]]


def draw_frames(path: Path, info: MediaInfo, most: int, seed: str) -> dict[int, frozenset[int]]:
    """Draw frames of all video tracks. Nothing is decoded.

    The seed is best a checksum of the file. Then everybody draws the same frames of it, but nobody knows which ones
    before the file is finished.

    Args:
        path: of the video.
        info: its format.
        most: how many frames are drawn of each track; all frames of shorter ones.
        seed: from which the draw follows.

    Raises:
        BrokenMedia: the file cannot be read.
    """
    counts = {index: count for index, (_, count) in video_sizes(path, info).items()}
    return {
        index: frozenset(random.Random(f"{seed}:{index}").sample(range(count), min(most, count)))
        for index, count in counts.items()
    }


def read_frames(
    path: Path,
    info: MediaInfo,
    drawn: Drawn,
    *,
    threads: int = 0,
    on_frame: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[DecodedFrame, NDArray[np.uint8]]]:
    """Read the drawn frames, in the order of the file. All frames up to the last one are decoded.

    Args:
        path: of the video.
        info: its format.
        drawn: by stream index, the numbers of the frames.
        threads: of each decoder; 0: as many as there are cores.
        on_frame: called at each decoded frame with the number of frames so far. An error that it raises ends the work.

    Yields:
        Each frame, and its image (h, w, 3) uint8 RGB, upright, at full size.

    Raises:
        AnonymizerError: the file cannot be read.
    """
    left = {index: set(numbers) for index, numbers in drawn.items()}
    reformatter = VideoReformatter()
    with VideoReader(path, info, threads=threads) as reader:
        for count, frame in enumerate(reader.frames(), 1):
            on_frame(count)
            track = frame.track
            if frame.number in left.get(track.index, ()):
                left[track.index].remove(frame.number)
                image = rgb_image(frame.picture, track.size_wh, reformatter)
                yield frame, np.ascontiguousarray(upright(image, track.orientation))
            if not any(left.values()):
                break
