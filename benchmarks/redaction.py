"""Measure how strong redaction is at any size, and how long it takes.

    python -m benchmarks.redaction [--patterns 24] [--runs 5] [--kernel-size K] [--bbox]

It prints three tables: strength, and milliseconds in RGB images and in the planes of video frames.
Strength is the correlation between an object and what is left of it: 0 = nothing is left, 1 = untouched. The object is
a pattern of 16 x 16 random grey cells, drawn at n pixels. The table shows the mean over patterns and the highest value.
This shows whether strength depends on resolution; it is no test of re-identification.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from anonymizer.evaluation.metrics.redaction_strength import detections_of_type, random_pattern
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, redact_planes

SIZES = (48, 96, 192, 384, 768)
METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)


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
    parser.add_argument("--patterns", type=int, default=24, help="random patterns for each size; default: 24")
    parser.add_argument("--runs", type=int, default=5, help="runs for each time; default: 5")
    parser.add_argument("--kernel-size", type=float, help="as in the API; default: the default strength")
    parser.add_argument("--bbox", action="store_true", help="redact boxes instead of shapes")
    arguments = parser.parse_args()
    cost(arguments.runs)
    planes(arguments.runs)
    strength(arguments.patterns, bbox=arguments.bbox, kernel_size=arguments.kernel_size)


if __name__ == "__main__":
    main()
