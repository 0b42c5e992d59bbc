"""A ranking attack on license plates, by someone who knows font, place and light of each picture.

A real attacker knows less. The results are therefore upper bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anonymizer.evaluation.attacks.redactions import SENSOR_NOISE, Redaction, WithoutNoise, crop_around
from anonymizer.pipeline.redaction.effects import NOISE, TINT_NOISE

__all__ = ["BLACK_INK", "CHARACTERS", "RED_INK", "PlateAttack", "PlateReading"]

#: what a plate is made of: letters without I, O and Q, and digits
CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
#: characters on a plate; their width and the height of the plate in pixels; the plate's border left and right
LENGTH, SLOT_PX, HEIGHT_PX, BORDER_PX = 7, 14, 24, 7
WIDTH_PX = LENGTH * SLOT_PX + 2 * BORDER_PX
#: values of the paper and of the ink, 0..255 RGB, before light
PAPER, BLACK_INK, RED_INK = (205.0, 205.0, 205.0), (25.0, 25.0, 25.0), (170.0, 25.0, 35.0)
#: rows and columns to which a redacted plate is averaged before it is compared: about 4 pixels each
PLATE_GRID = (10, 32)
#: what is left of an error in the attacker's knowledge of the place, in deviations of the noise
REST = 0.1
#: how much of its shorter side the attacker looks at around a box
AROUND = 0.4


@dataclass(frozen=True, slots=True)
class _View:
    """One picture of a plate: where the plate lies, and what light falls on it."""

    matrix: NDArray[np.float32]
    size_hw: tuple[int, int]
    box: NDArray[np.float32]
    background: NDArray[np.float32]
    gain: float
    offset: float
    cover: NDArray[np.float32]

    @classmethod
    def random(cls, rng: np.random.Generator) -> _View:
        scale, angle = rng.uniform(0.9, 1.1), np.radians(rng.uniform(-3, 3))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = rng.uniform(24, 32, 2)
        corners = np.array([[0, 0], [WIDTH_PX, 0], [0, HEIGHT_PX], [WIDTH_PX, HEIGHT_PX]]) @ turn.T + shift
        shift -= np.minimum(corners.min(0) - 24, 0)
        corners = np.array([[0, 0], [WIDTH_PX, 0], [0, HEIGHT_PX], [WIDTH_PX, HEIGHT_PX]]) @ turn.T + shift
        box = np.concatenate([corners.min(0), corners.max(0)]) + rng.normal(0, 0.5, 4)
        size_hw = int(box[3]) + 24, int(box[2]) + 24
        matrix = np.hstack([turn, shift[:, None]]).astype(np.float32)
        cover = _warped(np.ones((HEIGHT_PX, WIDTH_PX), np.float32), matrix, size_hw)
        return cls(
            matrix, size_hw, box.astype(np.float32), rng.uniform(40, 200, 3).astype(np.float32),
            rng.uniform(0.8, 1.05), rng.uniform(-10, 10), cover,
        )  # fmt: skip

    def picture(self, ink: NDArray[np.float32], ink_rgb: Sequence[float]) -> NDArray[np.float32]:
        """The picture, (h, w, 3) float32 0..255, of a plate with this much ink, (HEIGHT_PX, WIDTH_PX) 0..1."""
        paper, colour = (np.array(rgb, np.float32) * self.gain + self.offset for rgb in (PAPER, ink_rgb))
        drawn, cover = _warped(ink, self.matrix, self.size_hw)[..., None], self.cover[..., None]
        picture = paper * cover + (colour - paper) * drawn + (1 - cover) * self.background
        return np.asarray(picture, np.float32)

    def observed(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """What the attacker compares: the plate and its surroundings, averaged; (cells, 3)."""
        crop = crop_around(pixels.astype(np.float32), self.box, AROUND)
        seen = cv2.resize(crop, PLATE_GRID[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(seen, np.float32).reshape(-1, 3)


def _warped(ink: NDArray[np.float32], matrix: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.warpAffine(ink, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR), np.float32)


@cache
def _glyphs(characters: str) -> NDArray[np.float32]:
    """Ink of each character at each place of a plate: (LENGTH, characters, HEIGHT_PX, WIDTH_PX) 0..1."""
    out = np.zeros((LENGTH, len(characters), HEIGHT_PX, WIDTH_PX), np.float32)
    font = ImageFont.load_default(20)
    for number, character in enumerate(characters):
        image = Image.new("L", (SLOT_PX, HEIGHT_PX))
        ImageDraw.Draw(image).text((SLOT_PX / 2, HEIGHT_PX / 2), character, 255, font, anchor="mm", stroke_width=0.5)
        for place in range(LENGTH):
            start = BORDER_PX + place * SLOT_PX
            out[place, number, :, start : start + SLOT_PX] = np.asarray(image, np.float32) / 255
    return out


@dataclass(frozen=True)
class PlateReading:
    """What an attack on one plate gave.

    Attributes:
        rank: of the true plate among all candidates, 1 = first. Candidates of equal evidence are ordered by chance.
        candidates: how many there were, the true one included.
        characters: share of characters that the attacker reads rightly without candidates, 0..1.
    """

    rank: int
    candidates: int
    characters: float

    @property
    def share(self) -> float:
        """The rank as 0..1: .5 on average by chance, 0 for first."""
        return (self.rank - 1) / (self.candidates - 1)


class PlateAttack:
    """An attacker who knows font, place and light of each picture of a plate, and adds up what the pictures tell.

    They redact each character at each place with the same software, and compare the squared differences from the
    redacted pictures. Each picture has other noise, place, size, angle and light.

    Args:
        redaction: the setting that is attacked.
        pictures: how many of them show the plate.
        same_noise: all pictures have the noise of one seed, as the frames of a track have.
        characters: that plates are made of.
        ink_rgb: colour of the characters, 0..255 RGB.
        seed: of places and light.

    Examples:
        >>> attack = PlateAttack(with_options(Options(), ObjectType.LICENSE_PLATE))
        >>> attack.reading(seed=1).rank  # doctest: +SKIP
        512
    """

    def __init__(
        self,
        redaction: Redaction,
        *,
        pictures: int = 30,
        same_noise: bool = False,
        characters: str = CHARACTERS,
        ink_rgb: Sequence[float] = BLACK_INK,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._number, self._ink_rgb, self._ink = len(characters), ink_rgb, _glyphs(characters)
        self._redaction, self._same_noise = redaction, same_noise
        self._views = [_View.random(rng) for _ in range(pictures)]
        # the noise that all channels share, and that of each channel, made independent and of deviation 1
        covariance = np.full((3, 3), NOISE**2) + np.eye(3) * TINT_NOISE**2
        self._whitening = np.linalg.inv(np.linalg.cholesky(covariance * 255**2)).astype(np.float32)
        glyphs = self._ink.reshape(-1, HEIGHT_PX, WIDTH_PX)
        blank = np.zeros_like(glyphs[0])
        shown = np.stack([self._expected(view, [blank, *glyphs]) for view in self._views])
        self._blank = shown[:, 0]
        # (pictures, characters at places, values)
        self._traces = self._weighted(shown[:, 1:] - shown[:, :1])
        self._products = np.einsum("pcv,pdv->cd", self._traces, self._traces, optimize=True).astype(float)

    @property
    def signal(self) -> float:
        """The largest change that one character makes, in standard deviations of the noise; 0 if there is none."""
        return float(np.abs(self._traces).max())

    def _expected(self, view: _View, inks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        redaction = WithoutNoise(self._redaction, (*view.size_hw, 3), view.box)
        shown = np.stack([view.observed(redaction.shown(view.picture(ink, self._ink_rgb))) for ink in inks])
        return np.asarray((shown @ self._whitening.T).reshape(len(inks), -1), np.float32)

    def _weighted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Noise that all pictures share is known from none of them; only their differences are free of it."""
        if not self._same_noise:
            return values
        mean = values.mean(0, keepdims=True)
        return np.asarray((values - mean + mean * (REST / np.hypot(REST, np.sqrt(len(values))))) / REST, np.float32)

    def reading(self, *, seed: int, candidates: int = 1001) -> PlateReading:
        """Attack one random plate.

        Args:
            seed: of the plate, of the noise and of the other candidates.
            candidates: how many plates are ranked, the true one included.
        """
        rng = np.random.default_rng([seed, 1])
        plates = rng.integers(0, self._number, (candidates, LENGTH))
        found = self._evidence(plates[0], rng)
        columns = plates + np.arange(LENGTH) * self._number
        errors = self._errors(columns, found)
        better, equal = int((errors < errors[0]).sum()), int((errors == errors[0]).sum())
        read = self._read(found, rng)
        return PlateReading(1 + better + int(rng.integers(equal)), candidates, float((read == plates[0]).mean()))

    def _evidence(self, plate: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """How much each character at each place agrees with the redacted pictures of a plate."""
        ink = self._ink[np.arange(LENGTH), plate].sum(0)
        seeds = rng.integers(0, 2**63, len(self._views))
        seen = []
        for view, seed in zip(self._views, seeds, strict=True):
            picture = view.picture(ink, self._ink_rgb)
            picture += np.float32(SENSOR_NOISE) * rng.standard_normal(picture.shape, np.float32)
            pixels = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
            redacted = self._redaction(pixels, view.box, int(seeds[0] if self._same_noise else seed))
            seen.append((view.observed(redacted) @ self._whitening.T).ravel())
        residual = self._weighted(np.stack(seen) - self._blank)
        return np.asarray(np.einsum("pcv,pv->c", self._traces, residual, optimize=True), np.float64)

    def _errors(self, columns: NDArray[np.int64], found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared differences of candidates, (n, LENGTH) columns, from what was seen; without a common constant."""
        pairs = self._products[columns[:, :, None], columns[:, None, :]].sum((1, 2))
        return np.asarray(pairs - 2 * found[columns].sum(1))

    def _read(self, found: NDArray[np.float64], rng: np.random.Generator, starts: int = 8) -> NDArray[np.int64]:
        """The plate that agrees best: from several starts, each place is improved until none changes."""
        number = self._number
        ends: list[NDArray[np.int64]] = []
        for _ in range(starts):
            plate = rng.integers(0, number, LENGTH)
            for _ in range(20):
                before = plate.copy()
                for place in range(LENGTH):
                    tried = np.repeat(plate[None], number, axis=0)
                    tried[:, place] = np.arange(number)
                    errors = self._errors(tried + np.arange(LENGTH) * number, found)
                    if errors.min() < errors[plate[place]]:
                        plate[place] = errors.argmin()
                if np.array_equal(before, plate):
                    break
            ends.append(plate)
        errors = self._errors(np.stack(ends) + np.arange(LENGTH) * number, found)
        return ends[int(errors.argmin())]
