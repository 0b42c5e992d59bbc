"""Segment persons with MediaPipe: python selfie_teacher.py CROPS.npy MASKS.npy.

`mask_labels` runs this file in a separate Python environment, because MediaPipe needs other versions than the project.
So this file imports nothing of the project.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np


def segment_persons(crops: np.ndarray) -> np.ndarray:
    """Segment the person in each crop.

    Args:
        crops: (n, h, w, 3) uint8 RGB.

    Returns:
        (n, h, w) uint8, the probability of a person; 255 is certain.
    """
    selfie = importlib.import_module("mediapipe").solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    out = np.empty(crops.shape[:3], np.uint8)
    for n, crop in enumerate(crops):
        out[n] = np.clip(np.rint(selfie.process(crop).segmentation_mask * 255), 0, 255)
        if n % 500 == 0:
            sys.stdout.write(f"segmented {n} of {len(crops)}\n")
            sys.stdout.flush()
    return out


if __name__ == "__main__":
    np.save(sys.argv[2], segment_persons(np.load(sys.argv[1])))
