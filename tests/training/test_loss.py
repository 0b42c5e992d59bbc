"""The assignment of cells to objects, and the losses."""

from __future__ import annotations

import torch

from anonymizer.pipeline.detection.models.nanodet.network import BINS, expected_distances
from anonymizer.training.loss import Prediction, Truth, assign, distillation_loss, loss

SIDE = 64


def cells() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    return torch.stack([(x + 0.5) * 8, (y + 0.5) * 8, torch.full_like(x, 8, dtype=torch.float)], -1).reshape(-1, 3)


def bins_of(distances: torch.Tensor) -> torch.Tensor:
    """Logits (..., 4 * BINS) whose mean is each distance (..., 4): two neighbouring bins share it."""
    lower = distances.floor().long().clamp(max=BINS - 2)
    share = (distances - lower)[..., None]
    at = torch.arange(BINS)
    weights = (at == lower[..., None]) * (1 - share) + (at == lower[..., None] + 1) * share
    return weights.clamp(min=1e-6).log().flatten(-2)


def test_two_neighbouring_bins_share_a_distance() -> None:
    distances = torch.tensor([[0.0, 1.25, 3.5, 7.0]])
    torch.testing.assert_close(expected_distances(bins_of(distances)), distances, atol=1e-3, rtol=0)


def truth(*rows: tuple[float, float, float, float, int, bool], unlabelled: tuple[int, ...] = ()) -> Truth:
    table = torch.tensor(rows, dtype=torch.float).reshape(-1, 6)
    quiet = torch.zeros(4, dtype=torch.bool)
    quiet[list(unlabelled)] = True
    return Truth(table[:, :4], table[:, 4].long(), table[:, 5].bool(), quiet)


