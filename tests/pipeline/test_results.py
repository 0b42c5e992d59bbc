"""Results: how they are shown, encoded and saved."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anonymizer import Anonymizer, Options, ThresholdProfile
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.images.decoded import DecodedImage
from anonymizer.pipeline.media_kinds import by_format
from anonymizer.pipeline.results import ImageResult, VideoResult
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import decoded, drawn, encoded


@pytest.fixture
def anonymizer() -> Anonymizer:
    return Anonymizer(store=FakeStore(FakeDetector()), noise_key=b"key")


@pytest.fixture
def from_array(anonymizer: Anonymizer) -> ImageResult:
    return anonymizer.image(np.asarray(drawn()), Options(method="pixelate"), name="frame")


def video_result(folder: Path) -> VideoResult:
    return VideoResult(
        name="a<b>.mp4", info=by_format("mp4"), anonymised=folder / "anonymised.mp4", metadata=folder / "metadata.json",
        binary_mask=None, instance_mask=None, counts={"face": 2, "person": 0}, frames=25, frames_copied=5,
        object_types=(),
        models=("own-2",), warnings=("Careful.",), review_counts={"near_threshold": 3}, seconds=1.5, stage_seconds={},
        options=Options(),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["array", "grey", "alpha", "deep", "pil"])
def test_an_array_is_redacted_as_the_file_of_it_is(anonymizer: Anonymizer, kind: str) -> None:
    rgb = np.asarray(drawn())
    arrays: dict[str, NDArray[np.generic]] = {
        "array": rgb,
        "grey": rgb[..., 0],
        "alpha": np.dstack([rgb, rgb[..., 0]]),
        "deep": rgb[..., 0].astype(np.uint16) * 257,
    }
    image = drawn() if kind == "pil" else Image.fromarray(arrays[kind])
    content = encoded(image, "PNG")
    expected = anonymizer.image(content).encode()
    given = drawn() if kind == "pil" else arrays[kind]
    assert np.array_equal(decoded(anonymizer.image(given).encode(format="png")), decoded(expected))


def test_alpha_is_carried_outside_of_what_is_redacted(anonymizer: Anonymizer) -> None:
    alpha = np.asarray(drawn(seed=3))[..., 0]
    result = anonymizer.image(np.dstack([np.asarray(drawn()), alpha]), Options(method="blacken"))
    redacted = result.binary_mask > 0
    assert 0 < redacted.mean() < 0.5
    written = decoded(result.encode(format="png"))[..., 3]
    assert np.array_equal(written[~redacted], alpha[~redacted])
    assert (written[redacted] == 255).all()
    assert result.image.shape == (240, 320, 3)
    with pytest.raises(InvalidParameter, match="an image with an alpha channel"):
        result.encode(format="jpg")


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP"), (".tiff", "TIFF"), (".bmp", "BMP")],
)
def test_the_ending_chooses_the_format_of_an_array(
    from_array: ImageResult, tmp_path: Path, ending: str, kind: str
) -> None:
    from_array.save(tmp_path / f"out{ending}")
    with Image.open(tmp_path / f"out{ending}") as saved:
        assert saved.format == kind
        assert saved.size == (320, 240)


def test_a_named_format_counts_and_must_fit_the_ending(from_array: ImageResult, tmp_path: Path) -> None:
    from_array.save(tmp_path / "out.png", format="PNG")
    from_array.save(tmp_path / "out.data", format="jpeg", any_ending=True)
    assert (tmp_path / "out.data").read_bytes().startswith(b"\xff\xd8")
    with pytest.raises(InvalidParameter, match=r"path is 'out.png', but must be a name that ends in \.jpg"):
        from_array.save(tmp_path / "out.png", format="jpeg")


def test_without_a_format_the_error_names_what_is_allowed(from_array: ImageResult, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="format is 'None', but must be one of jpeg, png, webp, tiff, bmp"):
        from_array.encode()
    with pytest.raises(InvalidParameter, match="format is 'gif', but must be one of jpeg, png"):
        from_array.encode(format="gif")
    for name in ("out", "out.gif"):
        with pytest.raises(InvalidParameter, match=r"path is 'out.*, but must be a name that ends in \.jpg, \.png"):
            from_array.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_its_format(anonymizer: Anonymizer) -> None:
    result = anonymizer.image(encoded())
    assert result.encode(format="jpg") == result.encode()
    with pytest.raises(InvalidParameter, match="format is 'png', but must be jpeg, the format of the source"):
        result.encode(format="png")


def test_quality_and_compression_are_those_of_the_options(anonymizer: Anonymizer) -> None:
    sizes = [len(anonymizer.image(drawn(), Options(quality=quality)).encode(format="jpg")) for quality in (20, 90)]
    assert sizes[0] < sizes[1]
    sizes = [len(anonymizer.image(drawn(), Options(compress_level=level)).encode(format="png")) for level in (9, 0)]
    assert sizes[0] < sizes[1]


def test_nothing_that_a_notebook_shows_is_long(anonymizer: Anonymizer, from_array: ImageResult, tmp_path: Path) -> None:
    profile = ThresholdProfile(
        name="street", thresholds={"face": 0.3}, figures={"face": {f"figure {n}": n for n in range(50)}}
    )
    shown = [
        from_array, from_array.picture, DecodedImage(np.asarray(drawn())), from_array.detections, from_array.regions,
        from_array.detections[0], from_array.options, profile, video_result(tmp_path), anonymizer, anonymizer.store,
        anonymizer.limits, from_array.options.as_params(),
    ]  # fmt: skip
    for value in shown:
        assert len(repr(value)) < 500, type(value)
        assert "array(" not in repr(value)
    assert repr(from_array).startswith("ImageResult('frame', 320 x 240, 1 face, 1 license-plate, 0 person, 0 vehicle, ")
    assert repr(video_result(tmp_path)) == "VideoResult('a<b>.mp4', 25 frames, 2 face, 0 person, 1.5 s)"
    assert repr(Options(face=True, license_plate_threshold=0.25)) == "Options(face=True, license_plate_threshold=0.25)"
    assert repr(Options()) == "Options()"
    assert repr(profile) == "ThresholdProfile('street': face 0.3)"
    assert "face: fake" in repr(anonymizer)


def test_a_notebook_shows_before_and_after(anonymizer: Anonymizer, from_array: ImageResult) -> None:
    html = from_array._repr_html_()
    assert html.count("<img ") == 2
    assert "before" in html
    assert "after" in html
    assert "1 license-plate" in html
    assert "detections" in anonymizer.image(drawn(), Options(method="detect"))._repr_html_()


def test_a_notebook_shows_the_figures_of_a_video(tmp_path: Path) -> None:
    html = video_result(tmp_path)._repr_html_()
    assert "a&lt;b&gt;.mp4" in html
    for text in ("anonymised.mp4", "frames copied", "near threshold", "Careful.", "own-2"):
        assert text in html


def test_a_notebook_shows_a_profile_as_a_table() -> None:
    profile = ThresholdProfile(
        name="street", thresholds={"license-plate": 0.3}, figures={"license-plate": {"recall": 0.98765}}, format="auto"
    )
    html = profile._repr_html_()
    assert "street, format auto" in html
    assert "<th>recall</th>" in html
    assert "0.988" in html
    assert "license plate" in html


def test_a_result_of_a_file_is_read_again(anonymizer: Anonymizer) -> None:
    result = anonymizer.image(io.BytesIO(encoded(kind="PNG")))
    assert result.name == "image.png"
    assert np.array_equal(decoded(result.encode()), result.image)
