"""Measure how strong redaction is at any size, which attacks it withstands, and how long it takes.

    python -m benchmarks.redaction [PART ...] [--patterns 24] [--runs 5] [--kernel-size K] [--bbox]
                                   [--plates 200] [--faces 200] [--setting TEXT] [--data ../shared/data]

Each part prints a table; default: all of them.

cost, planes: milliseconds in RGB images, and in the planes of video frames.
strength: the correlation between an object and what is left of it. 0 = nothing is left, 1 = untouched. The object is
a pattern of 16 x 16 random grey cells, drawn at n pixels. The table shows the mean over patterns and the highest value.
This shows whether strength depends on resolution; it is no test of re-identification.
plates: a ranking attack on license plates, see `anonymizer.evaluation.attacks.plates`.
faces: faces of FDDB found again by averages of redacted pictures, see `...attacks.faces`.
edges: a soft edge undone as if it were a mixture with the original, see `...attacks.edges`.
nested: what is left of an object that lies in another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from anonymizer.evaluation.attacks.edges import edge_recovery
from anonymizer.evaluation.attacks.faces import face_linkage
from anonymizer.evaluation.attacks.plates import BLACK_INK, RED_INK, PlateAttack
from anonymizer.evaluation.attacks.redactions import Redaction, in_frames, in_two_boxes, with_cells, with_options
from anonymizer.evaluation.metrics.redaction_strength import Cutout, detections_of_type, random_pattern, similarity
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.options.options import Method, Options, PlateFill
from anonymizer.pipeline.redaction.effects import blend, redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, redact_planes

SIZES = (48, 96, 192, 384, 768)
METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)
PLATE, FACE, PERSON, VEHICLE = ObjectType.LICENSE_PLATE, ObjectType.FACE, ObjectType.PERSON, ObjectType.VEHICLE


def strength(patterns: int, *, bbox: bool, kernel_size: float | None) -> None:
    print(f"\nCorrelation, mean (highest) of {patterns} patterns, {'boxes' if bbox else 'shapes'}")
    print(f"{'method':<10}{'type':<15}" + "".join(f"{f'{size} px':>13}" for size in SIZES))
    for method in METHODS:
        for object_type in OBJECT_TYPES:
            strength_of = {} if kernel_size is None else {f"kernel-size-{object_type}": kernel_size}
            options, _ = Options.from_params({"method": method, "bbox": bbox, **strength_of})
            cells = []
            for size in SIZES:
                values = [
                    random_pattern(size, object_type, seed).remaining_similarity(options, seed=seed)
                    for seed in range(patterns)
                ]
                cells.append(f"{statistics.mean(values):.2f} ({max(values):.2f})")
            print(f"{method:<10}{object_type:<15}" + "".join(f"{cell:>13}" for cell in cells))


def cost(runs: int) -> None:
    """Print the time for one large box, and for many small ones."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (3400, 4400, 3), np.uint8)
    corners = rng.uniform(0, 3300, (1000, 2)).astype(np.float32)
    layouts = {
        "1 face of 4000 x 3000": detections_of_type(np.array([[200, 200, 4200, 3200]], np.float32), ObjectType.FACE),
        "1 vehicle of 4000 x 3000": detections_of_type(
            np.array([[200, 200, 4200, 3200]], np.float32), ObjectType.VEHICLE
        ),
        "1000 faces of 24 x 30": detections_of_type(
            np.hstack([corners, corners + np.array([24, 30], np.float32)]), ObjectType.FACE
        ),
    }
    print(f"\nMilliseconds, median of {runs} runs, 15 megapixel RGB; the rest is without the copy of the picture")
    options = Options(method=Method.DETECT)
    copying = median_ms(lambda: redact(picture, [], options, seed=0), runs)
    print(f"{'copy':<28}{'':<10}{copying:>10.1f}")
    print(f"{'objects':<28}{'method':<10}{'redact':>10}{'shapes':>10}{'megapixels':>12}{'ms/megapixel':>14}")
    for name, objects in layouts.items():
        for method in METHODS:
            options = Options(method=method)
            found = redaction_regions(objects, picture.shape[:2], options)
            area = sum(int((shape.alpha > 0).sum()) for shape in found) / 1e6
            finding = median_ms(lambda: redaction_regions(objects, picture.shape[:2], options), runs)  # noqa: B023
            total = median_ms(lambda: redact(picture, found, options, seed=0), runs) - copying  # noqa: B023
            print(f"{name:<28}{method:<10}{total:>10.1f}{finding:>10.1f}{area:>12.2f}{(total + finding) / area:>14.1f}")


