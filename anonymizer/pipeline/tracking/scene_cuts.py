"""Camera cuts, told apart from flashes and pans by comparing small grey images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SceneSignature", "count_frames_before_cut"]

Grey = NDArray[np.uint8]

#: Width and height of the thumbnails that are compared. A pan may move by up to a quarter of them per frame.
_SIZE_WH = (48, 32)
#: Two images of one scene are alike in content, even if shifted, or in brightness. On our test clips, the smallest
#: values for neighbours within a clip, and 5 %, median and 95 % for frames of different clips:
#:                  within    across
#:     content      >= .82    .38 .56 .76
#:     brightness   >= .73    -.08 .27 .69
#: At 2.5 frames per second the fastest pan of a drone counts as a cut.
_MIN_CONTENT, _MIN_BRIGHTNESS = 0.78, 0.85
#: standard deviation in grey values of an image without content: black, or a flash
_FEATURELESS = 2.0
#: mean difference in grey values between an image without content and one of another scene
_MAX_DIFFERENCE = 18.0


@dataclass(frozen=True, slots=True)
class SceneSignature:
    """The few values of an image that are compared to tell whether two frames show one scene.

    Attributes:
        thumbnail: (32, 48) uint8 grey.
        centre: (16, 24) uint8, the middle of the thumbnail, which is searched for in other thumbnails.
        histogram: (32, 1) float32, counts of grey values.
        featureless: whether the image has no content, as a black or white frame.
    """

    thumbnail: Grey
    centre: Grey
    histogram: NDArray[np.float32]
    featureless: bool

    @classmethod
    def of(cls, image: Grey) -> SceneSignature:
        """Compute the signature of an (h, w) uint8 grey image."""
        thumbnail = np.asarray(cv2.resize(image, _SIZE_WH, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = thumbnail.shape
        centre = np.ascontiguousarray(thumbnail[height // 4 : -(height // 4), width // 4 : -(width // 4)])
        histogram = np.asarray(cv2.calcHist([image], [0], None, [32], [0, 256]), np.float32)
        return cls(thumbnail, centre, histogram, bool(thumbnail.std() < _FEATURELESS))

    def shows_same_scene(self, other: SceneSignature) -> bool:
        """Whether both images may show one scene.

        They do if their histograms correlate, or if the centre of one is found in the other by normalised
        cross-correlation, wherever it has moved.
        """
        if np.array_equal(self.thumbnail, other.thumbnail):
            return True
        if self.featureless or other.featureless:
            return bool(cv2.absdiff(self.thumbnail, other.thumbnail).mean() < _MAX_DIFFERENCE)
        if cv2.compareHist(self.histogram, other.histogram, cv2.HISTCMP_CORREL) >= _MIN_BRIGHTNESS:
            return True
        best = max(_match_template(self.centre, other.thumbnail), _match_template(other.centre, self.thumbnail))
        return best >= _MIN_CONTENT


def _match_template(centre: Grey, thumbnail: Grey) -> float:
    """Normalised cross-correlation, -1..1, where a centre fits best in a thumbnail; brightness does not matter."""
    return float(cv2.matchTemplate(thumbnail, centre, cv2.TM_CCOEFF_NORMED).max())


def count_frames_before_cut(last: SceneSignature, following: Sequence[SceneSignature]) -> int:
    """Count the frames that still belong to a scene. Others belong to it too if the scene is seen again after them.

    Args:
        last: of the last frame that is known to belong to the scene.
        following: of the frames after it, in order.

    Returns:
        How many of `following` belong to the scene: 0 if it ends at once, all of them if there is no cut.
    """
    # from the end: whatever lies between does not count
    return next((n for n in range(len(following), 0, -1) if following[n - 1].shows_same_scene(last)), 0)
