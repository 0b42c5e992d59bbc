"""The loss of the own detector: assign cells to objects, and measure the errors of scores and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchvision.ops import box_iou, complete_box_iou_loss

from anonymizer.pipeline.detection.models.nanodet.network import BINS, STRIDES, boxes_xyxy, expected_distances

__all__ = ["Assignment", "Prediction", "Truth", "assign", "distillation_loss", "loss"]

#: the most cells that are assigned to one object
CELLS = 10
#: For objects with a shorter side below this, cells near the centre are candidates too. Hardly any cell lies inside.
SMALL_PX = 16
SCORE_WEIGHT, BOX_WEIGHT, BIN_WEIGHT = 1.5, 2.0, 0.35
#: Distillation ignores boxes with a lower score.
FAINT = 0.05


class Truth(NamedTuple):
    """The objects of one canvas.

    Attributes:
        boxes: (m, 4) float, x1, y1, x2, y2 in pixels.
        types: (m,) long, index into `OBJECT_TYPES`.
        ignored: (m,) bool; places of ignored objects carry no loss.
        unlabelled: (4,) bool, the types that are not completely labelled.
    """

    boxes: Tensor
    types: Tensor
    ignored: Tensor
    unlabelled: Tensor


class Prediction(NamedTuple):
    """The output of `NanoDetNetwork` for a batch of b canvases.

    Attributes:
        logits: (b, n, 4) a logit for each cell and object type.
        bins: (b, n, 4 * BINS) logits of the distances of each cell to the sides of its box.
        cells: (n, 3) x, y and stride of each cell in pixels.
    """

    logits: Tensor
    bins: Tensor
    cells: Tensor

    def boxes(self) -> Tensor:
        """(b, n, 4) x1, y1, x2, y2 in pixels of the canvas."""
        return boxes_xyxy(expected_distances(self.bins), self.cells)


class Assignment(NamedTuple):
    """The training targets of the n cells of one canvas.

    Attributes:
        scores: (n, 4) target scores, 0..1.
        weights: (n, 4) weights of the scores; 0 if nothing is known.
        cells: (k,) indices of the cells that are assigned to an object.
        boxes: (k, 4) the boxes of these objects.
        quality: (k,) weights of the boxes, 0..1.
    """

    scores: Tensor
    weights: Tensor
    cells: Tensor
    boxes: Tensor
    quality: Tensor


@torch.no_grad()
def assign(probabilities: Tensor, boxes: Tensor, cells: Tensor, truth: Truth) -> Assignment:
    """Assign cells to objects by task-aligned assignment (Feng et al. 2021, TOOD, arXiv 2108.07755).

    Candidates are the cells whose centre lies inside the object. Each object gets the `CELLS` best candidates by
    sqrt(score) x IoU^4. Their target scores are scaled to the IoU.

    Args:
        probabilities: (n, 4) the current scores of the cells, 0..1.
        boxes: (n, 4) the current boxes of the cells.
        cells: (n, 3) x, y and stride of each cell in pixels.
        truth: the objects.

    Returns:
        The targets of all cells.
    """
    scores, weights = torch.zeros_like(probabilities), torch.ones_like(probabilities)
    weights[:, truth.unlabelled] = 0
    centres, strides = cells[:, :2], cells[:, 2]
    inside = _inside(centres, truth.boxes)
    for row in torch.nonzero(truth.ignored).flatten():
        weights[inside[:, row], truth.types[row]] = 0
    objects, types = truth.boxes[~truth.ignored], truth.types[~truth.ignored]
    nothing = torch.zeros(0, dtype=torch.long, device=probabilities.device)
    if not len(objects):
        return Assignment(scores, weights, nothing, boxes[nothing], probabilities[nothing, 0])
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    near = ((centres[:, None] - middles).abs() < 1.5 * strides[:, None, None]).all(-1)
    near &= strides[:, None] == STRIDES[0]
    small = (objects[:, 2:] - objects[:, :2]).amin(1) < SMALL_PX
    candidates = inside[:, ~truth.ignored] | (near & small)
    iou = box_iou(boxes, objects)
    fit = probabilities[:, types].clamp(min=1e-6).sqrt() * iou**4 * candidates
    best = fit.topk(min(CELLS, len(fit)), 0)
    fit = fit * torch.zeros_like(fit).scatter_(0, best.indices, 1.0)
    fit = torch.where(fit > 1e-9, fit, 0)
    strength, which = fit.max(1)
    rows = torch.nonzero(strength).flatten()
    chosen = which[rows]
    assigned = torch.zeros_like(fit).index_put_((rows, chosen), torch.ones((), device=fit.device))
    # the target of the best cell of an object is its IoU, and other cells get less in proportion
    share = strength / (fit * assigned).amax(0).clamp(min=1e-9)[which]
    quality = (share * (iou * assigned).amax(0)[which])[rows]
    scores[rows, types[chosen]] = quality
    weights[rows, types[chosen]] = 1
    return Assignment(scores, weights, rows, objects[chosen], quality)


def loss(now: Prediction, truths: Sequence[Truth]) -> tuple[Tensor, Tensor]:
    """Compute the loss of the scores and the loss of the boxes.

    Scores: cross-entropy that is weighted by the distance from the target, as in quality focal loss. Boxes: complete
    IoU loss (Zheng et al. 2019, arXiv 1911.08287), and distribution focal loss of the distances. Both focal losses are
    of Li et al. 2020, arXiv 2006.04388.

    Args:
        now: the prediction for a batch of b canvases.
        truths: the objects of each canvas.

    Returns:
        The two losses, both weighted and divided by the summed quality of the assigned cells.
    """
    boxes, probabilities = now.boxes(), now.logits.detach().sigmoid()
    score_loss, box_loss, total = (now.logits.new_zeros(()) for _ in range(3))
    for n, truth in enumerate(truths):
        targets = assign(probabilities[n], boxes[n].detach(), now.cells, truth)
        error = (targets.scores - probabilities[n]).abs()
        focus = torch.where(targets.scores > 0, error.clamp(min=0.3), probabilities[n] ** 2 * 0.9 + 0.1)
        entropy = binary_cross_entropy_with_logits(now.logits[n], targets.scores, reduction="none")
        score_loss = score_loss + (entropy * focus * targets.weights).sum()
        errors = BOX_WEIGHT * complete_box_iou_loss(boxes[n][targets.cells], targets.boxes, reduction="none")
        errors = errors + BIN_WEIGHT * _bin_loss(now.bins[n][targets.cells], now.cells[targets.cells], targets.boxes)
        box_loss = box_loss + (errors * targets.quality).sum()
        total = total + targets.quality.sum()
    total = total.clamp(min=1)
    return SCORE_WEIGHT * score_loss / total, box_loss / total


def _bin_loss(bins: Tensor, cells: Tensor, boxes: Tensor) -> Tensor:
    """The distribution focal loss of k cells, (k,): each distance lies between two bins, which share it."""
    centres, strides = cells[:, :2], cells[:, 2:]
    distances = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], 1) / strides
    distances = distances.clamp(0, BINS - 1.01)
    lower = distances.floor().long()
    share = distances - lower
    rows = bins.reshape(-1, BINS).float()
    below = cross_entropy(rows, lower.flatten(), reduction="none").view_as(share)
    above = cross_entropy(rows, lower.flatten() + 1, reduction="none").view_as(share)
    return (below * (1 - share) + above * share).mean(1)


def distillation_loss(now: Prediction, before: Prediction, truths: Sequence[Truth]) -> Tensor:
    """Penalise changes of the predictions for unlabelled types.

    This is learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282). Scores: the Kullback-Leibler divergence,
    summed over cells and types. Boxes, which all types share: complete IoU loss, weighted by the former score of an
    unlabelled type.

    Args:
        now: the prediction of the network that is trained.
        before: the prediction of the network before training, without gradient.
        truths: for each canvas which types are unlabelled.

    Returns:
        The mean over canvases; 0 if nothing changed.
    """
    # Without the boxes, 150 steps on plates alone took AP50 of vehicles from .784 to .715; with them it was .798
    # (150 pictures of voc, one pass at 416).
    unlabelled, probabilities = torch.stack([truth.unlabelled for truth in truths])[:, None], before.logits.sigmoid()
    changed = binary_cross_entropy_with_logits(now.logits, probabilities, reduction="none")
    entropy = binary_cross_entropy_with_logits(before.logits, probabilities, reduction="none")
    score_loss = ((changed - entropy) * unlabelled).sum()
    weights = (probabilities * unlabelled).amax(-1)
    relevant = weights > FAINT
    boxes = [each.boxes()[relevant] for each in (now, before)]
    box_loss = (complete_box_iou_loss(*boxes, reduction="none") * weights[relevant]).sum()
    mean: Tensor = (score_loss + box_loss) / len(truths)
    return mean


def _inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """(n, m) bool: whether the centre of a cell lies inside a box."""
    x, y = centres[:, 0, None], centres[:, 1, None]
    return (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])
