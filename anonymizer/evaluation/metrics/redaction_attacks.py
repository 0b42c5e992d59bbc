"""Attacks on redacted objects by someone who has the software, but not the key of its noise.

Each attacker knows more than a real one would: font, place and light of a license plate, or the very photo of a face.
The results are therefore upper bounds. `redaction_strength` measures what is left without an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anonymizer.evaluation.metrics.redaction_strength import Cutout, detections_of_type
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.effects import NOISE, TINT_NOISE, pixelate_cells, redact
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, redact_planes

__all__ = [
    "CHARACTERS",
    "PlateAttack",
    "PlateReading",
    "Redaction",
    "edge_recovery",
    "face_linkage",
    "in_frames",
    "with_cells",
    "with_options",
]

#: Takes pixels (h, w, 3) uint8 or uint16 RGB, a box (4,) and the seed of the noise; returns redacted pixels.
Redaction = Callable[[NDArray[Any], NDArray[np.float32], int], NDArray[Any]]

#: what a plate is made of: letters without I, O and Q, and digits
CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
#: characters on a plate; their width and the height of the plate in pixels; the plate's border left and right
LENGTH, SLOT_PX, HEIGHT_PX, BORDER_PX = 7, 14, 24, 7
WIDTH_PX = LENGTH * SLOT_PX + 2 * BORDER_PX
#: values of the paper and of the ink, 0..255 RGB, before light
PAPER, BLACK_INK, RED_INK = (205.0, 205.0, 205.0), (25.0, 25.0, 25.0), (170.0, 25.0, 35.0)
#: rows and columns to which a redacted plate is averaged before it is compared: about 4 pixels each
PLATE_GRID = (10, 32)
#: rows and columns to which a redacted face is averaged
FACE_GRID = (16, 16)
#: what the sensor adds to each value, and what is left of an error in an attacker's knowledge of the place
SENSOR_NOISE, REST = 2.0, 0.1
#: how much of its shorter side the attacker looks at around a box
AROUND = 0.4


def with_options(options: Options, object_type: ObjectType) -> Redaction:
    """Redact one object as the pipeline redacts pictures.

    Args:
        options: of redaction.
        object_type: of the object.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        regions = redaction_regions(detections_of_type(box[None], object_type), pixels.shape[:2], options)
        return redact(pixels, regions, options, seed=seed)

    return redacted


