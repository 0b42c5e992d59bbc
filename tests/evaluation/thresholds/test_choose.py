"""Choosing thresholds: as high as the target allows, and as sure as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.metrics.statistics import lower_bound
from anonymizer.evaluation.thresholds.choose import Verdict, choose_thresholds, size_words
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.formats import Auto
from anonymizer.pipeline.options.options import Options

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE


def type_result(
    match_score: np.ndarray, picture: np.ndarray, *, pictures: int | None = None, sides: np.ndarray | None = None,
    wrong: int = 0, object_type: ObjectType = FACE,
) -> TypeResult:  # fmt: skip
    """Objects that are found from these thresholds down, one false detection of .5 in each of the first pictures."""
    count = int(picture.max(initial=-1)) + 1 if pictures is None else pictures
    sides = np.full(len(match_score), 40.0) if sides is None else sides
    boxes = np.column_stack([np.zeros((len(sides), 2)), sides, sides]).astype(np.float32)
    hits = match_score >= 0
    return TypeResult(
        object_type=object_type,
        image_indices=np.arange(count),
        pixels=np.full(count, 1e4),
        object_picture=picture,
        object_boxes=boxes,
        match_score=match_score.astype(np.float32),
        cover_score=match_score.astype(np.float32),
        picture=np.concatenate([picture[hits], np.arange(wrong)]),
        boxes=np.concatenate([boxes[hits], np.tile(np.float32([90, 90, 99, 99]), (wrong, 1))]),
        scores=np.concatenate([match_score[hits], np.full(wrong, 0.5)]).astype(np.float32),
        hit=np.concatenate([np.ones(hits.sum(), bool), np.zeros(wrong, bool)]),
        excess=np.column_stack([np.arange(wrong), np.full(wrong, 0.5), np.full(wrong, 81.0)]).reshape(-1, 3),
    )


def result_of(*parts: TypeResult) -> EvaluationResult:
    count = max(each.pictures for each in parts)
    images = tuple(LabelledImage(n, Path(f"{n}.png"), "drawn", tuple(ObjectType), {}) for n in range(count))
    types = {each.object_type: each for each in parts}
    return EvaluationResult("fake", "drawn", images, types, dict.fromkeys(types, "fake@1"), Auto(), Options())


def one_each(match_score: np.ndarray, **kwargs: object) -> TypeResult:
    return type_result(match_score, np.arange(len(match_score)), **kwargs)  # type: ignore[arg-type]


def test_the_highest_threshold_is_taken_whose_bound_reaches_the_target() -> None:
    rng = np.random.default_rng(1)
    found = one_each(rng.random(500), wrong=100)
    choice = choose_thresholds(result_of(found), 0.9)[FACE]
    assert choice.verdict is Verdict.REACHED
    scores = np.sort(found.match_score)
    at = int(np.searchsorted(scores, np.float32(choice.threshold)))
    hits = [(np.arange(500) >= each).astype(float) for each in (at, at + 1)]
    assert lower_bound(hits[0], np.ones(500)) == pytest.approx(choice.recall_at_least)
    assert choice.recall_at_least >= 0.9 > lower_bound(hits[1], np.ones(500))
    assert choice.recall.value == pytest.approx(1 - at / 500)
    assert choice.recall.low < choice.recall.value < choice.recall.high
    # known for independent draws: 1.645 standard errors below the mean
    assert choice.recall.value == pytest.approx(0.9 + 1.645 * (0.9 * 0.1 / 500) ** 0.5, abs=0.006)
    assert choice.false_blurs.value == pytest.approx(100 / 500)
    assert choice.over_redaction.value == pytest.approx(100 * 81 / 500e4)


@pytest.mark.parametrize("target", [0.9, 0.95])
def test_what_is_promised_for_other_pictures_is_kept_as_often_as_it_says(target: float) -> None:
    rng, kept = np.random.default_rng(3), []
    for _ in range(150):
        # pictures differ: in some everything is hard
        ease = rng.beta(4, 1, 300)
        picture = np.repeat(np.arange(300), rng.integers(1, 6, 300))
        scores = rng.random(len(picture)) ** (1 / (0.2 + 6 * ease[picture]))
        choice = choose_thresholds(result_of(type_result(scores, picture)), target)[FACE]
        assert choice.verdict is Verdict.REACHED
        # the true recall at a threshold t is the mean of 1 - t^(.2 + 6 ease)
        truth = 1 - choice.threshold ** (0.2 + 6 * np.random.default_rng(9).beta(4, 1, 40_000))
        kept.append(truth.mean() >= target)
    assert np.mean(kept) > 0.95 - 3 * (0.05 * 0.95 / 150) ** 0.5


def test_too_few_objects_are_said_with_how_many_pictures_it_would_take() -> None:
    found = type_result(np.full(40, 0.8), np.arange(40) // 2, pictures=40)
    choice = choose_thresholds(result_of(found), 0.98)[FACE]
    assert choice.verdict is Verdict.TOO_FEW
    # 149 pictures with objects and without a miss, each of which may count once only; every second one has none
    assert choice.pictures_needed == pytest.approx(2 * 149, abs=2)
    assert choice.threshold == 0.5
    needed = f"too few objects to promise 98%; about {choice.pictures_needed} images like these would be enough"
    assert needed in str(choice)


@pytest.mark.parametrize(
    ("score", "in_use", "threshold"), [(0.97, 0.5, 0.5), (0.97, 0.3, 0.3), (0.97, 0.9, 0.5), (0.2, 0.5, 0.2)]
)
def test_what_is_not_proven_is_never_above_the_default(score: float, in_use: float, threshold: float) -> None:
    """Six faces once gave a threshold of .97."""
    found = replace(
        result_of(type_result(np.full(6, score), np.arange(6) // 3)), options=Options(face_threshold=in_use)
    )
    choices = choose_thresholds(found, 0.98)
    assert choices[FACE].verdict is Verdict.TOO_FEW
    assert choices[FACE].threshold == pytest.approx(threshold)
    # the figures are those at this threshold
    assert choices[FACE].recall.value == 1
    assert 0 < choices[FACE].recall_at_least < 0.98
    profile = choices.profile("street")
    assert profile.thresholds[FACE] <= threshold
    assert profile.unproven()[FACE].startswith("too few objects (6 objects in 2 images); about ")


def test_figures_of_an_unproven_choice_are_those_at_its_threshold() -> None:
    # false blurs of .5 count at the default of .5, but not at .8
    found = result_of(type_result(np.full(6, 0.8), np.arange(6), wrong=3))
    assert choose_thresholds(found, 0.98)[FACE].false_blurs.value == 0.5


def test_what_is_proven_may_be_above_the_default() -> None:
    choices = choose_thresholds(result_of(one_each(np.full(200, 0.8))), 0.9)
    assert (choices[FACE].verdict, choices[FACE].threshold) == (Verdict.REACHED, pytest.approx(0.8))
    assert choices.profile("street").unproven() == {}


def test_a_size_that_is_not_proven_makes_its_type_unproven() -> None:
    found = one_each(np.full(203, 0.8), sides=np.repeat([200.0, 20.0], [200, 3]))
    chosen = choose_thresholds(result_of(found), 0.9, by_size=True)
    assert [each.verdict for each in chosen.rows[FACE]] == [Verdict.REACHED, Verdict.TOO_FEW, Verdict.REACHED]
    profile = chosen.profile("street")
    assert profile.thresholds == {FACE: 0.5}
    assert profile.unproven()[FACE].startswith("reached and too few objects")


def test_so_many_pictures_are_enough_indeed() -> None:
    rng = np.random.default_rng(2)

    def drawn(count: int) -> EvaluationResult:
        scores = np.where(np.arange(count) % 50, rng.random(count) * 0.5 + 0.5, -1.0)
        return result_of(one_each(scores))

    few = choose_thresholds(drawn(100), 0.96)[FACE]
    assert few.verdict is Verdict.TOO_FEW
    assert few.pictures_needed is not None
    enough = few.pictures_needed // 50 * 50 + 50
    assert choose_thresholds(drawn(enough), 0.96)[FACE].verdict is Verdict.REACHED
    assert choose_thresholds(drawn(enough - 250), 0.96)[FACE].verdict is Verdict.TOO_FEW


def test_a_target_that_cannot_be_reached_is_called_so_only_where_that_is_sure() -> None:
    sure = choose_thresholds(result_of(one_each(np.where(np.arange(300) % 2, 0.6, -1.0))), 0.9)[FACE]
    assert (sure.verdict, sure.pictures_needed) == (Verdict.OUT_OF_REACH, None)
    # nothing more is found further down, so nothing is paid for it
    assert sure.threshold == 0.5
    assert "90% is out of reach with these models" in str(sure)
    open_ = choose_thresholds(result_of(one_each(np.where(np.arange(10) < 8, 0.6, -1.0))), 0.9)[FACE]
    assert (open_.verdict, open_.pictures_needed) == (Verdict.TOO_FEW, None)
    assert "too few objects to rule it out" in str(open_)


def test_a_type_without_objects_is_left_to_the_servers_default() -> None:
    chosen = choose_thresholds(
        result_of(one_each(np.full(200, 0.7)), one_each(np.empty(0), pictures=200, object_type=PLATE)), 0.9
    )
    assert chosen[PLATE].verdict is Verdict.NO_OBJECTS
    assert set(chosen.profile("street").thresholds) == {FACE}
    with pytest.raises(InvalidParameter):
        choose_thresholds(result_of(one_each(np.empty(0), pictures=3)), 0.9).profile("street")


def test_each_size_has_the_target_for_itself_and_the_profile_takes_the_lowest() -> None:
    small = np.random.default_rng(5).uniform(0.1, 0.5, 300)
    large = np.random.default_rng(6).uniform(0.7, 0.9, 300)
    found = one_each(np.concatenate([small, large]), sides=np.repeat([20.0, 200.0], 300))
    chosen = choose_thresholds(result_of(found), {FACE: 0.9}, by_size=True)
    whole, *sizes = chosen.rows[FACE]
    assert [size_words(each.size) for each in sizes if each.size is not None] == ["16 to 32 px", "96 px and more"]
    assert sizes[0].threshold < whole.threshold < sizes[1].threshold
    profile = chosen.profile("street")
    assert profile.thresholds[FACE] <= sizes[0].threshold
    assert profile.thresholds[FACE] == pytest.approx(sizes[0].threshold, abs=1e-4)


def test_a_profile_remembers_what_it_was_chosen_with() -> None:
    profile = choose_thresholds(result_of(one_each(np.full(200, 0.69999))), 0.9).profile("street")
    # rounded down: what scored .69999 is still found
    assert profile.thresholds == {FACE: 0.6999}
    assert (profile.models, profile.target_recall) == ({FACE: "fake@1"}, 0.9)
    assert str(profile.format) == "auto"
    assert (profile.figures[FACE]["verdict"], profile.figures[FACE]["proven_threshold"]) == ("reached", 0.6999)
    assert profile.created


@pytest.mark.parametrize(
    "bad", [{"target_recall": 0.0}, {"target_recall": 1.0}, {"target_recall": {FACE: 2.0}}, {"confidence": 1.0}]
)
def test_a_share_that_is_none_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be a number between 0 and 1"):
        choose_thresholds(result_of(one_each(np.full(9, 0.7))), **bad)
