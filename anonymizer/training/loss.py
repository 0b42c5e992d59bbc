"""What the own detector is taught by: which cells answer for an object, and how far off they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import box_iou, complete_box_iou_loss

from anonymizer.pipeline.detection.models.own_network import STRIDES, boxes_xyxy

__all__ = ["Assignment", "Prediction", "Truth", "assign", "distillation_loss", "loss"]

#: cells that answer for one object
CELLS = 10
#: an object whose shorter side is shorter is answered for by cells near its centre too: hardly any lies inside
SMALL_PX = 16
SCORE_WEIGHT, BOX_WEIGHT = 1.5, 2.5
#: boxes of a lower score need not be remembered
FAINT = 0.05


class Truth(NamedTuple):
    """The objects of one canvas: boxes (m, 4), types (m,), ignored (m,) bool, and silent (4,) bool as in `Sample`."""

    boxes: Tensor
    types: Tensor
    ignored: Tensor
    unlabelled: Tensor


class Assignment(NamedTuple):
    """What the cells of one canvas should say.

    Attributes:
        scores: (n, 4), 0..1.
        weights: (n, 4), 0 where nothing is known.
        cells: (k,) numbers of the cells that answer for an object.
        boxes: (k, 4) of those objects.
        quality: (k,) how much each counts, 0..1.
    """

    scores: Tensor
    weights: Tensor
    cells: Tensor
    boxes: Tensor
    quality: Tensor


@torch.no_grad()
def assign(chances: Tensor, boxes: Tensor, cells: Tensor, truth: Truth) -> Assignment:
    """Task-aligned assignment (Feng et al., TOOD, arXiv 2108.07755).

    The `CELLS` best cells of each object by sqrt(score) x IoU^4, among those whose centre lies inside it; what they
    should score is scaled to the IoU.

    Args:
        chances: (n, 4) what the cells score now.
        boxes: (n, 4) what they give as boxes now.
        cells: (n, 3) x, y and stride in pixels.
    """
    scores, weights = torch.zeros_like(chances), torch.ones_like(chances)
    weights[:, truth.unlabelled] = 0
    centres, strides = cells[:, :2], cells[:, 2]
    inside = _inside(centres, truth.boxes)
    for row in torch.nonzero(truth.ignored).flatten():
        weights[inside[:, row], truth.types[row]] = 0
    objects, types = truth.boxes[~truth.ignored], truth.types[~truth.ignored]
    nothing = torch.zeros(0, dtype=torch.long, device=chances.device)
    if not len(objects):
        return Assignment(scores, weights, nothing, boxes[nothing], chances[nothing, 0])
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    near = ((centres[:, None] - middles).abs() < 1.5 * strides[:, None, None]).all(-1)
    near &= strides[:, None] == STRIDES[0]
    small = (objects[:, 2:] - objects[:, :2]).amin(1) < SMALL_PX
    candidates = inside[:, ~truth.ignored] | (near & small)
    iou = box_iou(boxes, objects)
    fit = chances[:, types].clamp(min=1e-6).sqrt() * iou**4 * candidates
    best = fit.topk(min(CELLS, len(fit)), 0)
    fit = fit * torch.zeros_like(fit).scatter_(0, best.indices, 1.0)
    fit = torch.where(fit > 1e-9, fit, 0)
    strength, which = fit.max(1)
    rows = torch.nonzero(strength).flatten()
    chosen = which[rows]
    alone = torch.zeros_like(fit).index_put_((rows, chosen), torch.ones((), device=fit.device))
    # the best cell of each object should score its IoU, the others in proportion
    share = strength / (fit * alone).amax(0).clamp(min=1e-9)[which]
    quality = (share * (iou * alone).amax(0)[which])[rows]
    scores[rows, types[chosen]] = quality
    weights[rows, types[chosen]] = 1
    return Assignment(scores, weights, rows, objects[chosen], quality)


def loss(logits: Tensor, distances: Tensor, cells: Tensor, truths: Sequence[Truth]) -> tuple[Tensor, Tensor]:
    """How far off the network is: for its scores, and for its boxes.

    Weighted cross-entropy, by the distance from the target as in quality focal loss (Li et al., arXiv 2006.04388), and
    complete IoU (Zheng et al., arXiv 1911.08287).

    Args:
        logits, distances, cells: as `OwnNetwork` gives them for a batch.
        truths: for each canvas.
    """
    boxes, chances = boxes_xyxy(distances, cells), logits.detach().sigmoid()
    of_scores, of_boxes, total = logits.new_zeros(()), logits.new_zeros(()), logits.new_zeros(())
    for n, truth in enumerate(truths):
        wanted = assign(chances[n], boxes[n].detach(), cells, truth)
        off = (wanted.scores - chances[n]).abs()
        hard = torch.where(wanted.scores > 0, off.clamp(min=0.3), chances[n] ** 2 * 0.9 + 0.1)
        each = binary_cross_entropy_with_logits(logits[n], wanted.scores, reduction="none")
        of_scores = of_scores + (each * hard * wanted.weights).sum()
        apart = complete_box_iou_loss(boxes[n][wanted.cells], wanted.boxes, reduction="none")
        of_boxes = of_boxes + (apart * wanted.quality).sum()
        total = total + wanted.quality.sum()
    total = total.clamp(min=1)
    return SCORE_WEIGHT * of_scores / total, BOX_WEIGHT * of_boxes / total


class Prediction(NamedTuple):
    """What a network gives for a batch: logits (b, n, 4), distances (b, n, 4) and cells (n, 3), as `OwnNetwork`."""

    logits: Tensor
    distances: Tensor
    cells: Tensor


def distillation_loss(now: Prediction, before: Prediction, truths: Sequence[Truth]) -> Tensor:
    """How far a network went from what it said before of silent types (learning without forgetting: Li and Hoiem, arXiv
    1606.09282); the mean over canvases, 0 where nothing changed.

    Scores: the divergence of Kullback and Leibler, summed over cells and types. Boxes, which the types share: complete
    IoU where a silent type had a score worth the name, weighted with it. Without boxes, 150 steps on plates alone took
    AP50 of vehicles (150 pictures of voc, one pass at 416) from .784 to .715; with them it was .798.
    """
    unlabelled, chances = torch.stack([each.unlabelled for each in truths])[:, None], before.logits.sigmoid()
    apart = binary_cross_entropy_with_logits(now.logits, chances, reduction="none")
    least = binary_cross_entropy_with_logits(before.logits, chances, reduction="none")
    of_scores = ((apart - least) * unlabelled).sum()
    weights = (chances * unlabelled).amax(-1)
    there = weights > FAINT
    boxes = [boxes_xyxy(each.distances, each.cells)[there] for each in (now, before)]
    of_boxes = (complete_box_iou_loss(*boxes, reduction="none") * weights[there]).sum()
    mean: Tensor = (of_scores + of_boxes) / len(truths)
    return mean


def _inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """(n, m): whether a cell's centre lies inside a box."""
    x, y = centres[:, 0, None], centres[:, 1, None]
    return (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])
