from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.pipeline.detections import ObjectType
from anonymizer.training.upside_down import upside_down

PLATE = ObjectType.LICENSE_PLATE


def test_pictures_stand_on_their_heads_and_their_labels_with_them(tmp_path: Path) -> None:
    pixels = np.full((60, 100, 3), 90, np.uint8)
    pixels[10:20, 30:70] = (255, 255, 0)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    (tmp_path / "b.png").write_bytes(b"no picture")
    outline = (np.array([[30, 10], [70, 10], [70, 20]], np.float32),)
    objects = Objects(np.array([[30, 10, 70, 20], [0, 0, 5, 5]], np.float32), np.array([False, True]), (outline, None))
    images = [
        LabelledImage(n, tmp_path / f"{each}.png", "mine", (PLATE,), {PLATE: objects}) for n, each in enumerate("ab")
    ]
    whole = LabelledSet(tuple(images))

    (only,) = upside_down(whole, tmp_path / "turned").images

    assert [each.where for each in whole.problems] == [str(tmp_path / "b.png")]
    assert only.labelled == (PLATE,)
    found = only.objects[PLATE]
    assert found.boxes.tolist() == [[30, 40, 70, 50], [95, 55, 100, 60]]
    assert found.ignored.tolist() == [False, True]
    assert found.outlines[0] is not None
    assert found.outlines[0][0].tolist() == [[70, 50], [30, 50], [30, 40]]
    assert found.outlines[1] is None
    x1, y1, x2, y2 = found.boxes[0].astype(int)
    plate = only.pixels()[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].reshape(-1, 3).mean(0)
    assert np.abs(plate - [255, 255, 0]).max() < 20
