"""Fine-tune the own detector on a few labelled images, in minutes.

Divide a labelled set with `split`: fine-tune on one part, and evaluate on the other. The detector learns the types that
an image is labelled for. For all other types, its predictions are kept by a distillation loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.thresholds.calibrate import judge_detections
from anonymizer.evaluation.thresholds.calibration_fit import (
    JudgedDetections,
    brier_score,
    every_other,
    fit_calibration,
    reliability_error,
)
from anonymizer.pipeline.detection.calibration import SMALL_PX, Calibration, Calibrations
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.training.samples import read_samples
from anonymizer.training.train import Recipe, train

__all__ = ["GENTLE", "OWN", "calibrations", "finetune", "split"]

#: the weights of the own detector
OWN = MODELS_FOLDER / "own-3.safetensors"
#: for the sentences about calibrations
_OF_KIND = {"whole": "", "small": f" under {SMALL_PX} px", "close": " in enlarged views"}
#: hyperparameters for a few hundred images
GENTLE = Recipe(
    minutes=2,
    batch=8,
    rate=3e-4,
    frozen=2,
    fixed_norms=True,
    distillation=0.2,
    mosaic=0.1,
    average=0.97,
    warm_up=10,
)


def split(
    images: LabelledSet, *, hold_out: float = 0.5, by: Callable[[LabelledImage], str] | None = None
) -> tuple[LabelledSet, LabelledSet]:
    """Split a set into a part to learn from and a part to evaluate on.

    The part of an image depends only on its content. So it stays the same when the set grows, and copies of an image
    are never in both parts. Similar images, such as frames of one video, stay together only with `by`.

    Args:
        images: the set to split.
        hold_out: the approximate share of the part to evaluate on, above 0 and below 1; default: 0.5.
        by: a function that returns a key for an image. Images with the same key go to the same part. Default: the
            content of the file.

    Returns:
        The part to learn from, and the part to evaluate on. Neither is empty.

    Raises:
        OSError: an image does not exist.
        ValueError: `hold_out` is out of range, or all images are the same.

    Examples:
        >>> learn, judge = split(images, by=lambda image: image.path.parent.name)  # doctest: +SKIP
    """
    if not 0 < hold_out < 1:
        raise ValueError(f"hold_out is {hold_out}, but must lie above 0 and below 1.")
    keys = [image.path.read_bytes() if by is None else by(image).encode() for image in images.images]
    hashes = [int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64 for key in keys]
    low, high = min(hashes, default=0), max(hashes, default=0)
    if low == high:
        raise ValueError("A set can only be split if it has at least two different pictures.")
    # the lowest and the highest hash are in different parts, so that neither part is empty
    held_out = [value == low or (value < hold_out and value != high) for value in hashes]
    divided = list(zip(images.images, held_out, strict=True))
    learn = images.subset(image for image, judge in divided if not judge)
    return learn, images.subset(image for image, judge in divided if judge)


def finetune(
    images: LabelledSet,
    folder: Path,
    *,
    minutes: float = GENTLE.minutes,
    steps: int | None = None,
    start: Path = OWN,
    limit: int = 1000,
    recipe: Recipe = GENTLE,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Fine-tune weights of the own detector.

    Args:
        images: the labelled images to learn from. Do not evaluate the result on them.
        folder: where the weights are written. Weights of an earlier call are replaced.
        minutes: duration of the training, without the time to read the images; default: 2.
        steps: number of steps of the training; default: as many as fit into `minutes`.
        start: the weights to start from; default: the own detector.
        limit: the most images, evenly spread over the set; default: 1000. They are kept in memory, with about 1.5 MB
            for each image.
        recipe: the hyperparameters; default: `GENTLE`.
        device: device for torch; default: "cpu".
        progress: show progress bars; default: True.

    Returns:
        The file of the weights. `install` adds it to a model store.

    Raises:
        OSError, ValueError: a file cannot be read.
        ValueError: no image has a label.

    Examples:
        >>> learn, judge = split(LabelledSet.read("my-pictures"))  # doctest: +SKIP
        >>> weights = finetune(learn, Path("build/fine-tuned"), steps=500)  # doctest: +SKIP
    """
    labelled = images.subset(image for image in images.images if _has_labels(image))
    samples = read_samples(labelled, limit=limit, progress=progress)
    if not samples:
        raise ValueError(
            f"None of {len(images.images)} pictures can be used: they have no labelled object and no labelled type."
        )
    recipe = replace(recipe, minutes=minutes, steps=steps)
    weights = train(samples, recipe, folder, start=start, device=device, resume=False, progress=progress)
    (folder / "checkpoint.pt").unlink()
    return weights


