"""The parameter `regions`: a client's own regions, over a real server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Server


def test_a_client_redacts_its_own_regions_alone(server: Server, data: Path) -> None:
    photo = (data / "images" / "portrait.jpg").read_bytes()
    regions = json.dumps([{"type": "person", "ellipse": [300, 400, 200, 100]}])
    query = f"face=0&license-plate=0&person=0&vehicle=0&method=blacken&regions={regions}"
    task = server.upload(photo, query).json()
    assert task["status"] == "done"
    assert task["detections"] == {"person": 1}
    assert task["object_types"] == []
    result = np.asarray(Image.open(io.BytesIO(server.get(f"/v1/file/{task['id']}/anonymised").content)))
    assert result[390:410, 200:400].max() < 16
    (row,) = server.get(f"/v1/file/{task['id']}/metadata").json()["detections"]
    assert (row["type_label"], row["source"], row["bbox"]) == ("person", "caller", [100, 300, 500, 500])


def test_a_region_without_area_is_refused(server: Server, data: Path) -> None:
    photo = (data / "images" / "portrait.jpg").read_bytes()
    answer = server.upload(photo, 'regions=[{"type":"face","box":[5,5,5,9]}]')
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_parameter"
    assert "regions is" in answer.json()["error"]
    assert "box [x1, y1, x2, y2]" in answer.json()["error"]
