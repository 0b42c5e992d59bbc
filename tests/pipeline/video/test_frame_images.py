"""What detectors get of interlaced and of HDR frames."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.video.frame_images import HLG, PQ, merge_looks, rgb_image, split_fields
from tests.clip_maker import Clip, Video, make
from tests.fakes import FakeStore, MagentaDetector

SIZE_WH = (320, 240)
#: pixels that the thing moves from one field to the next
STEP = 12


def place(field: int) -> tuple[int, int, int, int]:
    return (20 + STEP * field, 100, 60 + STEP * field, 140)


def field_picture(field: int) -> NDArray[np.uint8]:
    picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), 90, np.uint8)
    x1, y1, x2, y2 = place(field)
    picture[y1:y2, x1:x2] = (250, 40, 250)
    return picture


def woven(number: int) -> NDArray[np.uint8]:
    picture = field_picture(2 * number)
    picture[1::2] = field_picture(2 * number + 1)[1::2]
    return picture


def clip(path: Path, *, marked: bool, frames: int = 8) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(25), options={"crf": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        if marked:
            flags = av.codec.context.Flags
            stream.codec_context.flags |= flags.interlaced_dct | flags.interlaced_me
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(woven(number), "rgb24")))
        file.mux(stream.encode(None))
    return path


class NoCombs(MagentaDetector):
    """Misses what has edges like a comb, and counts what it was given."""

    images = 0

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.images += len(images)
        return [
            Detections.empty() if _is_combed(image) else found
            for image, found in zip(images, super().detect(images, side), strict=True)
        ]


def _is_combed(image: NDArray[np.uint8]) -> bool:
    green = image[..., 1].astype(int)
    return int((np.abs(green[1:] - green[:-1]) > 25).sum()) > 4 * STEP * 5


def boxes_of(clip: Path, detector: MagentaDetector, folder: Path) -> list[list[tuple[float, ...]]]:
    options = Options(license_plate=True, method="detect", save_mask="none", no_object_tracking=True, margin=0.0)  # type: ignore[arg-type]
    result = Anonymizer(store=FakeStore(detector)).video(str(clip), folder, options)
    frames = json.loads(result.metadata.read_text())
    return [[tuple(each["bbox"]) for each in frame["detections"]] for frame in frames]


def test_fields_of_interlaced_frames_are_looked_at(tmp_path: Path) -> None:
    detector = NoCombs()
    boxes = boxes_of(clip(tmp_path / "marked.mp4", marked=True), detector, tmp_path)

    for number, of_frame in enumerate(boxes):
        (box,) = of_frame
        both = (*place(2 * number)[:2], *place(2 * number + 1)[2:])
        assert box == pytest.approx(both, abs=4), number
    assert len(boxes) == 8


def test_frames_that_are_not_marked_are_looked_at_once(tmp_path: Path) -> None:
    marked, plain = NoCombs(), NoCombs()
    boxes_of(clip(tmp_path / "marked.mp4", marked=True), marked, tmp_path)
    boxes = boxes_of(clip(tmp_path / "plain.mp4", marked=False), plain, tmp_path)

    assert marked.images == 3 * plain.images
    assert boxes == [[]] * 8


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p10le", "nv12", "yuyv422", "gray", "gbrp"])
@pytest.mark.parametrize("height", [240, 246])
def test_a_field_holds_every_other_line_in_any_format(form: str, height: int) -> None:
    even, odd = np.full((height, 64, 3), 60, np.uint8), np.full((height, 64, 3), 200, np.uint8)
    frames = [av.VideoFrame.from_ndarray(each, "rgb24").reformat(format=form) for each in (even, odd)]
    picture = even.copy()
    picture[1::2] = odd[1::2]

    fields = split_fields(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=form))

    for field, whole in zip(fields, frames, strict=True):
        assert (field.width, field.height) == (64, height // 2)
        got, wanted = (each.to_ndarray(format="rgb24")[: height // 2] for each in (field, whole))
        assert np.abs(got.astype(int) - wanted).max() <= 3


def test_a_frame_of_few_lines_has_no_fields() -> None:
    assert split_fields(av.VideoFrame(64, 2, "yuv420p")) == []


def found(*boxes: tuple[float, ...], scores: tuple[float, ...], kind: ObjectType = ObjectType.FACE) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.full(n, kind.number, np.uint8), np.full(n, "fake")
    )


def test_looks_at_one_frame_give_each_object_once_and_lose_none() -> None:
    whole = found((100, 100, 140, 140), scores=(0.6,))
    even = found((94, 100, 134, 140), (300, 100, 340, 140), scores=(0.8, 0.7))
    odd = found((106, 100, 146, 140), (98, 98, 200, 160), scores=(0.7, 0.1))

    merged = merge_looks([whole, even, odd])

    assert merged.boxes.tolist() == [[94, 100, 146, 140], [300, 100, 340, 140], [98, 98, 200, 160]]
    assert merged.scores.tolist() == pytest.approx([0.8, 0.7, 0.1])
    plate = found((100, 100, 140, 140), scores=(0.6,), kind=ObjectType.LICENSE_PLATE)
    assert len(merge_looks([whole, plate])) == 2
    assert len(merge_looks([Detections.empty(), whole, Detections.empty()])) == 1
    assert merge_looks([whole]) is whole


def pq_signal(luminance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse EOTF of PQ, ITU-R BT.2100, of cd/m2."""
    power = (luminance / 10_000) ** (2610 / 16384)
    ratio = (3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)
    return np.asarray(ratio ** (2523 / 32))


