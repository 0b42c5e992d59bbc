from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.pipeline.images.decoded import DecodedImage, nearest_palette_indices


def with_palette(palette: np.ndarray, indices: np.ndarray, samples: np.ndarray) -> DecodedImage:
    return DecodedImage(samples.astype(np.uint8), indices=indices.astype(np.uint8), palette=palette.astype(np.uint8))


def distances(samples: np.ndarray, palette: np.ndarray) -> np.ndarray:
    return ((samples[..., None, :].astype(int) - palette[:, :3].astype(int)) ** 2).sum(axis=-1)


class TestNearestPaletteIndices:
    @given(
        colours=st.integers(1, 256),
        levels=st.sampled_from([2, 4, 256]),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=60, deadline=None)
    def test_changed_pixels_get_the_first_of_the_nearest_colours(self, colours: int, levels: int, seed: int) -> None:
        # few levels: many colours are equally near, or the same
        rng = np.random.default_rng(seed)
        palette = np.column_stack([rng.integers(0, levels, (colours, 3)), np.full(colours, 255)])
        indices = rng.integers(0, colours, (9, 7))
        samples = np.where(rng.random((9, 7, 1)) < 0.5, palette[indices, :3], rng.integers(0, levels, (9, 7, 3)))

        result = nearest_palette_indices(with_palette(palette, indices, samples))

        unchanged = (palette[indices, :3] == samples).all(axis=2)
        expected = np.where(unchanged, indices, distances(samples, palette).argmin(axis=2))
        np.testing.assert_array_equal(result, expected)

    def test_a_pixel_keeps_its_kind_of_alpha(self) -> None:
        palette = np.array([[0, 0, 0, 0], [9, 9, 9, 7], [200, 200, 200, 9], [0, 0, 0, 255], [90, 90, 90, 255]])
        indices = np.array([[0, 1, 3]])

        result = nearest_palette_indices(with_palette(palette, indices, np.full((1, 3, 3), 150)))

        assert result.tolist() == [[0, 2, 4]]

    def test_an_image_without_a_palette_has_no_indices(self) -> None:
        with pytest.raises(ValueError, match="no palette"):
            nearest_palette_indices(DecodedImage(np.zeros((2, 2, 3), np.uint8)))

    def test_a_megapixel_of_many_colours_takes_no_more_than_seconds(self) -> None:
        rng = np.random.default_rng(0)
        palette = np.column_stack([rng.integers(0, 256, (256, 3)), np.full(256, 255)])
        decoded = with_palette(palette, np.zeros((1000, 1000)), rng.integers(0, 256, (1000, 1000, 3)))
        started = time.perf_counter()

        nearest_palette_indices(decoded)

        assert time.perf_counter() - started < 10
