"""Contact sheets: pictures of a whole video at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from anonymizer.examples.captions import draw_caption, fit_size
from anonymizer.examples.frame_reader import TimedFrames, open_videos

__all__ = ["contact_sheet"]

#: pixels between two pictures
_GAP = 2


def contact_sheet(
    videos: str | PathLike[str] | Sequence[str | PathLike[str]], *, columns: int = 4, rows: int = 3, width: int = 1200
) -> NDArray[np.uint8]:
    """Show frames that are spread evenly over a video, each under its time.

    The frames of further videos at the same times stand below. With the original and the anonymised video, you see
    before above after. A video with fewer frames than cells shows some frames again. A video that ends before the
    longest one goes dark.

    Examples:
        >>> contact_sheet(["street.mp4", "anonymised.mp4"], columns=3)

    Args:
        videos: path of one video, or paths of several.
        columns: 1 or more. Default: 4.
        rows: 1 or more. Each row shows all videos. Default: 3.
        width: of the sheet in pixels, at least 32 for each column. Default: 1200.

    Returns:
        (h, width, 3) uint8 RGB.

    Raises:
        BrokenMedia: a file cannot be read.
        FileNotFoundError: a file is not there.
        UnsupportedMedia: a file is no video.
        ValueError: there is no video, or columns, rows or width are out of range.
    """
    paths = [videos] if isinstance(videos, str | PathLike) else list(videos)
    if not paths or columns < 1 or rows < 1 or width < 32 * columns:
        raise ValueError("contact_sheet needs a video, a column, a row and 32 pixels of width for each column")
    cell = width // columns
    strip = max(cell // 14, 14)
    with open_videos(*paths) as opened:
        step = max(video.ends_s for video in opened) / (columns * rows)
        times = (np.arange(columns * rows) + 0.5) * step
        sizes = [fit_size(video.size_wh, cell - _GAP, cell - _GAP) for video in opened]
        cells = [_cell(opened, sizes, float(time_s), cell, strip) for time_s in times]
    sheet = np.vstack([np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)])
    return np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)))


def _cell(
    videos: Sequence[TimedFrames], sizes: Sequence[tuple[int, int]], time_s: float, width: int, strip: int
) -> NDArray[np.uint8]:
    """One cell: a time, and below it what each video shows then."""
    shown = [
        video.at(time_s, size_wh) if time_s < video.ends_s else None
        for video, size_wh in zip(videos, sizes, strict=True)
    ]
    at_s = next(frame[0] for frame in shown if frame is not None)
    parts = [draw_caption(_format_time(at_s), width, strip)]
    for (across, down), frame in zip(sizes, shown, strict=True):
        part = np.zeros((down + _GAP, width, 3), np.uint8)
        if frame is not None:
            left = (width - across) // 2
            part[:down, left : left + across] = frame[1]
        parts.append(part)
    return np.vstack(parts)


def _format_time(time_s: float) -> str:
    """2:05.40, or from one hour on 1:02:05.40."""
    minutes, hundredths = divmod(round(time_s * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths // 100:02d}.{hundredths % 100:02d}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"
