"""Mask videos: lossless, frame for frame, upright."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.masks import binary_mask, instance_mask
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import HdrMetadata, VideoTrack
from tests.clip_compare import pictures, seconds


def track(index: int = 0, *, size_wh: tuple[int, int] = (101, 67), orientation: int = 1) -> VideoTrack:
    return VideoTrack(
        index, "h264", size_wh, orientation, Fraction(1, 1000), Fraction(25), None, None, Fraction(1), None,
        interlaced=False, dolby_vision=False, hdr=HdrMetadata(None, None),
    )  # fmt: skip


def shape(number: int, kind: ObjectType = ObjectType.PERSON, row: int = 0) -> RedactionRegion:
    alpha = np.random.default_rng(number).integers(0, 2, (20, 30), np.uint8) * 200
    return RedactionRegion(5 + number, 3 + number, alpha, kind, 20.0, row)


TIMES = [0, 33, 34, 120, 5000]


@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_every_frame_is_what_the_shapes_say(tmp_path: Path, *, instances: bool, orientation: int) -> None:
    video = track(orientation=orientation)
    writer = MaskWriter(tmp_path / "mask.mkv", [video], instances=instances)
    where = [[], [shape(1)], [shape(2), shape(9, ObjectType.FACE, 7)], [], [shape(3)]]
    for pts, regions in zip(TIMES, where, strict=True):
        writer.write(video, pts, regions)
    writer.close()
    frames = pictures(tmp_path / "mask.mkv")
    assert seconds(frames) == [time_ms / 1000 for time_ms in TIMES]
    for frame, regions in zip(frames, where, strict=True):
        if instances:
            assert np.array_equal(frame.to_ndarray(format="rgb24"), instance_mask(regions, video.size_hw))
        else:
            assert np.array_equal(frame.to_ndarray(format="gray"), binary_mask(regions, video.size_hw))


def test_they_are_ffv1_in_matroska_with_a_stream_for_each_track(tmp_path: Path) -> None:
    first, second = track(0), track(3, size_wh=(64, 48))
    writer = MaskWriter(tmp_path / "mask.mkv", [first, second], instances=False, percent=50)
    for pts in TIMES:
        writer.write(first, pts, [shape(1)])
        writer.write(second, pts, [])
    writer.close()
    with av.open(str(tmp_path / "mask.mkv")) as file:
        assert file.format.name == "matroska,webm"
        assert [(stream.codec_context.name, stream.width, stream.height) for stream in file.streams.video] == [
            ("ffv1", 50, 34),
            ("ffv1", 32, 24),
        ]
    assert [len(pictures(tmp_path / "mask.mkv", index)) for index in (0, 1)] == [5, 5]
    assert pictures(tmp_path / "mask.mkv")[0].to_ndarray(format="gray").any()
    assert not pictures(tmp_path / "mask.mkv", 1)[0].to_ndarray(format="gray").any()


def test_the_older_layout_of_colours_is_there_too(tmp_path: Path) -> None:
    video = track()
    writer = MaskWriter(tmp_path / "mask.mkv", [video], instances=True, legacy=True)
    writer.write(video, 0, [shape(1, ObjectType.VEHICLE)])
    writer.close()
    (frame,) = pictures(tmp_path / "mask.mkv")
    assert set(np.unique(frame.to_ndarray(format="rgb24")[..., 2])) == {0, 255}
