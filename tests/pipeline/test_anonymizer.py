"""`Anonymizer`: the steps together, with a detector that is passed in, and once with the real ones."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymizer import Anonymizer, ObjectType, Options, show
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import (
    DetectorFailed,
    InvalidParameter,
    NotFullyAnalysed,
    SourceNotFound,
    UnsupportedMedia,
)
from anonymizer.pipeline.options.formats import Whole
from tests.conftest import ROOT
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import decoded, drawn, encoded


@pytest.fixture
def detector() -> FakeDetector:
    return FakeDetector()


@pytest.fixture
def anonymizer(detector: FakeDetector) -> Anonymizer:
    return Anonymizer(store=FakeStore(detector), noise_key=b"key")


def test_a_result_has_all_that_a_notebook_needs(anonymizer: Anonymizer) -> None:
    result = anonymizer.image(encoded(drawn(), "PNG"), Options(method="pixelate"), name="street.png")
    assert result.image.shape == (240, 320, 3)
    assert result.binary_mask.shape == (240, 320)
    assert result.instance_mask.shape == (240, 320, 3)
    assert result.counts == {"face": 1, "license-plate": 1, "person": 0, "vehicle": 0}
    assert len(result.detections) == 2
    assert len(result.found) == 3
    assert result.models == ("fake",)
    assert result.metadata["filename"] == "street.png"
    assert [each["type"] for each in result.metadata["detections"]] == [103, 104]
    assert result.seconds > 0


def test_the_cost_of_a_miss_moves_scores_to_the_thresholds_and_the_metadata_says_so(detector: FakeDetector) -> None:
    results = [Anonymizer(store=FakeStore(detector, cost=cost)).image(np.asarray(drawn())) for cost in (1.0, 4.0)]
    rows = [[(each["score"], each["miss_cost"]) for each in result.metadata["detections"]] for result in results]
    # the chance .3 reaches .5 only as 4 * .3 / (4 * .3 + .7)
    assert rows == [[(0.9, 1), (0.7, 1)], [(0.973, 4), (0.9032, 4), (0.6316, 4)]]


@pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
def test_only_what_the_mask_shows_is_changed(anonymizer: Anonymizer, method: str) -> None:
    result = anonymizer.image(encoded(drawn(), "PNG"), Options(method=method))
    before, mask = np.asarray(drawn()), result.binary_mask
    assert np.array_equal(decoded(result.encode())[mask == 0], before[mask == 0])
    assert not np.array_equal(result.image[mask == 255], before[mask == 255])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_is_redacted_and_drawn_on(anonymizer: Anonymizer, mode: str) -> None:
    grey = np.asarray(drawn().convert("L"))
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else drawn().convert(mode)
    content = encoded(picture, "TIFF" if mode == "CMYK" else "PNG")
    for options in (Options(method="blacken"), Options(method="blur", debug=True, score=True)):
        result = anonymizer.image(content, options)
        with Image.open(io.BytesIO(result.encode())) as opened:
            assert opened.mode.startswith(mode[0])
            assert opened.size == (320, 240)
        if not options.debug:
            assert result.image[result.binary_mask == 255].max() <= 1
            unchanged = result.binary_mask == 0
            assert np.array_equal(result.image[unchanged], result.picture.rgb()[unchanged])


def test_a_mask_is_what_blacken_would_change(anonymizer: Anonymizer) -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    content = encoded(Image.fromarray(white), "PNG")
    mask = anonymizer.image(content, Options(method="blur")).binary_mask
    black = anonymizer.image(content, Options(method="blacken")).image
    assert np.array_equal(mask == 255, (black == 0).all(axis=2))


def test_the_same_picture_gives_the_same_bytes_and_another_key_others(
    anonymizer: Anonymizer, detector: FakeDetector
) -> None:
    content = encoded()
    assert anonymizer.image(content).encode() == anonymizer.image(content).encode()
    other = Anonymizer(store=FakeStore(detector), noise_key=b"another")
    assert anonymizer.image(content).encode() != other.image(content).encode()


def test_thresholds_ignores_and_types_decide_what_is_redacted(anonymizer: Anonymizer) -> None:
    content = encoded(drawn(), "PNG")
    assert anonymizer.image(content, Options(face_threshold=0.25)).counts["face"] == 2
    assert anonymizer.image(content, Options(license_plate=True)).counts == {"license-plate": 1}
    spared = '[{"topLeftX": 0, "topLeftY": 0, "width": 90, "height": 95}]'
    result = anonymizer.image(content, Options(ignores=spared))
    assert np.array_equal(result.image[:95, :90], np.asarray(drawn())[:95, :90])
    assert [each["is_anonymised"] for each in result.metadata["detections"]] == [False, True]


def test_detect_changes_nothing_and_makes_no_picture(anonymizer: Anonymizer, tmp_path: Path) -> None:
    result = anonymizer.image(encoded(drawn(), "PNG"), Options(method="detect"))
    assert np.array_equal(result.image, np.asarray(drawn()))
    assert not any(each["is_anonymised"] for each in result.metadata["detections"])
    with pytest.raises(InvalidParameter, match="method is 'detect'"):
        result.save(tmp_path / "out.png")


def test_debug_draws_on_the_result(anonymizer: Anonymizer) -> None:
    plain, drawn_on = (anonymizer.image(encoded(), Options(debug=debug, score=True)).image for debug in (False, True))
    assert not np.array_equal(plain, drawn_on)


def test_coverage_is_said_in_numbers(anonymizer: Anonymizer, detector: FakeDetector) -> None:
    boxes = [[0, 20, 40, 60], [100, 100, 105, 120], [150, 20, 200, 70], [220, 20, 260, 70]]
    scores = [0.9, 0.8, 0.3, 0.1]
    detector.detect = lambda images, side: [  # type: ignore[method-assign]
        Detections(boxes, scores, [ObjectType.FACE.number] * 4, ["fake"] * 4) for _ in images
    ]
    assert anonymizer.image(encoded()).review_counts == {"found": 2, "near_threshold": 1, "small": 1, "at_border": 1}


def test_a_large_picture_that_is_looked_at_small_is_warned_of(anonymizer: Anonymizer) -> None:
    whole = Options(format=Whole())
    (warning,) = anonymizer.image(encoded(drawn(640, 480)), whole).warnings
    assert warning.startswith(
        "The picture has 640 pixels on its long side, and fake analysed it at 320: objects under 16"
    )
    for format in (None, "auto", "thorough"):  # noqa: A001
        assert anonymizer.image(encoded(drawn(640, 480)), Options(format=format)).warnings == ()  # type: ignore[arg-type]
    assert anonymizer.image(encoded(drawn(320, 240))).warnings == ()


@pytest.mark.parametrize("form", ["whole", "pano:512", '{"number": [1, 1], "overlap": [0, 0]}'])
def test_strict_gives_no_result_of_a_picture_that_is_looked_at_small(anonymizer: Anonymizer, form: str) -> None:
    content = encoded(drawn(2560, 1280))
    (warning,) = anonymizer.image(content, Options(format=form)).warnings  # type: ignore[arg-type]
    with pytest.raises(NotFullyAnalysed) as raised:
        anonymizer.image(content, Options(format=form, strict=True))  # type: ignore[arg-type]
    assert raised.value.warnings == (warning,)
    small = anonymizer.image(encoded(drawn(320, 240)), Options(format=form, strict=True))  # type: ignore[arg-type]
    assert small.warnings == ()


def test_what_the_first_look_of_auto_cannot_see_in_a_very_large_picture_is_warned_of(anonymizer: Anonymizer) -> None:
    picture = np.zeros((3200, 6000, 3), np.uint8)
    options = Options(format="auto", face=True, method="detect", save_mask="none")  # type: ignore[arg-type]

    result = anonymizer.image(picture, options)

    assert result.warnings == result.not_fully_analysed
    (warning,) = result.warnings
    assert "the first look analysed it at 1920: objects under 25 pixels may be missed" in warning
    assert "format=thorough" in warning


def test_a_wide_picture_is_looked_at_in_pieces_and_less_is_warned_of(anonymizer: Anonymizer) -> None:
    whole = Options(format=Whole())
    wide, plain = (anonymizer.image(encoded(drawn(width, 400)), whole).warnings for width in (1200, 800))

    # 1200 x 400 is in three pieces of 534 x 400, each of which is analysed at 320
    assert "analysed it at 719" in wide[0]
    assert "analysed it at 320" in plain[0]


def test_a_file_is_saved_whole_and_under_the_right_ending(anonymizer: Anonymizer, tmp_path: Path) -> None:
    result = anonymizer.image(encoded())
    result.save(tmp_path / "new" / "out.JPEG")
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["out.JPEG"]
    with pytest.raises(InvalidParameter, match=r"ends in \.jpg"):
        result.save(tmp_path / "out.png")


def test_many_pictures_come_one_by_one(anonymizer: Anonymizer) -> None:
    assert [each.counts["face"] for each in anonymizer.images([encoded(), encoded()])] == [1, 1]


def test_raw_detections_come_for_files_and_arrays_alike(anonymizer: Anonymizer) -> None:
    found = anonymizer.detect([encoded(drawn(), "PNG"), np.asarray(drawn())], [ObjectType.FACE])
    assert [len(each) for each in found] == [2, 2]
    assert anonymizer.detect([]) == []


def test_a_detector_that_fails_is_no_empty_result(anonymizer: Anonymizer, detector: FakeDetector) -> None:
    detector.error = DetectorFailed("The detector fake failed.")
    with pytest.raises(DetectorFailed):
        anonymizer.image(encoded())


def test_what_is_no_picture_is_refused(anonymizer: Anonymizer) -> None:
    with pytest.raises(UnsupportedMedia):
        anonymizer.image(b"text")


def test_a_missing_file_is_one_error_everywhere(anonymizer: Anonymizer, tmp_path: Path) -> None:
    missing = tmp_path / "none.jpg"
    for work in (anonymizer.image, anonymizer.detect, lambda path: list(anonymizer.images(path))):
        with pytest.raises(SourceNotFound, match="There is no file"):
            work(missing)
    with pytest.raises(SourceNotFound, match="There is no file"):
        anonymizer.video(tmp_path / "none.mp4", tmp_path)
    with pytest.raises(InvalidParameter, match="must be a file, not a folder"):
        anonymizer.image(tmp_path)


def test_pictures_are_shown_side_by_side(anonymizer: Anonymizer, tmp_path: Path) -> None:
    result = anonymizer.image(encoded())
    figure = show(result, result.binary_mask, titles=("after", "mask"))
    assert [axes.get_title() for axes in figure.axes] == ["after", "mask"]
    figure.savefig(tmp_path / "shown.png")
    with pytest.raises(ValueError, match="at least one"):
        show()


def test_the_example_of_the_readme_runs_in_a_plain_session(data: Path, tmp_path: Path) -> None:
    (tmp_path / "street.jpg").write_bytes((data / "images" / "portrait.jpg").read_bytes())
    script = """
from anonymizer import Anonymizer, Options
result = Anonymizer().image("street.jpg", Options(face=True, license_plate=True))
result.save("out.jpg")
print(result.counts["face"], result.image.shape, len(result.detections), result.binary_mask.max())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 (1920, 1080, 3) ")
    assert (tmp_path / "out.jpg").stat().st_size > 10_000
