"""Measure what the option `verify` costs, what it finds, and what it blurs needlessly.

    python -m benchmarks.verification [--set ../shared/data/val.json] [--number 60] [--part 1/2]

Images are taken evenly from all sources of the set. An object is missed if no detection at or above its threshold
overlaps it by half or more (intersection over union), and less than half of its box is redacted. It is found if a new
find overlaps it by half. A new find is false if its type is fully labelled in the image and it overlaps no labelled
object by 0.3 or more, nor lies half inside an ignored one.

The second table is about the proof: how much detail of the original is left (`RegionDifference.left`), in regions that
are rightly redacted and in the same regions of a file in which nothing was redacted, at falling qualities.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.verify import Verify
from anonymizer.pipeline.proof.differences import MAX_LEFT, channels, compare_regions
from anonymizer.pipeline.results import ImageResult
from anonymizer.pipeline.tracking.boxes import ious

#: qualities of JPEG in which files without any redaction are written
QUALITIES = (90, 60, 30)


@dataclass
class Sums:
    """What all images together show."""

    images: int = 0
    plain_s: float = 0.0
    verified_s: float = 0.0
    missed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    left: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))


def chosen_images(labels: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Images of all sources in turn, evenly spaced in each."""
    by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in labels["images"]:
        if image["labelled"]:
            by_source[image["source"]].append(image)
    each = -(-number // len(by_source))
    return [image for images in by_source.values() for image in images[:: max(len(images) // each, 1)][:each]][:number]


def count_finds(sums: Sums, image: dict[str, Any], rows: list[dict[str, Any]], result: ImageResult) -> None:
    """Compare the objects of one image with what verification added."""
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)], np.float32).reshape(-1, 4)
    names = [list(ObjectType)[row["category_id"] - 1].value for row in rows]
    ignored = np.array([bool(row.get("ignore") or row.get("iscrowd")) for row in rows], bool)
    added = result.detections[result.detections.sources == "verification"]
    first = result.detections[result.detections.sources == "detector"]
    redacted = result.binary_mask > 0
    for box, name, skip in zip(boxes, names, ignored, strict=True):
        if skip or name not in image["labelled"]:
            continue
        of_type = first.of_type(ObjectType(name))
        if len(of_type) and ious(box, of_type.boxes).max() >= 0.5:
            continue
        x1, y1, x2, y2 = np.rint(box).astype(int)
        later = added.of_type(ObjectType(name))
        hit = bool(len(later) and ious(box, later.boxes).max() >= 0.5)
        if hit or not redacted[y1:y2, x1:x2].size or redacted[y1:y2, x1:x2].mean() < 0.5:
            sums.missed[name] += 1
            sums.found[name] += hit
    for found in added:
        name = found.object_type.value
        own = np.array([other == name for other in names], bool)
        near = ious(np.array(found.box, np.float32), boxes[own]) if own.any() else np.zeros(1)
        if name not in image["labelled"] or _inside(found.box, boxes[ignored & own]) >= 0.5:
            sums.unknown[name] += 1
        elif near.max() < 0.3:
            sums.false[name] += 1


def _inside(box: tuple[float, ...], others: NDArray[np.float32]) -> float:
    """The largest share of a box that lies in one of the others."""
    if not len(others):
        return 0.0
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    area = max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
    return float(np.clip(high - low, 0, None).prod(axis=1).max() / area)


def compare_proof(sums: Sums, path: Path, result: ImageResult) -> None:
    """Measure the regions of one image, in its own result and in files in which they are bare."""
    if not result.regions:
        return
    original = channels(result.picture)
    shown = {"redacted": load_picture(result.encode())}
    for quality in QUALITIES:
        file = io.BytesIO()
        Image.fromarray(result.picture.rgb()).save(file, "JPEG", quality=quality)
        shown[f"bare q{quality}"] = load_picture(file.getvalue())
    for name, picture in shown.items():
        sums.left[name] += [each.left for each in compare_regions(original, channels(picture), result.regions)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"))
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--part", default="1/1", help="which part of the images, such as 1/2")
    given = parser.parse_args()
    labels = json.loads(given.set.read_text())
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in labels["annotations"]:
        rows[row["image_id"]].append(row)
    part, parts = (int(word) for word in given.part.split("/"))
    anonymizer, sums, options = Anonymizer(device="cpu"), Sums(), Options()
    for image in chosen_images(labels, given.number)[part - 1 :: parts]:
        path = given.set.with_suffix("") / image["file_name"]
        begun = time.perf_counter()
        plain = anonymizer.image(path, options)
        plain.encode()
        between = time.perf_counter()
        result = anonymizer.verify(replace(plain, options=replace(options, verify=Verify.TRUE)))
        sums.images += 1
        sums.plain_s += between - begun
        sums.verified_s += time.perf_counter() - between
        count_finds(sums, image, rows[image["id"]], result)
        compare_proof(sums, path, result)
    print(
        f"{sums.images} images, {sums.plain_s:.1f} s without, {sums.plain_s + sums.verified_s:.1f} s with verify:",
        end=" ",
    )
    print(f"{(sums.plain_s + sums.verified_s) / sums.plain_s:.2f} times")
    print("type            missed  found later  false  not labelled")
    for name in ObjectType:
        figures = sums.missed[name], sums.found[name], sums.false[name], sums.unknown[name]
        print(f"{name:15} {figures[0]:6} {figures[1]:12} {figures[2]:6} {figures[3]:13}")
    for shown, values in sums.left.items():
        judged = np.array([value for value in values if value is not None] or [np.nan])
        shares = " ".join(f"{np.quantile(judged, q):.2f}" for q in (0, 0.01, 0.05, 0.5, 0.95, 0.99, 1))
        flat, over = values.count(None), float((judged > MAX_LEFT).mean())
        print(f"{shown:10} {len(values)} regions, {flat} flat, over the limit {over:.1%}; {shares}")


if __name__ == "__main__":
    main()
