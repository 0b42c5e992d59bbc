"""Redaction in the planes of video frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.orientation import stored, upright
from anonymizer.pipeline.redaction.effects import MAX_CELLS, MIN_CELL_PX, redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.redaction.yuv import (
    PlaneFormat,
    frame_planes,
    planar_format_name,
    plane_format,
    redact_planes,
    upright_planes,
)
from tests.pipeline.redaction.planes import (
    FACE,
    ORIENTATIONS,
    PERSON,
    PLATE,
    form,
    objects,
    random_planes,
    sizes,
    touched,
)

METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)
SHIFTS = ((0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (2, 2))


def stored_mask(regions: Sequence[RedactionRegion], size_hw: tuple[int, int], orientation: int) -> NDArray[np.bool_]:
    mask = np.zeros(size_hw, bool)
    for region in regions:
        mask[region.crop] |= region.alpha > 0
    return stored(mask, orientation)


class TestOutsideOfTheRegions:
    @given(
        size_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        depth=st.sampled_from([8, 10, 12, 16]),
        shift=st.sampled_from(SHIFTS),
        kind=st.sampled_from(["yuv", "gray", "gbr"]),
        boxes=st.lists(st.tuples(*[st.floats(-10, 50, width=32)] * 4), max_size=3),
        method=st.sampled_from(list(Method)),
        orientation=st.integers(1, 8),
        seed=st.integers(0, 2**64 - 1),
    )
    @settings(max_examples=150, deadline=None)
    def test_every_sample_is_that_of_the_input(
        self, size_hw: Any, depth: Any, shift: Any, kind: Any, boxes: Any, method: Any, orientation: Any, seed: Any
    ) -> None:
        asked = form(depth, shift if kind == "yuv" else (0, 0), kind)
        options = Options(method=method)
        before = random_planes(size_hw, asked, seed % 1000)
        upright_hw = size_hw if orientation < 5 else size_hw[::-1]
        regions = redaction_regions(objects(boxes), upright_hw, options)
        after = [plane.copy() for plane in before]
        redact_planes(after, asked, regions, [seed] * len(regions), options, orientation)
        inside = touched(stored_mask(regions, upright_hw, orientation), asked)
        for number in range(asked.planes):
            changed = after[number] != before[number]
            assert not changed[~inside[number]].any()
            assert after[number].max() <= asked.max_value
            if method is Method.DETECT:
                assert not changed.any()
            if method is Method.BLACKEN:
                assert (after[number][inside[number]] == asked.black[number]).all()

    def test_a_plane_of_opacity_is_left_alone(self) -> None:
        opacity = np.full((40, 40), 77, np.uint8)
        planes = [*random_planes((40, 40), form()), opacity]
        options = Options(method=Method.BLACKEN)
        redact_planes(planes, form(), redaction_regions(objects([5, 5, 30, 30]), (40, 40), options), [0], options)
        assert (opacity == 77).all()
        assert (planes[0][10:20, 10:20] == 16).all()

    def test_a_seed_too_few_is_an_error(self) -> None:
        regions = redaction_regions(objects([[0, 0, 9, 9]] * 2), (40, 40), Options())
        with pytest.raises(ValueError, match="shorter"):
            redact_planes(random_planes((40, 40), form()), form(), regions, [1], Options())


class TestChroma:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("shift", SHIFTS)
    @pytest.mark.parametrize("size_hw", [(33, 47), (32, 48), (35, 45)])
    def test_it_is_touched_where_it_colours_any_pixel_of_a_region(
        self, orientation: int, shift: tuple[int, int], size_hw: tuple[int, int]
    ) -> None:
        asked = form(shift=shift)
        options = Options(method=Method.BLACKEN, bbox=True, margin=0)
        upright_hw = size_hw if orientation < 5 else size_hw[::-1]
        regions = redaction_regions(objects([[7, 5, 8, 6], [11, 12, 22, 19], [29, 30, 33, 33]]), upright_hw, options)
        planes = [np.full(size, 99, np.uint8) for size in sizes(size_hw, asked)]
        redact_planes(planes, asked, regions, [0, 1, 2], options, orientation)
        for plane, inside in zip(planes, touched(stored_mask(regions, upright_hw, orientation), asked), strict=True):
            np.testing.assert_array_equal(plane != 99, inside)

    def test_it_is_as_strong_as_the_most_redacted_pixel_that_it_colours(self) -> None:
        alpha = np.zeros((16, 16), np.uint8)
        alpha[1, 0], alpha[3, 3], alpha[2, 3], alpha[0, 2] = 255, 51, 20, 1
        asked = form(full=True)
        planes = [np.zeros(size, np.uint8) for size in sizes((20, 20), asked)]
        planes[1][...] = 200
        # one cell inside, two by two at the edge
        options = Options(method=Method.PIXELATE, kernel_size_person=10)
        redact_planes(planes, asked, [RedactionRegion(2, 2, alpha, PERSON, 16, 0)], [0], options)
        kept = planes[1][1:3, 1:3].astype(int)
        inside, edge = kept[0, 0], kept[0, 1]
        assert len({inside, edge, 200}) == 3
        assert kept[1, 0] == 200
        assert kept[1, 1] == pytest.approx(edge + (inside - edge) * 0.2, abs=1)

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_it_has_the_cells_of_luma(self, method: Method) -> None:
        options = Options(method=method, margin=0, bbox=True)
        asked = form()
        planes = random_planes((96, 160), asked)
        regions = redaction_regions(objects([0, 0, 160, 96]), (96, 160), options)
        redact_planes(planes, asked, regions, [3], options)
        if method is Method.PIXELATE:
            assert [len(np.unique(plane, axis=1).T) for plane in planes] == [5, 5, 5]
            assert [len(np.unique(plane, axis=0)) for plane in planes] == [3, 3, 3]
        # Random colours: means of so many samples that little but grey and the noise is left.
        assert max(abs(plane.astype(float) - 127.5).max() for plane in planes[1:]) < 30


class TestTurnedFrames:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("method", METHODS)
    def test_a_turned_frame_is_redacted_as_the_upright_one(self, method: Method, orientation: int) -> None:
        options = Options(method=method)
        asked = form(shift=(1, 0))
        planes = random_planes((40, 64), asked)
        regions = redaction_regions(objects([10, 8, 40, 33]), (40, 64), options)
        expected = [plane.copy() for plane in planes]
        redact_planes(expected, asked, regions, [9], options)
        turned = [stored(plane, orientation) for plane in planes]
        shift = (1, 0) if orientation < 5 else (0, 1)
        redact_planes(turned, form(shift=shift), regions, [9], options, orientation)
        for plane, wanted in zip(turned, expected, strict=True):
            np.testing.assert_array_equal(upright(plane, orientation), wanted)

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_upright_planes_are_views(self, orientation: int) -> None:
        planes = random_planes((10, 16), form())
        for view, plane in zip(upright_planes(planes, orientation), planes, strict=True):
            np.testing.assert_array_equal(view, upright(plane, orientation))
            assert np.shares_memory(view, plane)


class TestStrength:
    @pytest.mark.parametrize("size", [64, 192, 768])
    @pytest.mark.parametrize("depth", [8, 10])
    @pytest.mark.parametrize("object_type", [FACE, PLATE, PERSON])
    @pytest.mark.parametrize("method", METHODS)
    def test_little_is_left_in_any_plane(self, method: Method, object_type: ObjectType, depth: int, size: int) -> None:
        """Of 16 x 16 random cells in the middle of each plane."""
        asked, options = form(depth), Options(method=method)
        values = []
        for seed in range(15):
            cells = random_planes((16, 16), form(depth, (0, 0)), seed)
            sides = (size, size // 2, size // 2)
            large = [
                cv2.resize(cell, (n, n), interpolation=cv2.INTER_NEAREST) for cell, n in zip(cells, sides, strict=True)
            ]
            before = [np.pad(plane, len(plane) // 2, constant_values=asked.max_value // 2) for plane in large]
            after = [plane.copy() for plane in before]
            box = [size // 2, size // 2, size // 2 + size, size // 2 + size]
            redact_planes(
                after, asked, redaction_regions(objects(box, object_type), before[0].shape, options), [seed], options
            )  # fmt: skip
            for was, now in zip(before, after, strict=True):
                inside = (slice(len(was) // 4, len(was) * 3 // 4),) * 2
                flat = now[inside].std() == 0
                values.append(0 if flat else np.corrcoef(was[inside].ravel(), now[inside].ravel())[0, 1])
        assert np.abs(np.mean(np.reshape(values, (15, 3)), axis=0)).max() <= 0.2

    def test_no_setting_goes_under_the_floor(self) -> None:
        options = Options(method=Method.PIXELATE, margin=0, bbox=True, kernel_size_person=0.0001)
        planes = random_planes((192, 192), form())
        redact_planes(planes, form(), redaction_regions(objects([0, 0, 192, 192]), (192, 192), options), [0], options)
        for plane in planes:
            assert len(np.unique(plane, axis=0)) <= MAX_CELLS[PERSON]

    def test_a_tiny_object_is_averaged_too(self) -> None:
        options = Options(method=Method.PIXELATE, margin=0, bbox=True)
        planes = random_planes((30, 30), form(shift=(2, 2)))
        redact_planes(
            planes,
            form(shift=(2, 2)),
            redaction_regions(objects([4, 4, 10, 10]), (30, 30), options),
            [0],
            options,
        )
        assert len(np.unique(planes[0][4:10, 4:10])) <= (6 / MIN_CELL_PX) ** 2

    @pytest.mark.parametrize("depth", [10, 12])
    def test_blur_does_not_overshoot_the_range(self, depth: int) -> None:
        asked = form(depth)
        planes = [np.full(size, asked.max_value, np.uint16) for size in sizes((90, 90), asked)]
        for plane in planes:
            plane[:, : plane.shape[1] // 2] = 0
        options = Options(method=Method.BLUR, bbox=True, margin=0)
        for seed in range(20):
            after = [plane.copy() for plane in planes]
            redact_planes(after, asked, redaction_regions(objects([0, 0, 90, 90]), (90, 90), options), [seed], options)
            assert max(plane.max() for plane in after) <= asked.max_value

    @pytest.mark.parametrize("depth", [8, 10])
    def test_noise_is_of_the_strength_that_it_has_in_pictures(self, depth: int) -> None:
        asked = form(depth, (0, 0), "gbr")
        options = Options(method=Method.PIXELATE, bbox=True, margin=0)
        regions = redaction_regions(objects([0, 0, 400, 12]), (12, 400), options)
        grey = [np.full((12, 400), asked.max_value // 2, np.uint8 if depth == 8 else np.uint16) for _ in range(3)]
        pictures = np.full((12, 400, 3), 127, np.uint8)
        ours, theirs = [], []
        for seed in range(30):
            planes = [plane.copy() for plane in grey]
            redact_planes(planes, asked, regions, [seed], options)
            ours.append([plane[0] / asked.max_value for plane in planes])
            theirs.append(redact(pictures, regions, options, seed=seed)[0].T / 255)
        for of in (lambda a: a.std(), lambda a: (a - a.mean(axis=1, keepdims=True)).std()):
            assert of(np.array(ours)) == pytest.approx(of(np.array(theirs)), rel=0.1)


class TestNoiseOverTime:
    """Noise that is new in each frame is gone from their average, and the mean of each cell is there again."""

    @staticmethod
    def average(seeds: Sequence[int], method: Method) -> NDArray[np.float64]:
        options = Options(method=method, bbox=True, margin=0)
        regions = redaction_regions(objects([8, 8, 72, 72]), (80, 80), options)
        frames = []
        for seed in seeds:
            planes = [np.full(size, 120, np.uint8) for size in sizes((80, 80), form())]
            redact_planes(planes, form(), regions, [seed], options)
            frames.append(planes[0][8:72, 8:72].astype(float))
        return np.mean(frames, axis=0)

    @pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
    def test_averaging_the_frames_of_a_track_does_not_remove_it(self, method: Method) -> None:
        one, many = self.average([7], method), self.average([7] * 50, method)
        np.testing.assert_array_equal(one, many)
        assert abs(many - 120).mean() > 6
        assert abs(self.average(range(50), method) - 120).mean() < 3

    def test_it_stays_with_its_cell_when_a_row_is_added(self) -> None:
        options = Options(method=Method.PIXELATE, bbox=True, margin=0)
        rows = []
        for height in (119, 120):
            planes = [np.full(size, 120, np.uint8) for size in sizes((128, 100), form())]
            redact_planes(
                planes, form(), redaction_regions(objects([0, 0, 90, height]), (128, 100), options), [4], options
            )
            rows.append(list(dict.fromkeys(planes[0][:119, 0].tolist())))
        assert [len(each) for each in rows] == [3, 4]
        assert rows[0] == rows[1][:3]


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("yuv420p", form()),
            ("yuvj420p", form(full=True)),
            ("yuv422p", form(shift=(1, 0))),
            ("yuvj444p", form(shift=(0, 0), full=True)),
            ("yuv440p", form(shift=(0, 1))),
            ("yuv411p", form(shift=(2, 0))),
            ("yuv410p", form(shift=(2, 2))),
            ("yuva420p", form()),
            ("yuv420p10le", form(10)),
            ("yuv422p10le", form(10, (1, 0))),
            ("yuv444p12le", form(12, (0, 0))),
            ("yuva444p16le", form(16, (0, 0))),
            ("gray", form(shift=(0, 0), kind="gray", full=True)),
            ("gray10le", form(10, (0, 0), "gray", full=True)),
            ("gbrp", form(8, (0, 0), "gbr", full=True)),
            ("gbrp14le", form(14, (0, 0), "gbr", full=True)),
            ("gbrap12le", form(12, (0, 0), "gbr", full=True)),
        ],
    )
    def test_a_planar_one_is_known(self, name: str, expected: PlaneFormat) -> None:
        frame = av.VideoFrame(35, 21, name)
        assert plane_format(frame) == expected
        planes = frame_planes(frame)
        wanted = sizes((21, 35), expected)
        assert [plane.shape for plane in planes[: expected.planes]] == wanted
        assert len(planes) == expected.planes + ("a" in name.removeprefix("gray"))
        assert {plane.dtype for plane in planes} == {np.dtype(np.uint8 if expected.depth == 8 else np.uint16)}
        assert planar_format_name(name) == name.replace("yuvj", "yuv")

    @pytest.mark.parametrize(
        ("name", "planar"),
        [
            ("nv12", "yuv420p"),
            ("nv21", "yuv420p"),
            ("nv16", "yuv422p"),
            ("nv24", "yuv444p"),
            ("p010le", "yuv420p10le"),
            ("p016le", "yuv420p16le"),
            ("p210le", "yuv422p10le"),
            ("y210le", "yuv422p10le"),
            ("yuyv422", "yuv422p"),
            ("uyvy422", "yuv422p"),
            ("uyyvyy411", "yuv411p"),
            ("vuya", "yuva444p"),
            ("xv30le", "yuv444p10le"),
            ("yuv420p10be", "yuv420p10le"),
            ("yuv444p10msble", "yuv444p10le"),
            ("gray12be", "gray12le"),
            ("monow", "gray"),
            ("ya8", "gbrap"),
            ("rgb24", "gbrp"),
            ("bgr24", "gbrp"),
            ("bgr0", "gbrp"),
            ("rgb555le", "gbrp"),
            ("rgba", "gbrap"),
            ("rgb48le", "gbrp16le"),
            ("rgba64be", "gbrap16le"),
            ("x2rgb10le", "gbrp10le"),
            ("pal8", "gbrp"),
        ],
    )
    def test_another_one_is_converted_to_a_planar_one(self, name: str, planar: str) -> None:
        frame = av.VideoFrame(32, 16, name)
        assert plane_format(frame) is None
        with pytest.raises(ValueError, match=f"{name} is no planar format"):
            frame_planes(frame)
        assert planar_format_name(name) == planar
        assert plane_format(av.VideoFrame(32, 16, planar)) is not None

    @pytest.mark.parametrize("name", ["nv12", "nv16", "yuyv422", "uyvy422", "rgb24", "bgr24", "rgba", "rgb48le", "ya8"])
    def test_the_conversion_keeps_every_value(self, name: str) -> None:
        frame = av.VideoFrame(64, 16, name)
        rng = np.random.default_rng(0)
        for plane in frame.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        back = frame.reformat(format=planar_format_name(name)).reformat(format=name)
        assert [bytes(plane) for plane in back.planes] == [bytes(plane) for plane in frame.planes]

    @pytest.mark.parametrize("name", ["cuda", "gbrpf32le", "grayf16le", "gray32le", "bayer_rggb8", "xyz12le"])
    def test_what_holds_no_whole_numbers_is_refused(self, name: str) -> None:
        with pytest.raises(UnsupportedMedia, match=name):
            planar_format_name(name)

    def test_the_range_is_that_of_the_frame(self) -> None:
        frame = av.VideoFrame(32, 16, "yuv420p10le")
        frame.color_range = 2
        assert plane_format(frame) == form(10, full=True)
        grey = av.VideoFrame(32, 16, "gray")
        grey.color_range = 1
        assert plane_format(grey) == form(shift=(0, 0), kind="gray")

    @pytest.mark.parametrize(
        ("asked", "black"),
        [
            (form(), (16, 128, 128)),
            (form(10), (64, 512, 512)),
            (form(full=True), (0, 128, 128)),
            (form(12, kind="gray"), (256,)),
            (form(10, kind="gbr", full=True), (0, 0, 0)),
        ],
    )
    def test_black(self, asked: PlaneFormat, black: tuple[int, ...]) -> None:
        assert asked.black == black

    @pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gray", "gbrp"])
    def test_blackened_is_black_to_the_eye(self, name: str) -> None:
        frame = av.VideoFrame(64, 48, name)
        planes, asked = frame_planes(frame), plane_format(frame)
        assert asked is not None
        for plane in planes:
            plane[...] = asked.max_value * 2 // 3
        options = Options(method=Method.BLACKEN)
        redact_planes(planes, asked, redaction_regions(objects([16, 16, 48, 40]), (48, 64), options), [0], options)
        rgb = frame.to_ndarray(format="rgb24")
        assert rgb[18:38, 18:46].max() <= 1
        assert rgb[:4].min() > 60


class TestFramePlanes:
    def test_what_is_written_is_in_the_frame_and_padding_is_not(self) -> None:
        frame = av.VideoFrame(35, 21, "yuv420p")
        for number, plane in enumerate(frame_planes(frame)):
            plane[...] = number + 1
        for number, plane in enumerate(frame.planes):
            assert plane.line_size > plane.width
            lines = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
            assert (lines[:, : plane.width] == number + 1).all()

    def test_read_only_planes_cannot_be_written(self) -> None:
        frame = av.VideoFrame(16, 16, "yuv420p")
        with pytest.raises(ValueError, match="read-only"):
            frame_planes(frame, writable=False)[0][0, 0] = 1

    def test_writing_into_a_frame_leaves_those_that_are_predicted_from_it(self, data: Path) -> None:
        """A decoder keeps the frames that it gave, as references."""
        clip = data / "videos" / "cars-from-above.mp4"
        with av.open(str(clip)) as one, av.open(str(clip)) as other:
            for number, (frame, untouched) in enumerate(
                islice(zip(one.decode(video=0), other.decode(video=0), strict=True), 60)
            ):
                planes = frame_planes(frame)
                wanted = frame_planes(untouched, writable=False)
                for plane, unwritten in zip(planes, wanted, strict=True):
                    np.testing.assert_array_equal(plane, unwritten, err_msg=f"frame {number}")
                    plane[:, : plane.shape[1] // 2] = 0
            assert number == 59


def test_an_object_of_a_frame_is_cheap() -> None:
    planes = random_planes((1080, 1920), form())
    regions = redaction_regions(objects([300, 300, 600, 700]), (1080, 1920), Options())
    redact_planes(planes, form(), regions, [0], Options())
    started = time.perf_counter()
    for _ in range(10):
        redact_planes(planes, form(), regions, [0], Options())
    assert (time.perf_counter() - started) / 10 < 0.03
