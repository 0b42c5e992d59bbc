"""Camera cuts, told from flashes and pans by small grey pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Glance", "first_cut"]

Grey = NDArray[np.uint8]

#: width and height of what is compared; a quarter of it is how far a pan may go in a frame
_SIZE_WH = (48, 32)
#: Two pictures of one scene are alike in content, even if shifted, or in brightness. On the clips at hand, largest and
#: smallest values for neighbours within a clip, and for frames of different clips (5 %, middle, 95 %):
#:                  within    across
#:     content      >= .82    .38 .56 .76
#:     brightness   >= .73    -.08 .27 .69
#: At 2.5 frames a second the fastest pan of a drone counts as a cut.
_ALIKE_CONTENT, _ALIKE_BRIGHTNESS = 0.78, 0.85
#: grey values that nothing is to be seen in: black, or a flash
_PLAIN = 2.0
#: mean difference in grey values of a plain picture from one of another scene
_DIFFERENCE = 18.0


@dataclass(frozen=True, slots=True)
class Glance:
    """What of a picture is compared.

    Attributes:
        thumb: (32, 48) uint8 grey.
        middle: its middle, to be looked for in another.
        histogram: (32, 1) float32.
        plain: nothing is to be seen in it.
    """

    thumb: Grey
    middle: Grey
    histogram: NDArray[np.float32]
    plain: bool

    @classmethod
    def of(cls, picture: Grey) -> Glance:
        """Take it of an (h, w) uint8 grey picture."""
        thumb = np.asarray(cv2.resize(picture, _SIZE_WH, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = thumb.shape
        middle = np.ascontiguousarray(thumb[height // 4 : -(height // 4), width // 4 : -(width // 4)])
        histogram = np.asarray(cv2.calcHist([picture], [0], None, [32], [0, 256]), np.float32)
        return cls(thumb, middle, histogram, bool(thumb.std() < _PLAIN))

    def shows_the_scene_of(self, other: Glance) -> bool:
        """Whether both may be of one scene."""
        if np.array_equal(self.thumb, other.thumb):
            return True
        if self.plain or other.plain:
            return bool(cv2.absdiff(self.thumb, other.thumb).mean() < _DIFFERENCE)
        if cv2.compareHist(self.histogram, other.histogram, cv2.HISTCMP_CORREL) >= _ALIKE_BRIGHTNESS:
            return True
        return max(_found_in(self.middle, other.thumb), _found_in(other.middle, self.thumb)) >= _ALIKE_CONTENT


def _found_in(middle: Grey, thumb: Grey) -> float:
    """How well the middle of one picture fits where it fits best in another, -1..1, whatever the brightness."""
    return float(cv2.matchTemplate(thumb, middle, cv2.TM_CCOEFF_NORMED).max())


def first_cut(before: Glance, after: Sequence[Glance]) -> int:
    """Where the scene ends for good.

    Args:
        before: of the last picture that is known to belong to the scene.
        after: of the pictures that follow.

    Returns:
        How many of `after` belong to the scene still. A flash does, as the scene is there again behind it.
    """
    last = max((n for n, each in enumerate(after) if each.shows_the_scene_of(before)), default=-1)
    return last + 1