def _has_labels(image: LabelledImage) -> bool:
    return bool(image.labelled) or any(len(objects.boxes) for objects in image.objects.values())


def calibrations(
    weights: Path,
    judge: LabelledSet,
    before: Calibrations,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> tuple[Calibrations, list[str]]:
    """Calibrate the scores of new weights, so that a score stands for the probability that a box is right.

    Every other image is for the fit, and the remaining images are for the judgement. A calibration with few objects is
    shrunk to the one before (`fit_calibration`). It is used only if its Brier score on the remaining images is not
    higher than that of the one before. Small objects and enlarged views get a calibration of their own for the types
    that had one before.

    Args:
        weights: the new weights.
        judge: labelled images that the weights did not learn from.
        before: the calibrations of the weights that the training started from. They are kept where there are too few
            detections.
        device: device for torch; default: "cpu".
        progress: show a progress bar; default: True.

    Returns:
        The calibrations of the types that are labelled, and a sentence about each.
    """
    detector, fitting = OwnNanoDet(weights, device=device), every_other(judge.images)

    def measure(object_types: Sequence[ObjectType], *, close: bool) -> dict[ObjectType, JudgedDetections]:
        images = tqdm(judge.images, desc="measuring scores", unit="picture", disable=not progress)
        return judge_detections(detector, images, object_types=object_types, problems=judge.problems, close=close)

    whole, parts, notes = measure(OBJECT_TYPES, close=False), [], []
    close = measure([*before.close], close=True) if before.close else {}
    for object_type, detections in whole.items():
        is_small = (detections.sides < SMALL_PX) & (object_type in before.small)
        groups = {"whole": detections[~is_small]}
        if object_type in before.small:
            groups["small"] = detections[is_small]
        if object_type in close:
            groups["close"] = close[object_type]
        maps = {}
        for kind, of_kind in groups.items():
            chosen, note = _calibration(*of_kind.halves(fitting), getattr(before, kind).get(object_type))
            maps[kind] = {} if chosen is None else {object_type: chosen}
            notes.append(f"{object_type.words}{_OF_KIND[kind]}: {note}")
        parts.append(Calibrations(**maps))
    return Calibrations.merge(parts), notes


def _calibration(
    fit: JudgedDetections, test: JudgedDetections, before: Calibration | None
) -> tuple[Calibration | None, str]:
    """The calibration to use, and a sentence about it."""
    counted = f"{len(fit)} detections, {fit.objects} of them correct"
    kept = "The scores stay as they are." if before is None else "The calibration of the weights before is kept."
    try:
        new = fit_calibration(fit.found, parent=before)
    except ValueError:
        return before, f"{counted}, are too few to calibrate. {kept} A threshold may have a slightly different effect."
    if not len(test):
        return before, f"there are no other pictures with detections to judge a calibration on. {kept}"
    old, measured = test if before is None else test.calibrated(before), test.calibrated(new)
    if brier_score(measured) > brier_score(old):
        return before, f"a calibration with {counted}, makes the chances worse on the other pictures. {kept}"
    errors = [reliability_error(each.found) for each in (measured, old)]
    return new, (
        f"calibrated with {counted}. The mean error of a chance on the other pictures is {errors[0]:.3f}, "
        f"and {errors[1]:.3f} without this."
    )