def hlg_signal(luminance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse EOTF of HLG, ITU-R BT.2100, of cd/m2 on a display of 1000."""
    scene = (luminance / 1000) ** (1 / 1.2)
    with np.errstate(divide="ignore", invalid="ignore"):
        high = 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), high))


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)], ids=["PQ", "HLG"])
def test_hdr_frames_look_as_sdr_ones_do(transfer: int, signal: object) -> None:
    assert callable(signal)
    wanted = np.tile(np.arange(0, 180, dtype=np.uint8)[None, :, None], (16, 1, 3))
    luminance = 203 * (wanted / 255.0) ** 2.4
    # at half of white and above, highlights are compressed
    bright = signal(np.array([203.0, 400.0, 1000.0]))
    stored = np.rint(65535 * signal(luminance)).astype(np.uint16)
    stored[0, :3] = np.rint(65535 * bright[:, None])
    frame = av.VideoFrame.from_ndarray(stored, "rgb48le")
    plain = rgb_image(frame, (180, 16), VideoReformatter())
    frame.color_trc = transfer

    got = rgb_image(frame, (180, 16), VideoReformatter())

    assert np.abs(got[1:].astype(int) - wanted[1:]).max() <= 1
    white, brighter, brightest = got[0, :3, 0].tolist()
    assert 215 < white < brighter < brightest <= 255
    assert np.abs(plain[1:].astype(int) - wanted[1:]).max() > 20


def test_detectors_get_hdr_videos_tone_mapped(tmp_path: Path) -> None:
    levels: dict[str, float] = {}
    for name, colours in (("sdr", (1, 1, 1, 1)), ("pq", (1, 9, 16, 9))):
        seen: list[float] = []

        class Means(MagentaDetector):
            def detect(self, images: list[NDArray[np.uint8]], side: int, seen: list[float] = seen) -> list[Detections]:
                seen += [float(image.mean()) for image in images]
                return super().detect(images, side)

        video = Video(
            "libx264", "yuv420p10le", frames=3, colours=colours, size_wh=SIZE_WH, options={"preset": "ultrafast"}
        )
        boxes_of(make(Clip(".mp4", (video,)), tmp_path / name), Means(), tmp_path)
        levels[name] = float(np.mean(seen))

    # signals of about 0.35 are 20 cd/m2 in PQ, a tenth of white
    assert levels["pq"] > levels["sdr"] + 5, levels