def planes(runs: int) -> None:
    """Print the time for a frame of 1920 x 1080, 4:2:0, redacted in its planes on one core."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (1880, 1030), (50, 2)).astype(np.float32)
    layouts = {
        "1 face of 300 x 400": detections_of_type(np.array([[300, 300, 600, 700]], np.float32), ObjectType.FACE),
        "50 faces of 30 x 40": detections_of_type(
            np.hstack([corners, corners + np.array([30, 40], np.float32)]), ObjectType.FACE
        ),
    }
    print(f"\nMilliseconds in the planes of a frame, median of {runs * 3} runs; turned: orientation 6")
    print(f"{'objects':<28}{'method':<10}{'8 bits':>10}{'turned':>10}{'10 bits':>10}{'turned':>10}")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    for name, objects in layouts.items():
        for method in METHODS:
            options = Options(method=method)
            found = redaction_regions(objects, (1080, 1920), options)
            times = []
            for depth in (8, 10):
                form = PlaneFormat(depth, (1, 1), "yuv", full_range=False)
                dtype = np.uint8 if depth == 8 else np.uint16
                frame = [
                    rng.integers(0, form.max_value, size, dtype) for size in ((1080, 1920), (540, 960), (540, 960))
                ]
                turned = [np.ascontiguousarray(np.rot90(plane)) for plane in frame]
                for stored, orientation in ((frame, 1), (turned, 6)):
                    work = partial(redact_planes, stored, form, found, range(len(found)), options, orientation)
                    times.append(median_ms(work, runs * 3))
            print(f"{name:<28}{method:<10}" + "".join(f"{each:>10.2f}" for each in times))
    cv2.setNumThreads(threads)


def plates(trials: int, setting: str) -> None:
    """Print how well an attacker ranks the true plate among 1,001, and reads it."""
    own = Options(method=Method.PIXELATE, plate_fill=PlateFill.PLATE)
    attacked: dict[str, tuple[Redaction, bool, tuple[float, float, float]]] = {
        "two cells, as before": (with_cells(2, PLATE), False, BLACK_INK),
        "two cells, frames of a track": (with_cells(2, PLATE), True, BLACK_INK),
        "plate-fill=plate": (with_options(own, PLATE), False, BLACK_INK),
        "plate-fill=plate, red ink": (with_options(own, PLATE), False, RED_INK),
        "plate-fill=plate, frames": (in_frames(own, PLATE), True, BLACK_INK),
        "default, blur": (with_options(Options(), PLATE), False, BLACK_INK),
        "default, pixelate": (with_options(Options(method=Method.PIXELATE), PLATE), False, BLACK_INK),
        "default, red ink": (with_options(Options(), PLATE), False, RED_INK),
        "default, frames": (in_frames(Options(), PLATE), True, BLACK_INK),
        "default, two boxes on a plate": (in_two_boxes(Options(), PLATE), False, BLACK_INK),
        "default, within a vehicle": (with_options(Options(), PLATE, within=VEHICLE), False, BLACK_INK),
        "blacken": (with_options(Options(method=Method.BLACKEN), PLATE), False, BLACK_INK),
    }
    print(f"\nPlates: {trials} plates; the true one among 1,001 by the evidence of the pictures, 95 % interval")
    print(
        "By chance: rank .50 of all, first .001, characters .030. Signal: the most that a character changes, in noise."
    )
    print(f"{'setting':<30}{'pictures':>9}{'rank of all':>22}{'first':>8}{'characters':>12}{'signal':>8}  at chance")
    for name, (redaction, same_noise, ink) in attacked.items():
        for pictures in (1, 30) if setting in name else ():
            attack = PlateAttack(redaction, pictures=pictures, same_noise=same_noise, ink_rgb=ink)
            readings = [attack.reading(seed=seed) for seed in range(trials)]
            shares = np.array([reading.share for reading in readings])
            mean, half = shares.mean(), 1.96 * shares.std(ddof=1) / np.sqrt(trials)
            first = np.mean([reading.rank == 1 for reading in readings])
            characters = np.mean([reading.characters for reading in readings])
            interval = f"{mean:.3f} ({max(mean - half, 0):.3f}-{mean + half:.3f})"
            print(
                f"{name:<30}{pictures:>9}{interval:>22}{first:>8.3f}{characters:>12.3f}{attack.signal:>8.2f}"
                f"  {'yes' if abs(mean - 0.5) <= half else 'no'}",
                flush=True,
            )


def faces(count: int, data: Path, setting: str) -> None:
    """Print how often the average of redacted pictures finds the original of a face."""
    found = fddb_faces(data, count)
    n = len(found)
    attacked = {
        "six cells": with_cells(6, FACE),
        "pixelate": with_options(Options(method=Method.PIXELATE), FACE),
        "blur": with_options(Options(), FACE),
        "blur, kernel-size 1": with_options(Options(kernel_size_face=1), FACE),
        "blacken": with_options(Options(method=Method.BLACKEN), FACE),
    }
    print(f"\nFaces: {n} of FDDB; the true original by the average of redacted pictures, made from that very photo")
    print(f"By chance: mean rank {(n + 1) / 2:.1f}, first {1 / n:.3f}. The last column has log10 of first by chance.")
    print(f"{'setting':<30}{'pictures':>9}{'mean rank':>11}{'first':>8}{'orders of magnitude':>21}")
    for name, redaction in attacked.items():
        for pictures in (1, 30) if setting in name else ():
            ranks = face_linkage(found, redaction, pictures=pictures)
            first = float((ranks == 1).mean())
            orders = f"{np.log10(first * n):.1f}" if first else "-"
            print(f"{name:<30}{pictures:>9}{ranks.mean():>11.1f}{first:>8.3f}{orders:>21}", flush=True)


def fddb_faces(data: Path, count: int, short_side: int = 64) -> list[Cutout]:
    """Faces of at least this shorter side in pixels, scaled to it; as many from all over the set."""
    labels = json.loads((data / "val.json").read_text())
    pictures = {picture["id"]: picture for picture in labels["images"] if picture["source"] == "fddb"}
    usable = [
        label
        for label in labels["annotations"]
        if label["image_id"] in pictures and label["category_id"] == 1 and not label.get("ignore")
        and min(label["bbox"][2:]) >= short_side
    ]  # fmt: skip
    out = []
    for label in usable[:count]:
        pixels = cv2.imread(str(data / "val" / pictures[label["image_id"]]["file_name"]))
        if pixels is None:
            raise FileNotFoundError(f"{pictures[label['image_id']]['file_name']} cannot be read")
        x, y, width, height = label["bbox"]
        box = np.array([x, y, x + width, y + height], np.float32)
        rgb = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
        out.append(Cutout.of(rgb, box, FACE).scaled(short_side))
    return out


def edges(patterns: int) -> None:
    """Print what comes back of the soft edge of a face."""
    print(f"\nThe soft edge undone, mean of {patterns} patterns of 4 pixels; face of 100 pixels")
    print(f"{'setting':<34}{'correlation':>12}{'error of 255':>14}")
    settings = {"fade to the original, as before": None, "blur": Method.BLUR, "pixelate": Method.PIXELATE}
    for name, method in settings.items():
        options = Options(method=method or Method.PIXELATE, face_anonymization_gradient_start=0.3, margin=0.1)
        values = []
        for seed in range(patterns):
            coarse = np.random.default_rng(seed).integers(0, 256, (60, 60, 3), np.uint8)
            before = np.asarray(cv2.resize(coarse, (240, 240), interpolation=cv2.INTER_NEAREST), np.uint8)
            (region,) = redaction_regions(
                detections_of_type(np.array([[70, 70, 170, 170]], np.float32), FACE), (240, 240), options
            )
            alpha = np.zeros((240, 240), np.uint8)
            alpha[region.crop] = region.alpha
            after = redact(before, [region], options, seed=seed)
            if method is None:
                inside = np.ascontiguousarray(after)
                after = before.copy()
                blend(after, inside, alpha)
            values.append(edge_recovery(before, after, alpha, fine_px=12))
        correlation, error = np.mean(values, axis=0)
        print(f"{name:<34}{correlation:>12.3f}{error:>14.1f}")


def nested(patterns: int) -> None:
    """Print how similar an object in another stays to the original, where both are redacted and where one is."""
    layouts = {
        "face in person": (PERSON, [60, 30, 260, 430], FACE, [130, 50, 190, 120]),
        "plate in vehicle": (VEHICLE, [20, 60, 300, 260], PLATE, [110, 200, 210, 222]),
        "person in vehicle": (VEHICLE, [20, 60, 300, 260], PERSON, [120, 90, 170, 200]),
        "large face over small": (FACE, [60, 60, 220, 260], FACE, [180, 120, 240, 200]),
    }
    print(f"\nObjects in objects: similarity within the inner box, mean of {patterns} patterns of 6 pixels")
    print(f"{'objects':<24}{'method':<10}{'inner alone':>12}{'outer alone':>12}{'both':>8}{'outer is seen':>15}")
    for name, (outer, around, inner, box) in layouts.items():
        for method in (Method.BLUR, Method.PIXELATE):
            options = Options(method=method, bbox=True)
            values = []
            for seed in range(patterns):
                coarse = np.random.default_rng(seed).integers(0, 256, (80, 60, 3), np.uint8)
                before = np.asarray(cv2.resize(coarse, (360, 480), interpolation=cv2.INTER_NEAREST), np.uint8)
                first, second = (
                    redaction_regions(detections_of_type(np.array([each], np.float32), kind), before.shape[:2], options)
                    for kind, each in ((outer, around), (inner, box))
                )
                alone, around_it, both = (
                    redact(before, regions, options, seed=seed) for regions in (second, first, first + second)
                )
                crop = slice(box[1], box[3]), slice(box[0], min(box[2], around[2]))
                values.append(
                    [
                        *(similarity(before[crop], after[crop]) for after in (alone, around_it, both)),
                        float((both[crop] == around_it[crop]).all(-1).mean()),
                    ]
                )
            alone_mean, outer_mean, both_mean, seen = np.mean(values, axis=0)
            print(f"{name:<24}{method:<10}{alone_mean:>12.2f}{outer_mean:>12.2f}{both_mean:>8.2f}{seen:>15.2f}")


def median_ms(work: Callable[[], object], runs: int) -> float:
    """The median time of a call, in milliseconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="which tables: {}; default: all".format(" ".join(PARTS))
    )
    parser.add_argument("--patterns", type=int, default=24, help="random patterns for each size; default: 24")
    parser.add_argument("--runs", type=int, default=5, help="runs for each time; default: 5")
    parser.add_argument("--kernel-size", type=float, help="as in the API; default: the default strength")
    parser.add_argument("--bbox", action="store_true", help="redact boxes instead of shapes")
    parser.add_argument("--plates", type=int, default=200, help="plates that are attacked; default: 200")
    parser.add_argument("--faces", type=int, default=200, help="faces that are attacked; default: 200")
    parser.add_argument("--setting", default="", help="attack only settings with this in their name; default: all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="has val.json and val/fddb")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(PARTS)}")
    for part in arguments.parts or PARTS:
        PARTS[part](arguments)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "cost": lambda given: cost(given.runs),
    "planes": lambda given: planes(given.runs),
    "strength": lambda given: strength(given.patterns, bbox=given.bbox, kernel_size=given.kernel_size),
    "plates": lambda given: plates(given.plates, given.setting),
    "faces": lambda given: faces(given.faces, given.data, given.setting),
    "edges": lambda given: edges(given.patterns),
    "nested": lambda given: nested(given.patterns),
}


if __name__ == "__main__":
    main()
