"""Proof that a written frame is redacted, and else the source."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.orientation import stored
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes, redact_planes
from anonymizer.pipeline.video.verify_frame import check_frame, compare_frames

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES
METHODS = (Method.BLUR, Method.PIXELATE, Method.BLACKEN)
FORM = PlaneFormat(8, (1, 1), "yuv", full_range=False)
COUNT = 10

Planes = list[NDArray[Any]]


class Clip:
    """Some frames of a real clip, redacted at boxes that move."""

    def __init__(self, path: Path, method: Method, boxes: Callable[[int, Planes], Any], *, first: int = 0) -> None:
        self.source: list[Planes] = []
        with av.open(str(path)) as container:
            for frame in islice(container.decode(video=0), first, first + COUNT):
                self.source.append([plane.copy() for plane in frame_planes(frame, writable=False)])
        options = Options(method=method)
        self.regions: list[Sequence[RedactionRegion]] = []
        self.rendered: list[Planes] = []
        for number, source in enumerate(self.source):
            where = redaction_regions(found(boxes(number, self.source[0])), source[0].shape, options)
            planes = [plane.copy() for plane in source]
            redact_planes(planes, FORM, where, range(len(where)), options)
            self.regions.append(where)
            self.rendered.append(planes)

    def check(self, number: int, result: Planes) -> None:
        check_frame(self.source[number], self.rendered[number], result, FORM, self.regions[number], number=number)


def found(boxes: Any) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    return Detections(boxes, np.ones(n, np.float32), np.full(n, FACE.number), np.full(n, "test"))


def several(number: int, first: Planes) -> list[list[int]]:
    """A large one and a middle one, which move slowly, and six small ones elsewhere, where there is most to see."""
    x = 2 * number
    height, width = first[0].shape[0] // 20, first[0].shape[1] // 16
    cells = first[0][: height * 20, : width * 16].reshape(height, 20, width, 16)
    detail = cells.std(axis=(1, 3))
    detail[2:17, 4:26] = 0
    rows, columns = np.unravel_index(np.argsort(detail, axis=None)[-6:], detail.shape)
    small = np.stack([columns * 16 + 2, rows * 20 + 2, columns * 16 + 14, rows * 20 + 17], axis=1)
    return [[100 + x, 80, 250 + x, 280], [300, 200 + x, 360, 270 + x], *small.tolist()]


def encoded(frames: Sequence[Planes], codec: str, *, bit_rate: int | None = None, **options: str | int) -> list[Planes]:
    """Written and read again."""
    file = io.BytesIO()
    height, width = frames[0][0].shape
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={key: str(value) for key, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        if codec == "mjpeg":
            stream.codec_context.color_range = 1
        for number, planes in enumerate(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for plane, values in zip(frame_planes(frame), planes, strict=True):
                plane[...] = values
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [[plane.copy() for plane in frame_planes(frame, writable=False)] for frame in container.decode(video=0)]


@pytest.fixture(scope="module", params=["cars-from-above.mp4", "portrait-people.mp4"])
def clips(request: Any, data: Path) -> dict[Method, Clip]:
    return {method: Clip(data / "videos" / request.param, method, several, first=60) for method in METHODS}


ENCODERS = {
    "x264": ("libx264", {"crf": 23}),
    "x264, coarse": ("libx264", {"crf": 34, "preset": "veryfast"}),
    "x265": ("libx265", {"crf": 27, "preset": "veryfast", "x265-params": "log-level=none"}),
    "MPEG-4": ("mpeg4", {"qmin": 5, "qmax": 5}),
    "MJPEG": ("mjpeg", {"qmin": 8, "qmax": 8, "strict": "unofficial"}),
    "a low bit rate": ("libx264", {"bit_rate": 250_000}),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_real_encode_passes(clips: dict[Method, Clip], method: Method, encoder: str) -> None:
    codec, options = ENCODERS[encoder]
    clip = clips[method]
    results = encoded(clip.rendered, codec, **options)
    assert len(results) == COUNT
    for number, result in enumerate(results):
        clip.check(number, result)


class TestWhatIsNotProven:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_redaction_that_was_forgotten(self, clips: dict[Method, Clip], method: Method) -> None:
        clip = clips[method]
        for number, result in enumerate(encoded(clip.source, "libx264", crf=23)):
            with pytest.raises(EncoderFailed, match=rf"Frame {number} .* the face at x \d+, y \d+, \d+ x \d+ pixels"):
                clip.check(number, result)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("left_out", range(3), ids=["the large one", "the middle one", "the small ones"])
    def test_one_that_was_forgotten_among_others(
        self, clips: dict[Method, Clip], method: Method, left_out: int
    ) -> None:
        clip = clips[method]
        forgotten = [planes.copy() for planes in clip.rendered[4]]
        for shape in clip.regions[4][left_out : left_out + 1 if left_out < 2 else None]:
            forgotten[0][shape.crop] = clip.source[4][0][shape.crop]
        (result,) = encoded([forgotten], "libx264", crf=23)
        with pytest.raises(EncoderFailed, match="its small objects" if left_out == 2 else "the face at"):
            clip.check(4, result)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_single_small_one(self, clips: dict[Method, Clip], method: Method) -> None:
        clip = clips[method]
        luma = clip.source[4][0]
        # the source of one is flat: there is nothing to see
        small = [region for region in clip.regions[4][2:] if luma[region.crop][region.alpha > 0].std() > 4]
        assert len(small) >= 5
        for region in small:
            forgotten = [planes.copy() for planes in clip.rendered[4]]
            forgotten[0][region.crop] = luma[region.crop]
            (result,) = encoded([forgotten], "libx264", crf=23)
            with pytest.raises(EncoderFailed, match=r"the face at x \d+, y \d+, \d+ x \d+ pixels: a part of it shows"):
                clip.check(4, result)

    @pytest.mark.parametrize("orientation", [2, 3, 4])
    def test_a_frame_that_lies_otherwise(self, clips: dict[Method, Clip], orientation: int) -> None:
        clip = clips[Method.BLUR]
        turned = [stored(plane, orientation) for plane in clip.rendered[0]]
        with pytest.raises(EncoderFailed, match="Frame 0"):
            clip.check(0, turned)
        outside = compare_frames(clip.source[0], clip.rendered[0], turned, FORM, [], 1)
        assert not outside.is_close_outside

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_a_frame_of_another_size(self, clips: dict[Method, Clip], orientation: int) -> None:
        clip = clips[Method.BLUR]
        turned = [stored(plane, orientation) for plane in clip.rendered[0]]
        with pytest.raises(EncoderFailed, match=r"Frame 0 .* another size"):
            clip.check(0, turned)

    def test_the_wrong_frame_of_another_place(self, clips: dict[Method, Clip]) -> None:
        clip = clips[Method.BLUR]
        other = [np.roll(plane, plane.shape[1] // 3, axis=1) for plane in clip.rendered[0]]
        with pytest.raises(EncoderFailed, match="Frame 0"):
            clip.check(0, other)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_frame_before_where_an_object_moves_fast(self, data: Path, method: Method) -> None:
        def fast(number: int, _: Planes) -> list[list[int]]:
            return [[50 + 60 * number, 150, 110 + 60 * number, 225]]

        clip = Clip(data / "videos" / "cars-from-above.mp4", method, fast)
        results = encoded(clip.rendered, "libx264", crf=23)
        for number in range(1, COUNT):
            clip.check(number, results[number])
            with pytest.raises(EncoderFailed, match=f"Frame {number} .* the face at"):
                clip.check(number, results[number - 1])

    def test_the_frame_before_where_the_camera_moves(self, data: Path) -> None:
        clip = Clip(data / "videos" / "parking-plates.mp4", Method.PIXELATE, lambda _, __: [[300, 300, 500, 500]])
        # Without objects, only what lies outside is judged.
        off = [compare_frames(clip.source[n], clip.source[n], clip.source[n - 1], FORM, []) for n in range(1, COUNT)]
        assert not all(difference.is_close_outside for difference in off)


class TestWhatCannotBeSeen:
    def test_black_on_black_passes_though_nothing_changed(self) -> None:
        source = [np.full((100, 100), 17, np.uint8), *[np.full((50, 50), 128, np.uint8)] * 2]
        options = Options(method=Method.BLACKEN)
        where = redaction_regions(found([20, 20, 80, 80]), (100, 100), options)
        rendered = [plane.copy() for plane in source]
        redact_planes(rendered, FORM, where, [0], options)
        check_frame(source, rendered, source, FORM, where, number=0)

    def test_a_small_object_without_detail_may_be_flat_again(self) -> None:
        source = [np.full((100, 100), 200, np.uint8), *[np.full((50, 50), 128, np.uint8)] * 2]
        options = Options(method=Method.PIXELATE)
        where = redaction_regions(found([20, 20, 40, 40]), (100, 100), options)
        rendered = [plane.copy() for plane in source]
        redact_planes(rendered, FORM, where, [0], options)
        check_frame(source, rendered, source, FORM, where, number=0)
        source[0][30, 10:60:2] = 0
        with pytest.raises(EncoderFailed, match=r"its small objects \(1\)"):
            check_frame(source, rendered, source, FORM, where, number=0)

    def test_a_shape_over_the_whole_frame_leaves_nothing_outside(self) -> None:
        rng = np.random.default_rng(0)
        source = [rng.integers(16, 235, (60, 60), np.uint8), *[np.full((30, 30), 128, np.uint8)] * 2]
        options = Options()
        where = redaction_regions(found([-50, -50, 110, 110]), (60, 60), options)
        rendered = [plane.copy() for plane in source]
        redact_planes(rendered, FORM, where, [0], options)
        assert check_frame(source, rendered, rendered, FORM, where, number=0).outside is None
        with pytest.raises(EncoderFailed, match="0% of the way"):
            check_frame(source, rendered, source, FORM, where, number=0)

    def test_a_frame_without_shapes_is_compared_as_a_whole(self) -> None:
        source = [np.full((64, 64), 100, np.uint8)]
        form = PlaneFormat(8, (0, 0), "gray", full_range=True)
        near, far = [source[0] + np.uint8(3)], [source[0] + np.uint8(9)]
        assert check_frame(source, source, near, form, [], number=0).outside == pytest.approx(3)
        with pytest.raises(EncoderFailed, match=r"Frame 7 .* differ by 9\.0 of 255"):
            check_frame(source, source, far, form, [], number=7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_numbers_are_in_steps_of_eight_bits_and_upright(orientation: int) -> None:
    form = PlaneFormat(10, (0, 0), "gray", full_range=True)
    source = np.full((80, 120), 400, np.uint16)
    shape = RedactionRegion(0, 0, np.full((80, 56), 255, np.uint8), FACE, 56, 0)
    rendered, result = source.copy(), source.copy()
    rendered[shape.crop] = 480
    result[shape.crop] = 460
    result[:, 72:] += 8
    as_stored = [[stored(planes, orientation)] for planes in (source, rendered, result)]
    measured = compare_frames(*as_stored, form, [shape], orientation)
    assert measured.checks[0].apart == pytest.approx(20)
    assert measured.checks[0].covered == pytest.approx(0.75)
    # All but the shape and the 16 pixels beside it.
    assert measured.outside == pytest.approx(2)
