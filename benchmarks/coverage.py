"""Measure how much of the found objects stays bare, by object type, data set and margin.

    python -m benchmarks.coverage [--set ../shared/data/val.json] [--margins 0.1 0.2 0.3] [--format auto] [--limit N]

An object is found if a detection at or above the default threshold overlaps its labelled box by half or more
(intersection over union). It is bare if more than a tenth of its pixels are not fully redacted. Persons and vehicles
count only where an outline is labelled. The first table shows for each margin the share of bare objects in percent, and
how many pixels the object's own detection changes, as a multiple of the object's. The second table shows the heads of
found persons: the pixels of the outline in the upper 15 % of its height.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE, object_mask
from anonymizer.evaluation.metrics.matching import MATCH_IOU, pairwise_overlaps
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Mask, ObjectType
from anonymizer.pipeline.options.formats import Format, parse_format
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

SOURCES = ("fddb", "wider", "masks", "anpr", "dashcam", "cars", "plates-world", "street-masks", "coco")
MARGINS = (0.1, 0.15, 0.2, 0.25, 0.3)
#: of an outline's height, from its top
HEAD = 0.15
#: height of the persons whose heads count, in pixels
_PERSON_PX = 60
_OUTLINED = (ObjectType.PERSON, ObjectType.VEHICLE)


@dataclass(frozen=True)
class FoundObjects:
    """The found objects of one type in one image.

    Attributes:
        source: the data set.
        size_hw: height and width of the image in pixels.
        masks: the pixels of each object.
        rows: for each object, the row of its detection.
        detections: those of the type that are redacted.
    """

    source: str
    size_hw: tuple[int, int]
    masks: tuple[Mask, ...]
    rows: tuple[int, ...]
    detections: Detections

    def bare_and_changed(self, options: Options) -> Iterator[tuple[float, float]]:
        """For each object, the bare share of it, and the pixels that its own detection changes over its own pixels."""
        regions = redaction_regions(self.detections, self.size_hw, options)
        of_row = {region.row: region for region in regions}
        covered = self._covered(regions)
        for mask, row in zip(self.masks, self.rows, strict=True):
            changed = int((of_row[row].alpha > 0).sum()) if row in of_row else 0
            yield _bare(mask, covered), changed / int(mask.pixels.sum())

    def bare_heads(self, options: Options) -> Iterator[float]:
        """The bare share of each head."""
        covered = self._covered(redaction_regions(self.detections, self.size_hw, options))
        for mask in self.masks:
            rows = np.flatnonzero(mask.pixels.any(axis=1))
            height = int(rows[-1] - rows[0]) + 1
            if height >= _PERSON_PX:
                top = mask.pixels[rows[0] : rows[0] + round(HEAD * height)]
                yield _bare(Mask(mask.x, mask.y + int(rows[0]), top), covered)

    def _covered(self, regions: Iterable[RedactionRegion]) -> NDArray[np.bool_]:
        covered = np.zeros(self.size_hw, bool)
        for region in regions:
            covered[region.crop] |= region.alpha == 255
        return covered


def _bare(mask: Mask, covered: NDArray[np.bool_]) -> float:
    height, width = mask.pixels.shape
    return float((~covered[mask.y : mask.y + height, mask.x : mask.x + width])[mask.pixels].mean())


def find_objects(
    images: Iterable[LabelledImage], anonymizer: Anonymizer, form: Format
) -> dict[ObjectType, list[FoundObjects]]:
    """Detect, add masks, and match to the labels."""
    found = defaultdict[ObjectType, list[FoundObjects]](list)
    for image in tqdm(list(images), unit="image"):
        pixels = image.pixels()
        size_hw = (pixels.shape[0], pixels.shape[1])
        types = [object_type for object_type in OBJECT_TYPES if object_type in image.labelled]
        (detections,) = anonymizer.engine.detect([pixels], types, form)
        thresholds = np.array([Options().threshold(object_type) for object_type in OBJECT_TYPES])
        detections = detections[detections.scores >= thresholds[detections.types]]
        over = np.ones(len(detections), bool)
        detections = anonymizer.engine.add_masks(size_hw, lambda pixels=pixels: pixels, detections, over)
        for object_type in types:
            of_image = _match(image.objects[object_type], detections.of_type(object_type), object_type, size_hw)
            found[object_type].append(replace(of_image, source=image.source))
    return dict(found)


def _match(objects: Objects, detections: Detections, object_type: ObjectType, size_hw: tuple[int, int]) -> FoundObjects:
    masks, rows = [], []
    if len(objects.boxes) and len(detections):
        overlaps = pairwise_overlaps(objects.boxes, detections.boxes)
        for row in np.flatnonzero(~objects.ignored & (overlaps.max(axis=1) >= MATCH_IOU)):
            has_outline = bool(objects.outlines) and objects.outlines[row] is not None
            if has_outline or object_type not in _OUTLINED:
                masks.append(object_mask(objects, int(row), object_type, size_hw))
                rows.append(int(overlaps[row].argmax()))
    return FoundObjects("", size_hw, tuple(masks), tuple(rows), detections)


def margin_table(found: dict[ObjectType, list[FoundObjects]], margins: Sequence[float]) -> str:
    """Format in Markdown: bare objects in percent, and the changed area, by type, source and margin."""
    columns = [*(f"{margin:g}" for margin in margins), "default"]
    every_options = [*(Options(margin=margin) for margin in margins), Options()]
    lines = [f"| type | source | found | {' | '.join(columns)} |", "|" + "---|" * (3 + len(columns))]
    for object_type, of_type in found.items():
        by_source = defaultdict[str, list[FoundObjects]](list)
        for each in of_type:
            by_source[each.source].append(each)
        for source, group in by_source.items():
            count = sum(len(each.masks) for each in group)
            if count:
                cells = [_margin_cell(group, options) for options in every_options]
                lines.append(f"| {object_type.words} | {source} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _margin_cell(group: Sequence[FoundObjects], options: Options) -> str:
    bare, changed = np.array([pair for each in group for pair in each.bare_and_changed(options)]).T
    return f"{100 * (bare > VISIBLE).mean():.1f} / {changed.mean():.2f}"


def head_table(persons: Sequence[FoundObjects]) -> str:
    """Format in Markdown: the heads of found persons with more than a tenth bare, in percent."""
    lines = ["| source | found persons | outlines | boxes |", "|---|---|---|---|"]
    for source in dict.fromkeys(each.source for each in persons):
        cells = []
        for options in (Options(), Options(bbox=True)):
            bare = [share for each in persons if each.source == source for share in each.bare_heads(options)]
            cells.append(f"{100 * np.mean(np.array(bare) > VISIBLE):.1f}" if bare else "-")
        if bare:
            lines.append(f"| {source} | {len(bare)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path("../shared/data/val.json"), help="a labelled set")
    parser.add_argument("--source", nargs="+", default=SOURCES, help=f"data sets; default: {' '.join(SOURCES)}")
    parser.add_argument("--margins", nargs="+", type=float, default=MARGINS, help="default: 0.1 0.15 0.2 0.25 0.3")
    parser.add_argument("--format", default="auto", help="how images are cut into views; default: auto")
    parser.add_argument("--limit", type=int, help="the most images of each source; default: all")
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    images = LabelledSet.read(given.set).of(given.source, given.limit)
    found = find_objects(images, Anonymizer(), parse_format("--format", given.format))
    print(f"Bare objects in percent / changed area, by margin ({given.format})\n\n{margin_table(found, given.margins)}")
    print(f"\nBare heads in percent\n\n{head_table(found.get(ObjectType.PERSON, []))}")


if __name__ == "__main__":
    main()
