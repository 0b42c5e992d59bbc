"""The effective number of objects: how many independent objects would tell as much as those of labelled images.

The objects of one image are not independent, so a share of them is less certain than their number suggests. How much
less is measured: by the variance between images, and by the correlation within them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "Values",
    "design_effect",
    "effective_size",
    "freedom",
    "objects_together",
    "t_ratio",
    "with_objects",
]

Values = NDArray[np.float64]


def design_effect(parts: ArrayLike, wholes: ArrayLike) -> float:
    """Compute the design effect: how many times larger the sample must be than with independent objects (Kish 1965).

    Two estimates are computed, and the larger one is taken. The first is the variance of the share with images as the
    sample (linearised), divided by the variance that the same number of independent objects would have. It is too low
    if the large images happen to agree. The second follows from the correlation within images: 1 + r (m - 1), with m
    objects in the image of an average object.

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects.

    Returns:
        1 or more. If nothing can be known about the correlation, the objects of an image count as one object. That is
        so for a single image, and if the share is 0 or 1.
    """
    parts, wholes = with_objects(parts, wholes)
    n, total = len(wholes), wholes.sum()
    if (wholes <= 1).all():
        # no two objects are in the same image
        return 1.0
    share, together = parts.sum() / total, float(total / objects_together(wholes))
    if n < 2 or share in (0.0, 1.0):
        return max(1.0, together)
    residuals = parts - share * wholes
    variance = n / (n - 1) * float((residuals**2).sum()) / total**2
    linearised = float(variance / (share * (1 - share) / total))
    return max(1.0, linearised, 1 + _intraclass_correlation(parts, wholes) * (together - 1))


def effective_size(parts: ArrayLike, wholes: ArrayLike, *, confidence: float = 0.95) -> float:
    """Compute the effective number of objects: how many independent objects would tell as much as these.

    It is the number of objects divided by the design effect, times a squared ratio of t quantiles (Korn and Graubard
    1998). The ratio allows for a design effect that is itself measured on few images. Its degrees of freedom are those
    of Satterthwaite (1946): fewer than the images if few of them make up the variance.

    The ratio never leaves fewer than if the objects of an image counted as one.

    Args:
        parts: (pictures,) the numerator of each image, for example detected objects.
        wholes: (pictures,) the denominator of each image, for example all objects.
        confidence: of the one-sided bound that it is used for, 0..1.

    Returns:
        More than 0, at most the number of objects; 0 without objects.
    """
    parts, wholes = with_objects(parts, wholes)
    if not len(wholes):
        return 0.0
    total, together = float(wholes.sum()), objects_together(wholes)
    share = parts.sum() / total
    size = total / design_effect(parts, wholes)
    if len(wholes) < 2 or share in (0.0, 1.0):
        return size
    ratio = t_ratio(total - 1, freedom(parts - share * wholes), confidence)
    return max(size * ratio, min(size, together))


def with_objects(parts: ArrayLike, wholes: ArrayLike) -> tuple[Values, Values]:
    """Leave out the images without a denominator.

    Args:
        parts: (pictures,) the numerator of each image.
        wholes: (pictures,) the denominator of each image.

    Returns:
        Both for the other images, (k,) float64.
    """
    parts, wholes = np.asarray(parts, float), np.asarray(wholes, float)
    return parts[wholes > 0], wholes[wholes > 0]


def objects_together(wholes: Values) -> float:
    """Compute the effective number of objects if those of an image always go together (Kish 1965).

    Args:
        wholes: (pictures,) the number of objects in each image, not all 0.

    Returns:
        At most the number of images; as many if all have equally many objects.
    """
    return float(wholes.sum() ** 2 / (wholes**2).sum())


def _intraclass_correlation(parts: Values, wholes: Values) -> float:
    """The correlation of hits within images, 0..1, by analysis of variance (Fisher 1925; Donner 1986)."""
    n, total = len(wholes), float(wholes.sum())
    if total <= n:
        return 0.0
    shares, share = parts / wholes, parts.sum() / total
    between = float((wholes * (shares - share) ** 2).sum()) / (n - 1)
    within = float((wholes * shares * (1 - shares)).sum()) / (total - n)
    size = (total - float((wholes**2).sum()) / total) / (n - 1)
    return min(max((between - within) / (between + (size - 1) * within), 0.0), 1.0)


def freedom(residuals: Values) -> float:
    """Compute the degrees of freedom of a variance between images, from its own variance (Satterthwaite 1946).

    Args:
        residuals: (pictures,) what each image adds to the deviation of the figure; their mean is 0.

    Returns:
        1 or more, at most the number of images less one; few if few images make up the variance.
    """
    n, squares = len(residuals), residuals**2
    spread = float((squares**2).mean() - squares.mean() ** 2)
    # all squares equal: the number of images is the only limit
    measured = 2 * n * float(squares.mean()) ** 2 / spread if spread > 0 else math.inf
    return min(n - 1.0, max(1.0, measured))


def t_ratio(objects: float, images: float, confidence: float) -> float:
    """Compute the squared ratio of two quantiles of Student's t (Korn and Graubard 1998).

    Args:
        objects: the degrees of freedom of the numerator: the objects less one.
        images: the degrees of freedom of the denominator: the images less one, or fewer.
        confidence: which quantile, 0..1.

    Returns:
        More than 0, at most 1.
    """
    if objects <= images or confidence <= 0.5:
        return 1.0
    return float((special.stdtrit(objects, confidence) / special.stdtrit(images, confidence)) ** 2)
