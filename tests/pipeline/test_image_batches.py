"""Many images: results in order, detectors in batches, and what happens to images that have no result."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.pipeline import image_batches
from anonymizer.pipeline.errors import (
    BrokenMedia,
    DetectorFailed,
    InvalidParameter,
    ModelMissing,
    SourceNotFound,
    TooManyObjects,
    UnsupportedMedia,
)
from anonymizer.pipeline.options.formats import Whole
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import drawn, encoded


class CountingDetector(FakeDetector):
    """Remembers how many images came together, and fails for images that are white at their first pixel."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        # the small copies, in which the orientation is looked at, are not counted
        if side in self.scales(0):
            self.together = [*getattr(self, "together", []), len(images)]
        if any(image[0, 0].min() == 255 for image in images):
            raise TooManyObjects("There are too many objects.")
        return super().detect(images, side)


@pytest.fixture
def detector() -> CountingDetector:
    return CountingDetector()


@pytest.fixture
def anonymizer(detector: CountingDetector) -> Anonymizer:
    return Anonymizer(store=FakeStore(detector), noise_key=b"key")


def white() -> NDArray[np.uint8]:
    return np.full((240, 320, 3), 255, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, size in enumerate(((320, 240), (320, 240), (200, 100), (320, 240))):
        (tmp_path / f"{number}.png").write_bytes(encoded(drawn(*size, seed=number), "PNG"))
    return tmp_path


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_results_are_those_of_one_by_one(anonymizer: Anonymizer, folder: Path, batch_size: int | None) -> None:
    options = Options(method="pixelate")
    together = list(anonymizer.images(folder, options, batch_size=batch_size))
    assert [result.name for result in together] == ["0.png", "1.png", "2.png", "3.png"]
    for result in together:
        alone = anonymizer.image(folder / result.name, options)
        assert np.array_equal(result.pixels, alone.pixels)
        assert result.counts == alone.counts
        assert result.metadata["detections"] == alone.metadata["detections"]
        assert result.seconds > 0


def test_detectors_run_in_batches_that_stay_small(
    anonymizer: Anonymizer, detector: CountingDetector, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(anonymizer.images(folder, Options(format=Whole())))
    assert sum(detector.together) == 4
    assert max(detector.together) > 1
    detector.together = []
    monkeypatch.setattr(image_batches, "BATCH_MEGAPIXELS", 0.01)
    list(anonymizer.images(folder, Options(format=Whole())))
    assert detector.together == [1, 1, 1, 1]


def test_a_generator_is_read_no_further_than_a_batch(anonymizer: Anonymizer) -> None:
    read = []

    def sources():  # type: ignore[no-untyped-def]
        for number in range(100):
            read.append(number)
            yield drawn(seed=number)

    results = anonymizer.images(sources(), batch_size=2)
    assert read == []
    next(results)
    assert read == [0, 1]


def test_what_cannot_be_is_refused_before_the_first_result(anonymizer: Anonymizer, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="on_error is 'ignore', but must be raise or skip"):
        anonymizer.images([], on_error="ignore")
    with pytest.raises(InvalidParameter, match="batch_size is '0', but must be a whole number from 1 up"):
        anonymizer.images([], batch_size=0)
    with pytest.raises(SourceNotFound, match="There is no image in the folder"):
        anonymizer.images(tmp_path)
    with pytest.raises(InvalidParameter, match="at least one"):
        anonymizer.images([], Options(face=False))
    assert list(anonymizer.images([])) == []


def test_an_error_comes_after_the_results_before_it_and_names_the_image(anonymizer: Anonymizer, folder: Path) -> None:
    (folder / "2.png").write_bytes(b"text")
    results = anonymizer.images(folder)
    assert [next(results).name, next(results).name] == ["0.png", "1.png"]
    with pytest.raises(UnsupportedMedia) as caught:
        next(results)
    assert caught.value.__notes__ == [f"There is no result for {folder / '2.png'}."]


def test_images_without_a_result_are_skipped_with_a_warning(
    anonymizer: Anonymizer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "1.png").write_bytes(b"text")
    (folder / "2.png").write_bytes(encoded(kind="PNG")[:500])
    with caplog.at_level(logging.WARNING, logger="anonymizer"):
        results = list(anonymizer.images([*sorted(folder.iterdir()), folder / "none.png", white()], on_error="skip"))
    assert [result.name for result in results] == ["0.png", "3.png"]
    assert [record.name for record in caplog.records] == ["anonymizer"] * 4
    shown = [record.getMessage() for record in caplog.records]
    assert all(f"{folder / name}: " in text for name, text in zip(("1.png", "2.png", "none.png"), shown, strict=False))
    assert shown[3] == "Skipped image 6: There are too many objects."


def test_images_that_are_no_files_have_names_of_their_own(anonymizer: Anonymizer, folder: Path) -> None:
    results = anonymizer.images([drawn(), encoded(), folder / "0.png", np.asarray(drawn())])
    assert [result.name for result in results] == ["image-1.png", "image-2.jpg", "0.png", "image-4.png"]


def test_one_bad_image_does_not_harm_the_others_of_its_batch(anonymizer: Anonymizer) -> None:
    results = anonymizer.images([drawn(), white(), drawn(seed=1)])
    assert next(results).counts["face"] == 1
    with pytest.raises(TooManyObjects):
        next(results)


def test_a_missing_model_is_never_skipped(anonymizer: Anonymizer, detector: CountingDetector) -> None:
    detector.error = ModelMissing("No working model serves face.")
    with pytest.raises(ModelMissing):
        list(anonymizer.images([drawn(), drawn()], on_error="skip"))
    detector.error = DetectorFailed("The detector fake failed.")
    assert list(anonymizer.images([drawn(), drawn()], on_error="skip")) == []


def test_progress_is_shown_if_it_is_asked_for(anonymizer: Anonymizer, capsys: pytest.CaptureFixture[str]) -> None:
    list(anonymizer.images([drawn(), b"text"], on_error="skip"))
    assert capsys.readouterr().err == ""
    list(anonymizer.images([drawn(), b"text"], on_error="skip", progress=True))
    assert "2/2" in capsys.readouterr().err


def test_many_images_are_detected_with_bounded_memory(
    anonymizer: Anonymizer, detector: CountingDetector, folder: Path
) -> None:
    found = anonymizer.detect([drawn()] * 20, ["face"])
    assert [len(detections) for detections in found] == [2] * 20
    assert max(detector.together) <= image_batches.BATCH_IMAGES
    assert len(anonymizer.detect(folder)) == 4
    assert len(anonymizer.detect(f"{folder}/[01].png")) == 2


def test_one_image_gives_a_list_of_one(anonymizer: Anonymizer, folder: Path) -> None:
    for source in (folder / "0.png", str(folder / "0.png"), encoded(), drawn(), np.asarray(drawn())):
        (found,) = anonymizer.detect(source)
        assert len(found) == 3


def test_detection_says_which_image_has_a_wrong_shape(anonymizer: Anonymizer, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"images\[1\] is 'an array of shape \(4, 5, 2\) and dtype uint8'"):
        anonymizer.detect([np.asarray(drawn()), np.zeros((4, 5, 2), np.uint8)])
    with pytest.raises(InvalidParameter, match="format is 'huge', but must be whole, auto"):
        anonymizer.detect(drawn(), format="huge")
    with pytest.raises(InvalidParameter, match="object_types is 'dog', but must be one of face"):
        anonymizer.detect(drawn(), ["dog"])
    with pytest.raises(SourceNotFound):
        anonymizer.detect(tmp_path / "none.jpg")
    (tmp_path / "bad.jpg").write_bytes(encoded()[:500])
    with pytest.raises(BrokenMedia):
        anonymizer.detect(tmp_path / "bad.jpg")


def test_real_detectors_give_the_same_for_a_batch(data: Path) -> None:
    anonymizer = Anonymizer(device="cpu")
    images = sorted((data / "images").glob("*.jpg"))[:2]
    together = list(anonymizer.images(images, Options(face=True, license_plate=True)))
    for path, result in zip(images, together, strict=True):
        assert np.array_equal(result.pixels, anonymizer.image(path, result.options).pixels)


def test_a_sub_folder_that_is_not_searched_is_an_error_or_a_warning(
    anonymizer: Anonymizer, folder: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "link").symlink_to(tmp_path_factory.mktemp("other"))
    with pytest.raises(OSError, match="link: The folder is a link"):
        anonymizer.images(folder)
    assert len(list(anonymizer.images(folder, on_error="skip"))) == 4
    assert f"Skipped the folder {folder / 'link'}: The folder is a link, which is not followed." in caplog.messages
