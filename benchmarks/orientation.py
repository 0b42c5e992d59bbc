"""Measure how well objects are found in pictures that lie on their side or upside down, and what looking costs.

    python -m benchmarks.orientation [--data ../shared/data] [--folder models] [--models embedded] [--device cpu]
                                     [--threads 1] [--source fddb masks wider coco-person voc cars] [--limit 30]
                                     [--format auto] [--table recall heads time] [--pictures 8]
                                     [--size 640x480 4000x3000]

It prints Markdown tables:
recall: recall, and false blurs a picture, at the default thresholds, for pictures turned counterclockwise. Each cell
has two figures: with the upright analysis alone (`Engine.detect`), and with turned ones too (`Engine.detect_images`).
heads: share of the found persons with a side of 60 pixels and more (`street-masks`) of whose head more than a tenth
stays bare, if persons alone are asked for. A head is the top 15 % of the outline. The changed area is a share of the
picture.
time: seconds of both for upright pictures of 640 x 480 and of 4000 x 3000 pixels, for all types and for faces. Both run
in turn on the same pictures. The pictures are those of the sources, scaled.
The pictures of a source are spread evenly over it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.metrics.leak_coverage import object_mask
from anonymizer.evaluation.metrics.matching import DetectionCounts, match_detections
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.turned import QUARTERS, turn, turn_back
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.formats import Format, parse_format
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import redaction_regions

SOURCES = ("fddb", "masks", "wider", "coco-person", "voc", "cars")
TABLES = ("recall", "heads", "time")
TURNED = (0, *QUARTERS)
SIZES = {"640x480": (640, 480), "4000x3000": (4000, 3000)}
#: the bars of the issue: recall of faces at a quarter turn, and the time that looking may add
LEAST_RECALL, MOST_TIME = 0.88, 0.15
#: heads: the shorter side of a person in pixels, the head as a share of the height, and how much of it may stay bare
PERSON_PX, HEAD_SHARE, BARE = 60, 0.15, 0.1

#: by object type and quarter turns, the counts of the upright analysis, and of all
Counts = dict[tuple[ObjectType, int], tuple[DetectionCounts, DetectionCounts]]


def spread(images: Sequence[LabelledImage], limit: int) -> list[LabelledImage]:
    """Images at even steps through a list, at most `limit`."""
    return [images[row] for row in np.unique(np.linspace(0, len(images) - 1, min(limit, len(images))).astype(int))]


def count(engine: Engine, images: Sequence[LabelledImage], types: Sequence[ObjectType], form: Format) -> Counts:
    """Detect objects in each image in all orientations, and count hits and false blurs of its labelled types."""
    counts: Counts = {}
    for image in images:
        pixels, labelled = image.pixels(), [each for each in types if each in image.labelled]
        for quarters in TURNED:
            turned, size_hw = turn(pixels, quarters), (pixels.shape[0], pixels.shape[1])
            for row, detect in enumerate((engine.detect, engine.detect_images)):
                found = turn_back(detect([turned], types, form)[0], quarters, size_hw)
                for object_type in labelled:
                    key = object_type, quarters
                    add(counts.setdefault(key, empty(object_type))[row], found, object_type, image.objects[object_type])
    return counts


def empty(object_type: ObjectType) -> tuple[DetectionCounts, DetectionCounts]:
    threshold = Options().threshold(object_type)
    return DetectionCounts(threshold), DetectionCounts(threshold)


def add(counts: DetectionCounts, found: Detections, object_type: ObjectType, objects: Objects) -> None:
    of_type = found.of_type(object_type)
    counts.add(of_type.boxes, of_type.scores, objects)


def print_recall(source: str, counts: Counts) -> None:
    for object_type in dict.fromkeys(object_type for object_type, _ in counts):
        pairs = [counts[object_type, quarters] for quarters in TURNED]
        if not pairs[0][0].objects:
            continue
        cells = [
            f"{before.recall:.3f} {after.recall:.3f} / {before.false_positives:.2f} {after.false_positives:.2f}"
            for before, after in pairs
        ]
        start = f"| {source} | {pairs[0][0].images} | {object_type.words} | {pairs[0][0].objects} |"
        print(start, " | ".join(cells), "|", flush=True)


def faces_at_a_quarter_turn(counts: Sequence[Counts]) -> tuple[float, float]:
    """Recall of faces at one and three quarter turns, all sources together: before and after."""
    hits, objects = np.zeros(2), 0
    for of_source in counts:
        for quarters in (1, 3):
            if pair := of_source.get((ObjectType.FACE, quarters)):
                hits += [each.recall * each.objects for each in pair]
                objects += pair[0].objects
    before, after = hits / max(objects, 1)
    return float(before), float(after)


def measure_recall(
    engine: Engine, val: LabelledSet, types: Sequence[ObjectType], form: Format, given: argparse.Namespace
) -> None:
    print(f"\n{form}, recall / false blurs a picture, each upright alone and with turns, for pictures turned by\n")
    print("| source | pictures | type | objects | 0 | 90 | 180 | 270 |\n" + "|---" * 8 + "|", flush=True)
    counts = []
    for source in given.source:
        counts.append(count(engine, spread(list(val.of([source])), given.limit), types, form))
        print_recall(source, counts[-1])
    if any(ObjectType.FACE is object_type for of_source in counts for object_type, _ in of_source):
        before, after = faces_at_a_quarter_turn(counts)
        reached = "reached" if after >= LEAST_RECALL else "NOT REACHED"
        print(f"\nFaces at 90 and 270: {before:.3f} before, {after:.3f} now; at least {LEAST_RECALL}: {reached}")


def measure_heads(engine: Engine, val: LabelledSet, form: Format, given: argparse.Namespace) -> None:
    images = spread(list(val.of(["street-masks"])), given.limit)
    print(f"\n{form}, {len(images)} pictures of street-masks, persons\n")
    print("| turned by | analysed | found persons | heads bare | changed area |\n" + "|---" * 5 + "|", flush=True)
    for quarters in TURNED:
        for name, detect in (("upright", engine.detect), ("with turns", engine.detect_images)):
            bare, area = [], []
            for image in images:
                turned = turn(image.pixels(), quarters)
                (found,) = detect([turned], [ObjectType.PERSON], form)
                of_image, changed = bare_heads(engine, turned, found, quarters, image)
                bare += of_image
                area.append(changed)
            share = f"{np.mean(np.array(bare) > BARE):.3f}" if bare else "-"
            print(f"| {90 * quarters} | {name} | {len(bare)} | {share} | {np.mean(area):.3f} |", flush=True)


def bare_heads(
    engine: Engine, turned: NDArray[np.uint8], found: Detections, quarters: int, image: LabelledImage
) -> tuple[list[float], float]:
    """The bare share of the head of each found person, and the changed share of a turned picture."""
    size_hw = turned.shape[0], turned.shape[1]
    found = found[found.scores >= Options().threshold(ObjectType.PERSON)]
    found = engine.add_masks(size_hw, lambda: turned, found, np.ones(len(found), bool))
    changed = np.zeros(size_hw, bool)
    for region in redaction_regions(found, size_hw, Options()):
        changed[region.crop] |= region.alpha == 255
    upright = np.rot90(changed, -quarters)
    objects, shares = image.objects[ObjectType.PERSON], []
    boxes = turn_back(found, quarters, (upright.shape[0], upright.shape[1])).boxes
    for row in {row for row in match_detections(boxes, objects) if row is not None}:
        person = object_mask(objects, row, ObjectType.PERSON, (upright.shape[0], upright.shape[1]))
        height, width = person.pixels.shape
        if min(height, width) >= PERSON_PX and not objects.ignored[row]:
            head = person.pixels[: max(1, round(HEAD_SHARE * height))]
            covered = upright[person.y : person.y + len(head), person.x : person.x + width][head]
            shares.append(1 - float(covered.mean()) if covered.size else 0.0)
    return shares, float(changed.mean())


def measure_time(
    engine: Engine, val: LabelledSet, types: Sequence[ObjectType], form: Format, given: argparse.Namespace
) -> None:
    images = [spread(list(val.of([source])), given.pictures) for source in given.source]
    # one of each source in turn
    mixed = [of_source[row] for row in range(given.pictures) for of_source in images if row < len(of_source)]
    chosen = [image.pixels() for image in mixed[: given.pictures]]
    print(f"\n{form}, {len(chosen)} upright pictures, seconds a picture\n")
    print("| size | types | upright alone | with turns | more | at most | |\n" + "|---" * 7 + "|", flush=True)
    for size in given.size:
        scaled = [scale(pixels, SIZES[size]) for pixels in chosen]
        for name, asked in (("all", list(types)), ("face", [ObjectType.FACE])):
            before, after = alternate(engine, scaled, asked, form)
            more = after / before - 1
            bar = "reached" if more <= MOST_TIME else "NOT REACHED"
            print(f"| {size} | {name} | {before:.3f} | {after:.3f} | {more:.3f} | {MOST_TIME} | {bar} |", flush=True)


def scale(pixels: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    how = cv2.INTER_AREA if size_wh[0] < pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=how), np.uint8)


def alternate(
    engine: Engine, images: Sequence[NDArray[np.uint8]], types: Sequence[ObjectType], form: Format
) -> tuple[float, float]:
    """Seconds an image without and with turns. Which one runs first changes from image to image."""
    ways = (engine.detect, engine.detect_images)
    for way in ways:
        way(images[:1], types, form)
    seconds = [0.0, 0.0]
    for number, image in enumerate(images):
        for row in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            ways[row]([image], types, form)
            seconds[row] += time.perf_counter() - started
    return seconds[0] / len(images), seconds[1] / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with val.json and val/")
    parser.add_argument(
        "--folder", type=Path, default=Path("models"), help="the folder with the registry and the models"
    )
    parser.add_argument("--models", default="embedded", help="ids, a profile or TYPE=ID+ID")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; default: 1")
    parser.add_argument("--source", nargs="+", default=SOURCES, help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--limit", type=int, default=30, help="pictures of each source, for recall; default: 30")
    parser.add_argument("--pictures", type=int, default=8, help="pictures for the time; default: 8")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES), help="of the pictures for the time")
    parser.add_argument("--format", default="auto", help="how images are cut into views; default: auto")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    val = LabelledSet.read(given.data / "val.json")
    store, types = named_models(given.models, given.folder, device=given.device)
    engine, form = Anonymizer(store=store).engine, parse_format("--format", given.format)
    if "recall" in given.table:
        measure_recall(engine, val, types, form, given)
    if "heads" in given.table:
        measure_heads(engine, val, form, given)
    if "time" in given.table:
        measure_time(engine, val, types, form, given)


if __name__ == "__main__":
    main()
