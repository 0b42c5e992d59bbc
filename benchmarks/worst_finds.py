"""Show what the models find and miss in pictures of val: thirty pictures, and the worst misses and false finds.

    python -m benchmarks.worst_finds --output FOLDER [--set ../shared/data/val.json] [--models embedded]
                                     [--format whole] [--source S ...] [--limit N] [--cache FILE] [--seed 1]
                                     [--pictures 30] [--worst 10]

It writes contact sheets as PNG files:
pictures-N.png: pictures by chance from all sources, with all finds at the default thresholds, and what was missed.
misses-TYPE.png: missed objects, the largest ones with the lowest scores first, at most one of a picture.
false-TYPE.png: false finds, those of the highest scores first, at most one of a picture.
It prints two Markdown tables of the causes of all misses and of all false finds, by object type and source, and a list
of what the sheets show. The causes are those of TIDE (Bolya et al., ECCV 2020), as `Cause` says.
A find of a type counts only in pictures in which that type is fully labelled.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.matching import MATCH_IOU, match_detections, pairwise_overlaps
from anonymizer.evaluation.metrics.predictions import labelled_types, predict
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.options.formats import Format, parse_format
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.overlay import COLOURS

#: the sources that came with own-3
NEW_SOURCES = ("wider", "masks", "coco-person", "coco", "plates-world", "kitti", "cctv-traffic")
#: a find and an object are in the same place from this IoU on, though the box is not right
NEAR_IOU = 0.1
#: pictures on a sheet, their side in pixels, and the height of their caption
COLUMNS, ROWS, CELL_PX, CAPTION_PX = 3, 2, 480, 22
#: a cell with one object shows this many times its longer side, and at least so many pixels
AROUND, LEAST_PX = 4.0, 96
WHITE, RED, GREY = (255, 255, 255), (255, 0, 0), (150, 150, 150)

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


class Cause(StrEnum):
    """Why an object was missed, or a find is false."""

    #: a right box, but a score under the threshold
    FAINT = "right box, score too low"
    #: a sure find lies on the object with an IoU of .1 to .5
    BOX = "box too inexact"
    #: the box of an object that another find has already
    TWICE = "object found twice"
    #: the box of a labelled object of another type
    OTHER = "object of another type"
    #: nothing at all
    NOTHING = "nothing there"


@dataclass(frozen=True)
class Case:
    """A missed object or a false find.

    Attributes:
        box: (4,) float32 in pixels of the image.
        score: of a false find; of a missed object the highest score of a right box, 0 without one.
    """

    image: LabelledImage
    object_type: ObjectType
    box: Boxes
    score: float
    cause: Cause

    @property
    def side(self) -> float:
        """The shorter side of the box in pixels."""
        return float((self.box[2:] - self.box[:2]).min())

    def __str__(self) -> str:
        width, height = self.box[2:] - self.box[:2]
        return f"{self.image.source} {self.image.path.name} {width:.0f}x{height:.0f} {self.score:.2f} {self.cause}"


def cases(image: LabelledImage, object_type: ObjectType, found: Detections) -> tuple[list[Case], list[Case]]:
    """Judge the finds of one type in an image.

    Args:
        image: with its labels.
        object_type: fully labelled in the image.
        found: of this type, whatever the scores.

    Returns:
        The missed objects, and the false finds at the default threshold.
    """
    threshold, objects = Options().threshold(object_type), image.objects[object_type]
    found = found[np.argsort(-found.scores, kind="stable")]
    sure = found[found.scores >= threshold]
    rows = match_detections(sure.boxes, objects)
    hits = {row for row in rows if row is not None}
    ious, of_sure = (pairwise_overlaps(each.boxes, objects.boxes) for each in (found, sure))
    missed = []
    for row in np.flatnonzero(~objects.ignored):
        if int(row) not in hits:
            score = float(found.scores[ious[:, row] >= MATCH_IOU].max(initial=0))
            near = of_sure[:, row].max(initial=0) >= NEAR_IOU
            cause = Cause.FAINT if score else Cause.BOX if near else Cause.NOTHING
            missed.append(Case(image, object_type, objects.boxes[row], score, cause))
    false = [
        Case(image, object_type, sure.boxes[n], float(sure.scores[n]), _why_false(image, object_type, sure.boxes[n]))
        for n, row in enumerate(rows)
        if row is None
    ]
    return missed, false


def _why_false(image: LabelledImage, object_type: ObjectType, box: Boxes) -> Cause:
    best = {each: pairwise_overlaps(box[None], objects.boxes).max(initial=0) for each, objects in image.objects.items()}
    if best[object_type] >= NEAR_IOU:
        return Cause.TWICE if best[object_type] >= MATCH_IOU else Cause.BOX
    others = [iou for each, iou in best.items() if each != object_type]
    return Cause.OTHER if max(others, default=0) >= MATCH_IOU else Cause.NOTHING


def worst(found: Sequence[Case], count: int, badness: Callable[[Case], float]) -> list[Case]:
    """The worst cases, at most one of an image."""
    chosen: dict[int, Case] = {}
    for case in sorted(found, key=badness, reverse=True):
        chosen.setdefault(case.image.id, case)
    return list(chosen.values())[:count]


def missed_badness(case: Case) -> float:
    """Large objects of low scores are the worst misses."""
    return case.side * (1 - case.score)


def print_causes(title: str, found: Sequence[Case], totals: Counter[tuple[ObjectType, str]]) -> None:
    """Print how many cases have which cause, by object type and source."""
    print(f"\n{title}\n\n| type | source | all | cases | {' | '.join(Cause)} |\n|{'---|' * (4 + len(Cause))}")
    counts = Counter((case.object_type, case.image.source, case.cause) for case in found)
    for object_type, source in sorted(totals, key=lambda key: (key[0].number, key[1])):
        numbers = [counts[object_type, source, cause] for cause in Cause]
        total = totals[object_type, source]
        print(f"| {object_type.words} | {source} | {total} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")


def cell(image: Image, caption: str) -> Image:
    """An image, scaled to fit a cell of a sheet, with a caption below."""
    scale = CELL_PX / max(image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)[:CELL_PX, :CELL_PX]
    canvas = np.zeros((CELL_PX + CAPTION_PX, CELL_PX, 3), np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    cv2.putText(canvas, caption[:80], (3, CELL_PX + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.36, WHITE, 1, cv2.LINE_AA)
    return canvas


def sheets(cells: Sequence[Image]) -> Iterator[Image]:
    """Contact sheets with all cells, row by row."""
    for first in range(0, len(cells), COLUMNS * ROWS):
        of_sheet = list(cells[first : first + COLUMNS * ROWS])
        of_sheet += [np.zeros_like(of_sheet[0])] * (-len(of_sheet) % COLUMNS)
        lines = [np.hstack(of_sheet[at : at + COLUMNS]) for at in range(0, len(of_sheet), COLUMNS)]
        yield np.vstack(lines)


def save(folder: Path, name: str, cells: Sequence[Image]) -> None:
    """Write contact sheets as `NAME-1.png` and so on."""
    for number, sheet in enumerate(sheets(cells), 1):
        cv2.imwrite(str(folder / f"{name}-{number}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def drawn(
    image: LabelledImage, found: Detections, types: Sequence[ObjectType], *, around: Boxes | None = None
) -> Image:
    """An image with finds in the colour of their type, labels in white, misses in red and ignored objects in grey.

    Args:
        image: with its labels.
        found: at or above the thresholds.
        types: what is drawn.
        around: (4,) the part that is shown; default: all.
    """
    pixels = image.pixels()
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = (0, 0, width, height) if around is None else around.round().astype(int)
    part = pixels[max(0, y1) : y2, max(0, x1) : x2]
    scale = CELL_PX / max(part.shape[:2])
    out = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)

    def box(corners: Boxes, colour: tuple[int, int, int], thick: int) -> tuple[int, int]:
        at = ((corners - np.array([max(0, x1), max(0, y1)] * 2)) * scale).round().astype(int).tolist()
        cv2.rectangle(out, tuple(at[:2]), tuple(at[2:]), colour, thick)
        return max(0, at[0]), max(10, at[1] - 2)

    for object_type in types:
        of_type, objects = found.of_type(object_type), image.objects[object_type]
        hits = set(match_detections(of_type.boxes, objects))
        if object_type in image.labelled:
            for row, corners in enumerate(objects.boxes):
                ignored = bool(objects.ignored[row])
                box(corners, GREY if ignored else WHITE if row in hits else RED, 1 if row in hits or ignored else 2)
        for corners, score in zip(of_type.boxes, of_type.scores, strict=True):
            at = box(corners, COLOURS[object_type], 2)
            cv2.putText(out, f"{score:.2f}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, COLOURS[object_type], 1, cv2.LINE_AA)
    return out


def case_cell(case: Case, found: Detections) -> Image:
    """The surroundings of a case: the case in red (a missed object) or in its colour, beside labels and other finds."""
    centre = (case.box[:2] + case.box[2:]) / 2
    half = max(AROUND * float((case.box[2:] - case.box[:2]).max()), LEAST_PX) / 2
    around = np.concatenate([centre - half, centre + half]).astype(np.float32)
    return cell(drawn(case.image, found, [case.object_type], around=around), str(case))


def print_pictures(
    anonymizer: Anonymizer, types: Sequence[ObjectType], images: Sequence[LabelledImage], form: Format, folder: Path
) -> None:
    """Write the sheets of whole pictures."""
    cells = []
    for image in images:
        (found,) = anonymizer.detect([image.pixels()], types, form)
        limits = np.array([Options().threshold(each) for each in OBJECT_TYPES])
        sure = found[found.scores >= limits[found.types]]
        cells.append(cell(drawn(image, sure, types), f"{image.source} {image.path.name} {', '.join(image.labelled)}"))
    save(folder, "pictures", cells)


def some(images: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """Images by chance, as many of each source."""
    chance, chosen = np.random.default_rng(seed), list[LabelledImage]()
    by_source = [[image for image in images if image.source == source] for source in {i.source: 0 for i in images}]
    orders = [chance.permutation(len(of_source)) for of_source in by_source]
    for turn in range(max(map(len, by_source), default=0)):
        chosen += [each[order[turn]] for each, order in zip(by_source, orders, strict=True) if turn < len(each)]
    return sorted(chosen[:count], key=lambda image: image.source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the sheets; it is created")
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--models", default="embedded", help="ids, a profile or TYPE=ID+ID")
    parser.add_argument("--folder", type=Path, help="of the models; default: the installed ones")
    parser.add_argument("--format", default="whole", help="how images are cut into views; default: whole")
    parser.add_argument("--source", nargs="+", default=NEW_SOURCES, help=f"default: {' '.join(NEW_SOURCES)}")
    parser.add_argument("--limit", type=int, help="the most images of each source; default: all")
    parser.add_argument("--cache", type=Path, help="SQLite file of the detections; default: the user's cache")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=30, help="default: 30")
    parser.add_argument("--worst", type=int, default=10, help="of each type; default: 10")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    given.output.mkdir(parents=True, exist_ok=True)
    images = list(LabelledSet.read(given.set).of(given.source, given.limit))
    store, served = named_models(given.models, given.folder)
    anonymizer, form = Anonymizer(store=store), parse_format("--format", given.format)
    types = [object_type for object_type in labelled_types(images) if object_type in served]
    print_pictures(anonymizer, types, some(images, given.pictures, given.seed), form, given.output)
    predictions = predict(
        images, anonymizer, types, form, cache=DetectionCache(given.cache), problems=Problems(strict=True)
    )
    missed, false = list[Case](), list[Case]()
    objects, pictures = Counter[tuple[ObjectType, str]](), Counter[tuple[ObjectType, str]]()
    for object_type, of_images in predictions.detections.items():
        for index, entry in of_images.items():
            image = images[index]
            of_image = cases(image, object_type, entry.detections)
            missed, false = missed + of_image[0], false + of_image[1]
            pictures[object_type, image.source] += 1
            objects[object_type, image.source] += int((~image.objects[object_type].ignored).sum())
    print_causes("Missed objects by cause (all: objects):", missed, objects)
    print_causes("False finds by cause (all: pictures):", false, pictures)
    entries = {
        (object_type, images[index].id): entry.detections
        for object_type, of_images in predictions.detections.items()
        for index, entry in of_images.items()
    }
    for name, all_cases, badness in (("misses", missed, missed_badness), ("false", false, lambda case: case.score)):
        for object_type in types:
            of_type = [case for case in all_cases if case.object_type == object_type]
            chosen = worst(of_type, given.worst, badness)
            print(f"\n{name}, {object_type}:\n" + "\n".join(f"- {case}" for case in chosen))
            limit = Options().threshold(object_type)
            finds = [entries[object_type, case.image.id] for case in chosen]
            cells = [case_cell(case, found[found.scores >= limit]) for case, found in zip(chosen, finds, strict=True)]
            if cells:
                save(given.output, f"{name}-{object_type}", cells)


if __name__ == "__main__":
    main()
