"""The own detector made better at pictures of one's own, in minutes, from a few labelled ones.

What it learns from is a part of a labelled set; what it is judged by is the rest (`split`). It learns the types that a
picture is labelled for; of the others it goes on saying what it said before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet
from anonymizer.evaluation.metrics.matching import joined
from anonymizer.evaluation.thresholds.calibrate import LEAST_FOUND, fit, tallies
from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detection.models.own import OwnDetector
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.model_zoo.store import FOLDER
from anonymizer.training.samples import read_samples
from anonymizer.training.train import Recipe, train

__all__ = ["GENTLE", "OWN", "calibrations", "finetune", "split"]

#: the weights to start from
OWN = FOLDER / "own-detector.safetensors"
GENTLE = Recipe(
    minutes=2,
    batch=8,
    rate=3e-4,
    frozen=9,
    fixed_norms=True,
    remember=0.2,
    mosaic=0.1,
    average=0.97,
    warm_up=10,
)
#: a calibration takes so many detections that are objects
LEAST_HITS = 20


def split(
    images: LabelledSet, *, hold_out: float = 0.5, by: Callable[[LabelledImage], str] | None = None
) -> tuple[LabelledSet, LabelledSet]:
    """Two parts of a set: to learn from, and to judge by.

    Where a picture goes depends on its content alone: it goes there again in a set that has grown, and its copies go
    with it. Pictures that are nearly the same, as frames of one video are, do so only with `by`.

    Args:
        hold_out: the share to judge by, above 0 and below 1.
        by: pictures of which it says the same stay together.

    Raises:
        OSError: a picture is not there.
        ValueError: the share is out of range, or there are not two pictures that differ.
    """
    if not 0 < hold_out < 1:
        raise ValueError(f"hold_out is {hold_out}, but must lie above 0 and below 1.")
    keys = [image.path.read_bytes() if by is None else by(image).encode() for image in images.images]
    places = [int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64 for key in keys]
    low, high = min(places, default=0), max(places, default=0)
    if low == high:
        raise ValueError("A set is split into two parts only where it has two pictures that differ.")
    # neither part is empty
    judges = [at == low or (at < hold_out and at != high) for at in places]
    sorted_out = list(zip(images.images, judges, strict=True))
    learn = images.subset(image for image, judge in sorted_out if not judge)
    return learn, images.subset(image for image, judge in sorted_out if judge)


def finetune(
    images: LabelledSet,
    folder: Path,
    *,
    minutes: float = GENTLE.minutes,
    start: Path = OWN,
    limit: int = 1000,
    recipe: Recipe = GENTLE,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Fine-tune weights of the own detector.

    Args:
        images: to learn from; never those that the result is to be judged by.
        folder: for the weights.
        minutes: of training, besides reading the pictures.
        start: weights to start from.
        limit: of pictures that are kept in memory, spread over the set; each is about 1.5 MB.
        progress: show bars with the time left.

    Returns:
        The file of the weights, which `install` takes; what an earlier call left in the folder is replaced.

    Raises:
        OSError, ValueError: a file cannot be read.
        ValueError: no picture teaches anything.
    """
    teaching = images.subset(image for image in images.images if _teaches(image))
    samples = read_samples(teaching, limit=limit, progress=progress)
    if not samples:
        raise ValueError(f"None of {len(images.images)} pictures teaches anything: no object and no type is labelled.")
    recipe = replace(recipe, minutes=minutes)
    weights = train(samples, recipe, folder, start=start, device=device, resume=False, progress=progress)
    (folder / "checkpoint.pt").unlink()
    return weights


def _teaches(image: LabelledImage) -> bool:
    return bool(image.labelled) or any(len(each.boxes) for each in image.objects.values())


def calibrations(
    weights: Path,
    judge: LabelledSet,
    before: Mapping[ObjectType, Calibration],
    *,
    device: str = "cpu",
    progress: bool = True,
) -> tuple[dict[ObjectType, Calibration], list[str]]:
    """What the scores of new weights mean: measured where enough is found, else taken over from the weights before.

    Args:
        judge: pictures that the weights did not learn from.
        before: of the weights that were started from.

    Returns:
        By type that is labelled, and a sentence for each about where it comes from.
    """
    images = tqdm(judge.images, desc="measuring scores", unit="picture", disable=not progress)
    found_of = tallies(OwnDetector(weights, device=device), images, object_types=OBJECT_TYPES, problems=judge.problems)
    maps, notes = {}, []
    for each, of_image in found_of.items():
        found = joined(list(of_image.values())).found
        hits = sum(hit for _, hit in found)
        if hits >= LEAST_HITS and len(found) >= LEAST_FOUND:
            maps[each] = fit(found)
            notes.append(f"{each.words}: scores were measured on {len(found)} detections, {hits} of them objects.")
        elif each in before:
            maps[each] = before[each]
            notes.append(
                f"{each.words}: {len(found)} detections, {hits} of them objects: too few to measure what scores mean. "
                "What was known of the weights before is kept, so a threshold may not mean quite the same as it did."
            )
    return maps, notes
