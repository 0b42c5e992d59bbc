"""Asks MediaPipe's selfie segmentation for the persons in pieces: PIECES.npy ANSWERS.npy.

Run by `mask_labels` with a Python that has MediaPipe, which does not go with the versions that the project needs: this
file imports nothing of the project.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np


def answers(pieces: np.ndarray) -> np.ndarray:
    """(n, h, w) uint8, 255 = surely a person, for pieces (n, h, w, 3) uint8 RGB."""
    selfie = importlib.import_module("mediapipe").solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    out = np.empty(pieces.shape[:3], np.uint8)
    for n, piece in enumerate(pieces):
        out[n] = np.clip(np.rint(selfie.process(piece).segmentation_mask * 255), 0, 255)
        if n % 500 == 0:
            sys.stdout.write(f"taught {n} of {len(pieces)}\n")
            sys.stdout.flush()
    return out


if __name__ == "__main__":
    np.save(sys.argv[2], answers(np.load(sys.argv[1])))
