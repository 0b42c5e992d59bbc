"""Look for what is still recognisable in finished images and videos, whoever made them. Nothing is written.

Detectors run with half the thresholds. With the originals, the detail of each find is compared with the original's: a
find that keeps little of it is redacted. Without them, nobody can know what was there. Then a find without fine detail
of its own counts as redacted: blur and pixelation leave none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.audit.frame_drawing import draw_frames, read_frames
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import AnonymizerError, UnsupportedMedia
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, open_file, sniff
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.proof.differences import MAX_LEFT, compare_region, fine_detail
from anonymizer.pipeline.proof.finds import without_margins
from anonymizer.pipeline.proof.verification import LOOK_SHARE
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.video.io.reader import check_video

__all__ = ["AuditedFile", "Finding", "Grade", "audit_file"]

#: the largest difference between the aspect ratios of a file and its original
_ASPECT = 0.02

Image = NDArray[np.uint8]


class Grade(StrEnum):
    """How well an object can be recognised, the worst first."""

    CLEAR = "clear"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that is still recognisable.

    Attributes:
        grade: `clear` if the score reaches the threshold of its type, else `faint`.
        object_type: its type.
        score: 0..1.
        box: x1, y1, x2, y2 in pixels of the upright image or frame.
        time_s: for a video, when its frame is shown, in seconds.
        left: the share of the original's detail that it keeps, 0..1; None: there is no original, or it is flat.
    """

    grade: Grade
    object_type: ObjectType
    score: float
    box: tuple[int, int, int, int]
    time_s: float | None = None
    left: float | None = None

    @property
    def size(self) -> int:
        """The shorter side in pixels."""
        x1, y1, x2, y2 = self.box
        return min(x2 - x1, y2 - y1)

    @property
    def order(self) -> tuple[bool, float, int]:
        """Sorts the worst first."""
        return self.grade is not Grade.CLEAR, -self.score, -self.size

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "grade": self.grade.value,
            "type": self.object_type.value,
            "score": round(self.score, 4),
            "box": list(self.box),
            "size": self.size,
            "time": None if self.time_s is None else round(self.time_s, 3),
            "left": None if self.left is None else round(self.left, 4),
        }


@dataclass(frozen=True, slots=True)
class AuditedFile:
    """What was found in one file.

    Attributes:
        path: of the file.
        findings: the objects that are still recognisable, the worst first.
        redacted: how many finds count as redacted.
        frames: how many frames of a video were looked at; None for an image.
        error: why the file could not be audited; empty: it was.
        seconds: duration.
    """

    path: Path
    findings: tuple[Finding, ...] = ()
    redacted: int = 0
    frames: int | None = None
    error: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class _Look:
    """What was found so far."""

    engine: Engine
    options: Options
    object_types: Sequence[ObjectType]
    findings: list[Finding] = field(default_factory=list)
    redacted: int = 0

    def add(self, found: Detections, image: Image, original: Image | None, time_s: float | None) -> None:
        """Grade the finds of one image."""
        finds = found[over_threshold(found, self.options, share=LOOK_SHARE)]
        clear = over_threshold(finds, self.options)
        for region in redaction_regions(finds, image.shape[:2], without_margins(self.options)):
            shown, inside = image[region.crop].astype(np.float32), region.alpha > 0
            left = None
            if original is None:
                recognisable = fine_detail(shown, inside, region.short_side)
            else:
                before = original[region.crop].astype(np.float32)
                left = compare_region(before, shown, inside, region.short_side).left
                # a flat original has nothing to recognise
                recognisable = left is not None and left > MAX_LEFT
            if not recognisable:
                self.redacted += 1
                continue
            x1, y1, x2, y2 = (round(float(side)) for side in finds.boxes[region.row])
            grade = Grade.CLEAR if clear[region.row] else Grade.FAINT
            score = float(finds.scores[region.row])
            self.findings.append(Finding(grade, region.object_type, score, (x1, y1, x2, y2), time_s, left))


def audit_file(
    engine: Engine,
    path: Path,
    options: Options,
    *,
    original: Path | None = None,
    frames: int = 24,
    on_frame: Callable[[int], None] = lambda _: None,
) -> AuditedFile:
    """Look for what is still recognisable in one file. An error is part of the answer.

    Args:
        engine: has the detectors.
        path: an image or a video.
        options: the object types, the thresholds and the formats are used.
        original: the file that it was made of. It may be larger or smaller, but must have the same shape.
        frames: how many frames of each video track are looked at. They are drawn from the file's checksum.
        on_frame: called at each decoded frame with the number of frames so far.
    """
    started = time.perf_counter()
    look = _Look(engine, options, options.object_types(tuple(engine.store.serves())))
    seen: int | None = None
    error = ""
    try:
        with open_file(path) as file:
            kind = sniff(file.read(HEAD_BYTES)).kind
        if kind is MediaKind.VIDEO:
            seen = _audit_video(look, path, original, frames, on_frame)
        else:
            _audit_image(look, path, original)
    except (AnonymizerError, OSError) as failure:
        error = str(failure)
    except Exception as failure:
        # the outer edge of one file: the others are audited all the same
        error = f"{type(failure).__name__}: {failure}"
    findings = tuple(sorted(look.findings, key=lambda finding: finding.order))
    return AuditedFile(path, findings, look.redacted, seen, error, time.perf_counter() - started)


def _audit_image(look: _Look, path: Path, original: Path | None) -> None:
    picture = load_picture(path, limits=look.engine.limits)
    before = None
    if original is not None:
        before = _as_large(load_picture(original, limits=look.engine.limits).rgb(), picture.size_hw, original)
    (found,) = look.engine.detect_pictures([picture], look.object_types, look.options.image_format)
    look.add(found, picture.rgb(), before, None)


def _audit_video(look: _Look, path: Path, original: Path | None, frames: int, on_frame: Callable[[int], None]) -> int:
    """Look at some frames, and return how many."""
    info = check_video(path, limits=look.engine.limits)
    drawn = draw_frames(path, info, frames, FileSum.of_file(path).sha256)
    count = sum(len(numbers) for numbers in drawn.values())
    befores = None
    if original is not None:
        befores = read_frames(original, check_video(original, limits=look.engine.limits), drawn)
    left = count
    for frame, image in read_frames(path, info, drawn, on_frame=on_frame):
        left -= 1
        before = None
        if befores is not None and original is not None:
            other, before = next(befores, (None, None))
            if other is None or before is None or (other.track.index, other.number) != (
                frame.track.index, frame.number,
            ):  # fmt: skip
                raise UnsupportedMedia(f"The original {original} has other frames, so that they cannot be compared.")
            before = _as_large(before, image.shape[:2], original)
        (found,) = look.engine.detect([image], look.object_types, look.options.video_format)
        look.add(found, image, before, frame.time_s)
    if left:
        raise UnsupportedMedia(f"{left} of {count} frames could not be read.")
    return count


def _as_large(original: Image, size_hw: tuple[int, ...], path: Path) -> Image:
    """The original in the size of the file.

    Raises:
        UnsupportedMedia: its shape is another one.
    """
    height, width = size_hw
    if original.shape[:2] == (height, width):
        return original
    ratio = original.shape[1] / original.shape[0] / (width / height)
    if abs(ratio - 1) > _ASPECT:
        raise UnsupportedMedia(f"The original {path} has another shape, so that it cannot be compared.")
    shrinks = original.shape[0] > height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(original, (width, height), interpolation=method), np.uint8)
