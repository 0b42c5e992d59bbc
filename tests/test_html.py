"""Pieces of HTML for notebooks."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np

from anonymizer._html import html_images, html_table


def test_a_table_has_headings_rows_and_escaped_texts() -> None:
    html = html_table(["<a>", "b"], [["<x>", 0.12345], [None, 7]], title="A & B", note="... 3 more")
    assert html.count("<tr>") == 3
    assert "<th>&lt;a&gt;</th>" in html
    assert "<td>&lt;x&gt;</td>" in html
    assert ">0.123</td>" in html
    assert "<td></td>" in html
    assert "<caption>A &amp; B</caption>" in html
    assert html.endswith("<p>... 3 more</p>")


def test_images_lie_side_by_side_within_1000_pixels() -> None:
    html = html_images([("<before>", np.zeros((900, 3000, 3), np.uint8)), ("after", np.zeros((3000, 90, 3), np.uint8))])
    sizes = [
        cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR).shape[:2]
        for data in re.findall(r"base64,([^\"]+)\"", html)
    ]
    assert len(sizes) == 2
    assert sum(width for _, width in sizes) <= 1000
    assert all(height <= 500 for height, _ in sizes)
    assert "&lt;before&gt;" in html


def test_small_images_keep_their_size_and_their_colours() -> None:
    red = np.full((8, 9, 3), (255, 0, 0), np.uint8)
    (data,) = re.findall(r"base64,([^\"]+)\"", html_images([("red", red)]))
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (8, 9, 3)
    assert image[4, 4, 2] > 200 > image[4, 4, 0]
