"""What a second look at a delivered file showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import VerificationFailed
from anonymizer.pipeline.options.verify import Verify

__all__ = ["LOOK_SHARE", "Verification", "describe_finds", "fail"]

#: the share of the thresholds with which detectors look again
LOOK_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Verification:
    """What a second look at a delivered file showed.

    Attributes:
        mode: the value of the option `verify`.
        looks: how many times the detectors ran on the finished file.
        frames: how many frames of a video they looked at in each of them; None for an image.
        regions: how many redacted regions were compared with the original. None for a video: there, each region is
            always compared when it is drawn, and those of some frames in the finished file.
        flat: how many of these have no detail in the original, so that nothing could be compared; None for a video.
        most_left: the highest share of the original's detail in any region, 0..1; redacted ones have at most 0.4. None
            for a video.
        added: by object type, how many objects were redacted only because of these looks.
        seconds: duration of all of it.
    """

    mode: Verify
    looks: int
    frames: int | None
    regions: int | None
    flat: int | None
    most_left: float | None
    added: Mapping[str, int]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "mode": self.mode.value,
            "looks": self.looks,
            "frames": self.frames,
            "regions": self.regions,
            "flat": self.flat,
            "most_left": None if self.most_left is None else round(self.most_left, 4),
            "added": dict(self.added),
            "seconds": round(self.seconds, 3),
        }


def describe_finds(finds: Detections, most: int = 3) -> str:
    """Describe the finds with the highest scores, for an error or a warning.

    Args:
        finds: the objects.
        most: how many are named.
    """
    order = sorted(range(len(finds)), key=lambda row: -float(finds.scores[row]))
    named = []
    for row in order[:most]:
        x1, y1, x2, y2 = (round(float(side)) for side in finds.boxes[row])
        named.append(
            f"a {finds.object_type(row).words} of {x2 - x1} x {y2 - y1} pixels at x {x1}, y {y1} "
            f"(score {float(finds.scores[row]):.2f})"
        )
    more = len(finds) - len(named)
    return ", ".join(named) + (f", and {more} more" if more > 0 else "")


def fail(finds: Detections, where: Sequence[str] = ()) -> VerificationFailed:
    """Make the error for objects that the delivered file shows.

    Args:
        finds: the objects.
        where: words in front of the description, such as the time in a video.
    """
    place = "".join(f"{part} " for part in where)
    return VerificationFailed(
        f"The finished file still shows objects: {place}{describe_finds(finds)}. "
        "Look there. Give the place of an object as `regions`; for a false find, repeat without `verify` and review."
    )
