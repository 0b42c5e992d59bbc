from __future__ import annotations

import pytest

from anonymizer.evaluation.datasets.issues import InvalidDataset, ProblemKind, Problems


def test_nothing_wrong_is_said_too() -> None:
    problems = Problems()
    assert (len(problems), problems.counts(), problems.summary()) == (0, {}, "No problems.")


def test_problems_are_counted_by_kind_and_the_first_ones_named() -> None:
    problems = Problems()
    problems.add(ProblemKind.BOX_EMPTY, "z.jpg, line 1", "the box has no area")
    for number in range(4):
        problems.add(ProblemKind.PICTURE_BROKEN, f"{number}.jpg", "The file is empty.")
    assert problems.counts() == {ProblemKind.PICTURE_BROKEN: 4, ProblemKind.BOX_EMPTY: 1}
    assert problems.summary(limit=2).splitlines() == [
        "picture-broken: 4",
        "  0.jpg: The file is empty.",
        "  1.jpg: The file is empty.",
        "  and 2 more",
        "box-empty: 1",
        "  z.jpg, line 1: the box has no area.",
    ]


def test_strict_raises_the_first_problem() -> None:
    problems = Problems(strict=True)
    with pytest.raises(InvalidDataset, match=r"^picture-missing: a\.jpg: it is gone\.$") as raised:
        problems.add(ProblemKind.PICTURE_MISSING, "a.jpg", "it is gone")
    assert raised.value.problem.where == "a.jpg"
    assert [each.where for each in problems] == ["a.jpg"]


def test_a_copy_is_added_to_apart() -> None:
    problems = Problems()
    problems.add(ProblemKind.EMPTY_SET, "set", "there is no picture")
    copy = problems.copy(strict=True)
    with pytest.raises(InvalidDataset):
        copy.add(ProblemKind.PICTURE_BROKEN, "a.jpg", "it is broken")
    assert (len(problems), len(copy)) == (1, 2)
