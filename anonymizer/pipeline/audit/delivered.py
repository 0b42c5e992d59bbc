"""Verify an anonymised image: decode its file, compare every region with the original, and look again.

The look finds what the first one missed: thresholds are halved, and a redacted neighbour changes what a network sees.
New finds are redacted, and the file is looked at again, a few times at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anonymizer.pipeline.detections import Detections, Source
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import AnonymizerError, OutOfMemory, VerificationFailed
from anonymizer.pipeline.images.in_memory import picture_of_array
from anonymizer.pipeline.images.io import Picture, load_picture
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.options.verify import Verify
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.proof.differences import MAX_LEFT, RegionDifference, channels, compare_regions
from anonymizer.pipeline.proof.finds import are_spared, new_finds
from anonymizer.pipeline.proof.verification import LOOK_SHARE, Verification, fail
from anonymizer.pipeline.results import ImageResult

__all__ = ["MOST_LOOKS", "look_again", "verify_image"]

#: how often the detectors look at most, and how often an image is rendered anew at most
MOST_LOOKS = 3

#: takes the objects that are redacted besides, and the options
Render = Callable[[Detections, Options], ImageResult]


def verify_image(engine: Engine, result: ImageResult, render: Render, *, looks: int = MOST_LOOKS) -> ImageResult:
    """Verify the result of one image, and redact what the look at it finds.

    An image that came as an array or a PIL image has no file yet: its pixels are verified. With `debug`, the image is
    verified as it is without the overlays, whose boxes and texts detectors could take for objects.

    Args:
        engine: looks again.
        result: as it was rendered.
        render: renders the same image anew.
        looks: how often the detectors look at most. 0: the file is only decoded and compared.

    Returns:
        The result to deliver, with its verification; the same one if there is nothing to verify.

    Raises:
        VerificationFailed: a region is not redacted, the file cannot be decoded, or the look found something and the
            option is `strict`.
        AnonymizerError: one of the other kinds; there is no result.
    """
    options = result.options
    if not options.verify or options.method is Method.DETECT:
        return result
    started = time.perf_counter()
    added, looked = Detections.empty(), 0
    undrawn = replace(options, debug=False)
    if options.debug:
        result = render(added, undrawn)
    while True:
        encoded, delivered = _delivered(engine, result)
        differences = _compare(result, delivered)
        if looked == looks:
            break
        looked += 1
        finds = look_again(engine, delivered, result, options)
        if not len(finds):
            break
        if options.verify is Verify.STRICT:
            raise fail(finds)
        added = Detections.merge([added, finds])
        result = render(added, undrawn)
    if options.debug:
        result, encoded = render(added, options), None
    seconds = time.perf_counter() - started
    counts = metadata.counts(added, result.object_types)
    return replace(
        result,
        options=options,
        encoded=encoded,
        seconds=result.seconds + seconds,
        warnings=(*result.warnings, *([_warning(len(added))] if len(added) else [])),
        verification=Verification(
            mode=options.verify,
            looks=looked,
            frames=None,
            regions=len(differences),
            flat=sum(difference.is_flat for difference in differences),
            most_left=max((difference.left or 0.0 for difference in differences), default=0.0),
            added={name: count for name, count in counts.items() if count},
            seconds=seconds,
        ),
    )


def look_again(engine: Engine, delivered: Picture, result: ImageResult, options: Options) -> Detections:
    """Run the detectors on a delivered image, and return what is recognisable outside of the redacted regions.

    Args:
        engine: has the detectors.
        delivered: the image as it was decoded from the result.
        result: has the regions and the objects that are redacted.
        options: has the thresholds.

    Returns:
        The new finds; their source is `verification`.
    """
    if not result.object_types:
        # only regions that the caller drew are redacted
        return Detections.empty()
    (found,) = engine.detect_pictures([delivered], result.object_types, options.image_format)
    finds = found[metadata.over_threshold(found, options, share=LOOK_SHARE)]
    redacted = result.binary_mask > 0
    finds = finds[new_finds(finds, redacted, result.detections, options)]
    if len(finds) and not options.bbox:
        # outlines are made only for the few that their boxes do not explain
        finds = engine.add_masks(delivered.size_hw, delivered.rgb, finds, np.ones(len(finds), bool))
        finds = finds[new_finds(finds, redacted, result.detections, options)]
    finds = finds[~are_spared(finds, result.spared)]
    return replace(finds, sources=np.full(len(finds), Source.VERIFICATION.value))


def _delivered(engine: Engine, result: ImageResult) -> tuple[bytes | None, Picture]:
    """The result's file, and what it shows."""
    picture = result.picture
    if picture.in_memory:
        shown = result.pixels if result.alpha is None else np.dstack([result.image, _as_bytes(result.alpha)])
        return None, picture_of_array(shown, limits=engine.limits, name=picture.name)
    data = result.encode()
    # a file that is written anew may be larger than the largest that is taken
    limits = replace(engine.limits, bytes=max(engine.limits.bytes, len(data)))
    try:
        return data, load_picture(data, limits=limits, name=picture.name)
    except OutOfMemory:
        raise
    except AnonymizerError as error:
        raise VerificationFailed(f"The finished file cannot be read again: {error}") from error


def _compare(result: ImageResult, delivered: Picture) -> list[RegionDifference]:
    """Compare all regions.

    Raises:
        VerificationFailed: one of them shows the original, or the image has another size.
    """
    picture = result.picture
    if delivered.size_hw != picture.size_hw:
        raise VerificationFailed(f"The finished file has {delivered.size_hw} pixels instead of {picture.size_hw}.")
    same = delivered.pixels.shape == picture.pixels.shape and delivered.pixels.dtype == picture.pixels.dtype
    opaque = np.full(picture.size_hw, 255, np.uint8)
    has_alpha = picture.alpha is not None or delivered.alpha is not None
    before, after = (opaque if has_alpha and each.alpha is None else each.alpha for each in (picture, delivered))
    original = channels(picture, alpha=before)
    shown = channels(picture if same else delivered, delivered.pixels if same else None, alpha=after)
    differences = compare_regions(original, shown, result.regions)
    for region, difference in zip(result.regions, differences, strict=True):
        if not difference.is_redacted:
            height, width = region.alpha.shape
            raise VerificationFailed(
                f"The finished file is not redacted as it should be at the {region.object_type.words} at x {region.x}, "
                f"y {region.y}, {width} x {height} pixels. One place keeps {difference.left:.0%} of its detail, but "
                f"at most {MAX_LEFT:.0%} is allowed."
            )
    return differences


def _as_bytes(alpha: np.ndarray) -> np.ndarray:
    return alpha if alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)


def _warning(count: int) -> str:
    return f"{count} object(s) were found only when the finished file was looked at again; they are redacted too."
