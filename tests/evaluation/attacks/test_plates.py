"""A ranking attack on plates: it reads weak settings, and the default leaves it at chance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from anonymizer.evaluation.attacks.plates import BLACK_INK, RED_INK, PlateAttack
from anonymizer.evaluation.attacks.redactions import Redaction, in_frames, in_two_boxes, with_cells, with_options
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options, PlateFill
from anonymizer.pipeline.redaction import effects

PLATE, VEHICLE = ObjectType.LICENSE_PLATE, ObjectType.VEHICLE
BLUR, PIXELATE, BLACKEN = (Options(method=each) for each in (Method.BLUR, Method.PIXELATE, Method.BLACKEN))
OWN_COLOUR = Options(method=Method.PIXELATE, plate_fill=PlateFill.PLATE)
#: fewer characters than on real plates, so that the attack takes a second or two
DIGITS = "013478"
TRIALS = 40
#: three standard errors of a mean of uniform ranks
THREE_ERRORS = 3 / np.sqrt(12 * TRIALS)


def attack(redaction: Redaction, pictures: int = 30, *, ink: tuple[float, ...] = BLACK_INK) -> PlateAttack:
    return PlateAttack(redaction, pictures=pictures, characters=DIGITS, ink_rgb=ink)


def ranks(attacker: PlateAttack, trials: int = TRIALS) -> tuple[float, float, float]:
    """The mean share of candidates before the true plate, the share of first ranks, and that of characters read."""
    readings = [attacker.reading(seed=seed) for seed in range(trials)]
    return (
        float(np.mean([reading.share for reading in readings])),
        float(np.mean([reading.rank == 1 for reading in readings])),
        float(np.mean([reading.characters for reading in readings])),
    )


@cache
def two_cells(pictures: int) -> PlateAttack:
    return attack(with_cells(2, PLATE), pictures)


@pytest.mark.parametrize(
    "redaction",
    [
        pytest.param(with_options(BLUR, PLATE), id="blur"),
        pytest.param(with_options(PIXELATE, PLATE), id="pixelate"),
        pytest.param(with_options(BLACKEN, PLATE), id="blacken"),
        pytest.param(with_options(BLUR, PLATE, within=VEHICLE), id="blur within a vehicle"),
        pytest.param(with_options(PIXELATE, PLATE, within=VEHICLE), id="pixelate within a vehicle"),
        pytest.param(in_two_boxes(BLUR, PLATE), id="two boxes on one plate"),
        pytest.param(in_frames(BLUR, PLATE), id="frames"),
    ],
)
def test_the_default_leaves_the_attack_at_chance(redaction: Redaction) -> None:
    attacker = attack(redaction, 3, ink=RED_INK)
    # no character at any place changes any value that the attacker sees
    assert attacker.signal == 0
    share, first, characters = ranks(attacker)
    assert share == pytest.approx(0.5, abs=THREE_ERRORS)
    assert first <= 0.05
    assert characters == pytest.approx(1 / len(DIGITS), abs=0.08)


def test_thirty_pictures_do_not_help_against_the_default() -> None:
    attacker = attack(with_options(BLUR, PLATE))
    assert attacker.signal == 0
    assert ranks(attacker)[0] == pytest.approx(0.5, abs=THREE_ERRORS)


def test_the_attack_succeeds_on_two_cells_from_thirty_pictures() -> None:
    share, first, characters = ranks(two_cells(30), 20)
    assert share < 0.01
    assert first > 0.7
    assert characters > 0.6


def test_from_one_picture_of_two_cells_it_reads_less() -> None:
    share, first, characters = ranks(two_cells(1))
    assert 0.03 < share < 0.4
    assert first < 0.3
    assert characters < 0.5


def test_without_its_noise_one_picture_of_two_cells_tells_the_plate() -> None:
    share, first, _ = ranks(attack(with_cells(2, PLATE, noise=0), 1))
    assert share < 0.02
    assert first > 0.5


class TestThePlatesOwnColour:
    def test_from_one_picture_its_noise_hides_it(self) -> None:
        assert ranks(attack(with_options(OWN_COLOUR, PLATE), 1))[0] > 0.5 - THREE_ERRORS

    def test_without_its_noise_it_tells_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(effects, "NOISE", 0)
        monkeypatch.setattr(effects, "TINT_NOISE", 0)
        assert ranks(attack(with_options(OWN_COLOUR, PLATE), 6))[0] < 0.1

    def test_from_thirty_pictures_it_is_not_at_chance(self) -> None:
        """The reason why it is not the default, as the option's help says."""
        attacker = attack(with_options(OWN_COLOUR, PLATE), ink=RED_INK)
        assert attacker.signal > 0.1
        share, first, _ = ranks(attacker, 2 * TRIALS)
        assert 0.1 < share < 0.5 - THREE_ERRORS / np.sqrt(2)
        assert first < 0.1


def test_the_rank_of_equals_is_drawn() -> None:
    attacker = attack(with_options(BLACKEN, PLATE), 1)
    drawn = [attacker.reading(seed=seed, candidates=3).rank for seed in range(60)]
    assert {1, 2, 3} == set(drawn)
    assert attacker.reading(seed=5).rank == attacker.reading(seed=5).rank