def in_frames(options: Options, object_type: ObjectType) -> Redaction:
    """Redact one object as the pipeline redacts frames of videos, in G, B and R planes.

    Args:
        options: of redaction.
        object_type: of the object.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        form = PlaneFormat(8 * pixels.itemsize, (0, 0), "gbr", full_range=True)
        regions = redaction_regions(detections_of_type(box[None], object_type), pixels.shape[:2], options)
        planes = [np.array(pixels[..., channel], order="C") for channel in (1, 2, 0)]
        redact_planes(planes, form, regions, [seed] * len(regions), options)
        return np.stack([planes[2], planes[0], planes[1]], axis=-1)

    return redacted


def with_cells(cells: float, object_type: ObjectType, *, noise: float = NOISE) -> Redaction:
    """Pixelate one object with another number of cells than the pipeline allows, to compare with.

    Args:
        cells: across the shorter side of the box.
        object_type: gives margin and edge, as by default.
        noise: standard deviation of the noise that all channels share, as a share of the range of values.
    """

    def redacted(pixels: NDArray[Any], box: NDArray[np.float32], seed: int) -> NDArray[Any]:
        options, out = Options(), pixels.copy()
        for region in redaction_regions(detections_of_type(box[None], object_type), pixels.shape[:2], options):
            height, width = region.alpha.shape
            cell = region.short_side / cells
            size = max(int(height / cell), 1), max(int(width / cell), 1)
            rng = np.random.default_rng(seed)
            drawn = rng.normal(0, noise, (*size, 1)) + rng.normal(0, TINT_NOISE, (*size, 3))
            crop = np.ascontiguousarray(pixels[region.crop])
            shown = pixelate_cells(crop, drawn, np.iinfo(pixels.dtype).max, smooth=False)
            cv2.copyTo(shown, region.alpha, out[region.crop])
        return out

    return redacted


class _WithoutNoise:
    """What redaction shows of pictures of one size and box, without its noise.

    The attacker redacts grey with a seed of their own, which shows the noise of that seed, and subtracts that noise.
    Sixteen bits keep the rounding small.
    """

    def __init__(self, redaction: Redaction, shape: tuple[int, ...], box: NDArray[np.float32]) -> None:
        self._redaction, self._box = redaction, box
        grey = np.full(shape, 128 * 257, np.uint16)
        self._noise = redaction(grey, box, 0).astype(np.float32) - 128 * 257

    def shown(self, pixels: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Of pixels (h, w, 3) 0..255, which need not be whole numbers."""
        wide = np.rint(pixels * 257).astype(np.uint16)
        return cast("NDArray[np.float32]", (self._redaction(wide, self._box, 0) - self._noise) / np.float32(257))


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
        return cast("NDArray[np.float32]", picture)

    def observed(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """What the attacker compares: the plate and its surroundings, averaged; (cells, 3)."""
        crop = _around(pixels.astype(np.float32), self.box)
        return np.asarray(cv2.resize(crop, PLATE_GRID[::-1], interpolation=cv2.INTER_AREA)).reshape(-1, 3)


def _warped(ink: NDArray[np.float32], matrix: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.warpAffine(ink, matrix, size_hw[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _around(pixels: NDArray[Any], box: NDArray[np.float32], around: float = AROUND) -> NDArray[Any]:
    by = around * float(min(box[2] - box[0], box[3] - box[1]))
    x1, y1, x2, y2 = np.rint(box + np.array([-by, -by, by, by])).astype(int)
    return pixels[max(y1, 0) : y2, max(x1, 0) : x2]


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

    Example:
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
        redaction = _WithoutNoise(self._redaction, (*view.size_hw, 3), view.box)
        shown = np.stack([view.observed(redaction.shown(view.picture(ink, self._ink_rgb))) for ink in inks])
        return cast("NDArray[np.float32]", (shown @ self._whitening.T).reshape(len(inks), -1))

    def _weighted(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Noise that all pictures share is known from none of them; only their differences are free of it."""
        if not self._same_noise:
            return values
        mean = values.mean(0, keepdims=True)
        return (values - mean + mean * (REST / np.hypot(REST, np.sqrt(len(values))))) / REST

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
            picture += rng.normal(0, SENSOR_NOISE, picture.shape).astype(np.float32)
            pixels = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
            redacted = self._redaction(pixels, view.box, int(seeds[0] if self._same_noise else seed))
            seen.append((view.observed(redacted) @ self._whitening.T).ravel())
        residual = self._weighted(np.stack(seen) - self._blank)
        return np.einsum("pcv,pv->c", self._traces, residual, optimize=True).astype(float)

    def _errors(self, columns: NDArray[np.int64], found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared differences of candidates, (n, LENGTH) columns, from what was seen; without a common constant."""
        pairs = self._products[columns[:, :, None], columns[:, None, :]].sum((1, 2))
        return cast("NDArray[np.float64]", pairs - 2 * found[columns].sum(1))

    def _read(self, found: NDArray[np.float64], rng: np.random.Generator, starts: int = 8) -> NDArray[np.int64]:
        """The plate that agrees best: from several starts, each place is improved until none changes."""
        number = self._number
        ends = []
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


def face_linkage(
    faces: Sequence[Cutout], redaction: Redaction, *, pictures: int = 30, seed: int = 0
) -> NDArray[np.int64]:
    """Find redacted faces again among the originals, by the average of several aligned pictures.

    The pictures of a face are made from one photo: moved, turned, scaled, in other light, with other noise. They are
    aligned by their boxes, which are a few percent off. The attacker redacts the originals with the same software,
    moved in other ways, averages them too, and compares by the correlation of what differs from the average face.

    Args:
        faces: at least 3, with about half of the shorter side around the box.
        redaction: the setting that is attacked.
        pictures: how many of them show each face.
        seed: of places, light and noise.

    Returns:
        (n,) the rank of each true face, 1 = first. By chance it is (n + 1) / 2 on average.
    """
    rng = np.random.default_rng(seed)
    gallery = _standardised(np.stack([_average_face(face, redaction, pictures, rng, known=True) for face in faces]))
    probes = np.stack([_average_face(face, redaction, pictures, rng, known=False) for face in faces])
    likeness = _standardised(probes) @ gallery.T
    true = likeness.diagonal()[:, None]
    better, equal = (likeness > true).sum(1), (likeness == true).sum(1)
    return np.asarray(1 + better + rng.integers(equal), np.int64)


def _average_face(
    face: Cutout, redaction: Redaction, pictures: int, rng: np.random.Generator, *, known: bool
) -> NDArray[np.float64]:
    """The average of redacted pictures of a face; those that the attacker makes (known) have no noise."""
    total = np.zeros((*FACE_GRID, 3))
    height, width = face.pixels.shape[:2]
    centre, side = (face.box[:2] + face.box[2:]) / 2, face.short_side
    for _ in range(pictures):
        matrix = cv2.getRotationMatrix2D([float(at) for at in centre], rng.uniform(-5, 5), rng.uniform(0.93, 1.07))
        matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * side
        moved = cv2.warpAffine(face.pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        light = np.clip(moved * rng.uniform(0.85, 1.1) + rng.uniform(-10, 10), 0, 255)
        box = (face.box + rng.normal(0, 0.02, 4) * side).astype(np.float32)
        if known:
            shown = _WithoutNoise(redaction, light.shape, box).shown(light)
        else:
            noisy = np.clip(light + rng.normal(0, SENSOR_NOISE, light.shape), 0, 255)
            shown = redaction(np.rint(noisy).astype(np.uint8), box, int(rng.integers(2**63))).astype(np.float32)
        total += cv2.resize(_around(shown, box, 0), FACE_GRID, interpolation=cv2.INTER_AREA)
    return total / pictures


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each face as its difference from the average one, without its own brightness and contrast."""
    flat = values.reshape(len(values), -1, 3)
    flat = flat - flat.mean(1, keepdims=True)
    flat = (flat - flat.mean(0)).reshape(len(values), -1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # a black face has no direction, only the rounding of its zeros
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6))


def edge_recovery(
    before: NDArray[np.uint8], after: NDArray[np.uint8], alpha: NDArray[np.uint8], fine_px: int
) -> tuple[float, float]:
    """Undo a soft edge as if it were a mixture with the original.

    The colour inside is taken from the nearest fully redacted pixel. The strength at each pixel is known, as the
    software computes it from the box.

    Args:
        before, after: (h, w, 3), the original and the redacted pixels.
        alpha: (h, w), the strength: 255 inside, 0 outside, between them at the edge.
        fine_px: size in pixels under which structure counts as fine.

    Returns:
        The correlation of the recovered fine structure with that of the original, -1..1, and the median difference
        of the recovered pixels from the original, 0..255; both over the edge.
    """
    nearest = cv2.distanceTransformWithLabels(
        (alpha < 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    by_label = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    by_label[nearest[alpha == 255]] = after[alpha == 255]
    weight = alpha.astype(np.float32)[..., None] / 255
    recovered = (after - weight * by_label[nearest]) / np.maximum(1 - weight, 1e-3)
    edge = (alpha > 0) & (alpha < 230)
    pair = [_fine(np.clip(each, 0, 255), fine_px)[edge].ravel() for each in (before.astype(np.float32), recovered)]
    error = float(np.median(np.abs(np.clip(recovered, 0, 255) - before)[edge]))
    if min(values.std() for values in pair) == 0:
        return 0.0, error
    return float(np.corrcoef(*pair)[0, 1]), error


def _fine(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", pixels - cv2.blur(pixels, (size, size)))