def good_boxes(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    """For each cell the box of the object that its centre lies in, else a small one round itself."""
    at = cells()
    found = torch.stack([at[:, 0] - 2, at[:, 1] - 2, at[:, 0] + 2, at[:, 1] + 2], 1)
    for x1, y1, x2, y2 in boxes:
        inside = (at[:, 0] > x1) & (at[:, 0] < x2) & (at[:, 1] > y1) & (at[:, 1] < y2)
        found[inside] = torch.tensor([x1, y1, x2, y2])
    return found


def test_an_object_is_answered_for_by_cells_inside_it() -> None:
    box = (8.0, 8.0, 40.0, 40.0)
    probabilities = torch.full((64, 4), 0.01)
    probabilities[18, 2] = 0.9
    targets = assign(probabilities, good_boxes(box), cells(), truth((*box, 2, False)))
    assert len(targets.cells) == 10
    x, y = cells()[targets.cells, :2].T
    assert ((x > 8) & (x < 40) & (y > 8) & (y < 40)).all()
    # the best cell should score the IoU of its box, which is whole here
    assert targets.scores[18, 2] == 1
    assert (targets.scores[:, [0, 1, 3]] == 0).all()
    assert (targets.weights == 1).all()


def test_nothing_is_taught_in_an_ignored_object() -> None:
    targets = assign(torch.full((64, 4), 0.01), good_boxes(), cells(), truth((8, 8, 40, 40, 3, True)))
    assert len(targets.cells) == 0
    assert (targets.weights[:, 3] == 0).sum() == 16
    assert (targets.weights[:, :3] == 1).all()


def test_an_unlabelled_type_has_a_loss_only_where_an_object_is_given() -> None:
    box = (8.0, 8.0, 40.0, 40.0)
    targets = assign(torch.full((64, 4), 0.01), good_boxes(box), cells(), truth((*box, 3, False), unlabelled=(1, 3)))
    assert (targets.weights[:, 1] == 0).all()
    assert (targets.weights[targets.cells, 3] == 1).all()
    assert (targets.weights[:, 3] == 1).sum() == len(targets.cells)


def test_a_tiny_object_between_the_centres_is_answered_for() -> None:
    box = (29.0, 29.0, 34.0, 34.0)
    at = cells()
    near = torch.stack([at[:, 0] - 3, at[:, 1] - 3, at[:, 0] + 3, at[:, 1] + 3], 1)
    targets = assign(torch.full((64, 4), 0.01), near, at, truth((*box, 1, False)))
    assert len(targets.cells) > 0


def test_two_objects_each_have_cells_of_their_own() -> None:
    boxes = ((0.0, 0.0, 32.0, 32.0), (32.0, 32.0, 64.0, 64.0))
    known = truth((*boxes[0], 0, False), (*boxes[1], 0, False))
    targets = assign(torch.full((64, 4), 0.01), good_boxes(*boxes), cells(), known)
    assert {tuple(each) for each in targets.boxes.tolist()} == set(boxes)
    assert len(set(targets.cells.tolist())) == len(targets.cells)


def test_the_loss_is_small_for_what_is_right_and_larger_for_what_is_not() -> None:
    at, box = cells(), (8.0, 8.0, 40.0, 40.0)
    corner = torch.tensor(box)
    inside = (at[:, :2] > corner[:2]).all(1) & (at[:, :2] < corner[2:]).all(1)
    sides = torch.cat([(at[:, :2] - corner[:2]), (corner[2:] - at[:, :2])], 1) / 8
    distances = torch.where(inside[:, None], sides, torch.ones(64, 4))[None]
    logits = torch.full((1, 64, 4), -8.0)
    known = [truth((*box, 2, False))]
    good = logits.clone()
    good[0, inside, 2] = 8
    right = sum(loss(prediction(good, distances), known))
    assert right < sum(loss(prediction(logits, distances), known))
    assert right < sum(loss(prediction(good, distances * 0.6), known))


def test_an_empty_canvas_has_a_loss() -> None:
    of_scores, of_boxes = loss(prediction(torch.zeros(2, 64, 4), torch.ones(2, 64, 4)), [truth(), truth()])
    assert of_scores > 0
    assert of_boxes == 0


def prediction(logits: torch.Tensor, distances: torch.Tensor) -> Prediction:
    return Prediction(logits, bins_of(distances), cells())


def test_a_wide_distribution_of_distances_costs_more_than_a_narrow_one() -> None:
    box = (8.0, 8.0, 40.0, 40.0)
    at, corner = cells(), torch.tensor(box)
    sides = torch.cat([(at[:, :2] - corner[:2]), (corner[2:] - at[:, :2])], 1).clamp(min=0)[None] / 8
    logits, known = torch.zeros(1, 64, 4), [truth((*box, 2, False))]
    narrow = Prediction(logits, bins_of(sides), at)
    # the same mean, from bins that lie further apart
    wide = Prediction(logits, torch.logaddexp(bins_of(sides - 0.9), bins_of(sides + 0.9)), at)
    inside = ((sides > 1) & (sides < 6)).all(-1)[0]
    torch.testing.assert_close(narrow.boxes()[0, inside], wide.boxes()[0, inside], atol=0.1, rtol=0)
    assert loss(wide, known)[1] > loss(narrow, known)[1] + 0.1


def test_changed_predictions_of_unlabelled_types_cost_something() -> None:
    # logits that are not so far apart that their gradients vanish
    scores, sides = torch.zeros(2, 64, 4), bins_of(torch.ones(2, 64, 4)).clamp(min=-3)
    other_scores, other_sides = scores.clone(), sides.clone()
    other_scores[0, :, 1], other_sides[0] = 3.0, bins_of(torch.full((64, 4), 2.0)).clamp(min=-3)
    other_scores.requires_grad_()
    other_sides.requires_grad_()
    before, known, faces_only = Prediction(scores, sides, cells()), truth(), truth(unlabelled=(1, 2, 3))

    assert distillation_loss(before, before, [faces_only, faces_only]) == 0
    assert distillation_loss(Prediction(other_scores, other_sides, cells()), before, [known, faces_only]) == 0
    for changed in (Prediction(other_scores, sides, cells()), Prediction(scores, other_sides, cells())):
        apart = distillation_loss(changed, before, [faces_only, known])
        assert apart > 0
        apart.backward()
    # down to what was said before, and nothing else is moved
    assert other_scores.grad is not None and other_sides.grad is not None
    assert (other_scores.grad[0, :, 1] > 0).all()
    assert other_scores.grad.count_nonzero() == 64
    # the distances fall: bins above the mean of 2.4 lose weight, those below gain it
    by_bin = other_sides.grad[0].reshape(-1, 4, BINS)
    assert (by_bin[..., 3:] > 0).all()
    assert (by_bin[..., :2] < 0).all()
    assert other_sides.grad[1].count_nonzero() == 0


def test_boxes_with_low_scores_may_change() -> None:
    faint, sides = torch.full((1, 64, 4), -5.0), torch.ones(1, 64, 4)
    assert (
        distillation_loss(prediction(faint, 2 * sides), prediction(faint, sides), [truth(unlabelled=(0, 1, 2, 3))]) == 0
    )
