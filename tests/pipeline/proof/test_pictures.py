"""`verify` of images: what is redacted must be so in the file, and what is still seen there is redacted or fails."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from anonymizer import Anonymizer, Options
from anonymizer.pipeline import results
from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import InvalidParameter, VerificationFailed
from anonymizer.pipeline.options.verify import Verify
from anonymizer.pipeline.review import selection as selection_module
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import decoded, encoded

#: where the fake detector finds a face with the score .3: below its threshold, above half of it
LOW = (slice(50, 90), slice(200, 240))


def textured(seed: int = 0) -> Image.Image:
    """A picture with fine detail everywhere."""
    small = np.random.default_rng(seed).integers(0, 256, (80, 107, 3), np.uint8)
    return Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)


@pytest.fixture
def detector() -> FakeDetector:
    return FakeDetector()


@pytest.fixture
def anonymizer(detector: FakeDetector) -> Anonymizer:
    return Anonymizer(store=FakeStore(detector), noise_key=b"key")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_the_look_at_the_file_finds_is_redacted_and_noted(anonymizer: Anonymizer, kind: str) -> None:
    data = encoded(textured(), kind)
    plain, verified = (anonymizer.image(data, Options(method="blacken", verify=mode)) for mode in (False, True))
    assert plain.verification is None
    assert plain.image[LOW].std() > 20
    sources = [(each["score"], each["source"], each["is_anonymised"]) for each in verified.metadata["detections"]]
    assert sources == [(0.9, "detector", True), (0.7, "detector", True), (0.3, "verification", True)]
    shown = decoded(verified.encode())
    assert shown[LOW].mean() < 8
    assert (verified.binary_mask[LOW] > 0).mean() > 0.8
    assert verified.verification is not None
    proof = verified.verification.as_json()
    assert (proof["mode"], proof["looks"], proof["regions"], proof["added"]) == ("true", 2, 3, {"face": 1})
    assert proof["most_left"] < 0.3
    assert any("1 object(s) were found only when the finished file was looked at again" in w for w in verified.warnings)
    # what is kept for another rendering is what the detectors found in the original
    assert len(verified.found) == 3
    assert set(verified.found.sources.tolist()) == {"detector"}


def test_strict_fails_and_says_what_is_seen_where(anonymizer: Anonymizer) -> None:
    with pytest.raises(VerificationFailed, match=r"a face of 40 x 40 pixels at x 200, y 50 \(score 0.30\)") as failure:
        anonymizer.image(encoded(textured()), Options(verify="strict"))
    assert failure.value.code == "verification_failed"
    # with a lower threshold it is redacted at once, and all is well
    result = anonymizer.image(encoded(textured()), Options(verify="strict", face_threshold=0.25))
    assert result.verification is not None
    assert result.verification.looks == 1


def test_pixels_in_ignores_are_never_found_again(anonymizer: Anonymizer) -> None:
    ignores = json.dumps([{"topLeftX": 195, "topLeftY": 45, "width": 60, "height": 60}])
    options, _ = Options.from_params({"verify": "strict", "ignores": ignores})
    assert anonymizer.image(encoded(textured()), options).verification is not None


@pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_redaction_that_does_nothing_is_noticed(
    anonymizer: Anonymizer, monkeypatch: pytest.MonkeyPatch, method: str, kind: str
) -> None:
    options = Options(method=method, verify=True, face_threshold=0.25)
    assert anonymizer.image(encoded(textured(), kind), options).verification is not None
    monkeypatch.setattr(selection_module, "redact_colours", lambda pixels, *_, **__: pixels.copy())
    with pytest.raises(VerificationFailed, match=r"keeps .* of its detail"):
        anonymizer.image(encoded(textured(), kind), options)


def test_one_bare_region_of_three_is_noticed(anonymizer: Anonymizer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = selection_module.redact_colours

    def forgetful(pixels, spare_bits, regions, *args, **kwargs):  # type: ignore[no-untyped-def]
        return right(pixels, spare_bits, regions[:-1], *args, **kwargs)

    monkeypatch.setattr(selection_module, "redact_colours", forgetful)
    with pytest.raises(VerificationFailed, match="the face at x 1"):
        anonymizer.image(encoded(textured()), Options(verify=True, face_threshold=0.25))


def test_a_file_that_shows_the_original_is_noticed(anonymizer: Anonymizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "encode_picture", lambda *_, **__: encoded(textured(), quality=60))
    with pytest.raises(VerificationFailed, match="keeps"):
        anonymizer.image(encoded(textured()), Options(verify=True))
    monkeypatch.setattr(results, "encode_picture", lambda *_, **__: encoded(textured())[:500])
    with pytest.raises(VerificationFailed, match="cannot be read again"):
        anonymizer.image(encoded(textured()), Options(verify=True))
    monkeypatch.setattr(results, "encode_picture", lambda *_, **__: encoded(textured().resize((100, 100))))
    with pytest.raises(VerificationFailed, match=r"has .* pixels instead of"):
        anonymizer.image(encoded(textured()), Options(verify=True))


def test_a_flat_region_proves_nothing_and_does_not_fail(anonymizer: Anonymizer) -> None:
    flat = Image.new("RGB", (320, 240), (90, 120, 60))
    verification = anonymizer.image(encoded(flat), Options(verify=True)).verification
    assert verification is not None
    assert (verification.regions, verification.flat, verification.most_left) == (3, 3, 0.0)


def test_the_bytes_that_were_verified_are_those_that_are_saved(
    anonymizer: Anonymizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = anonymizer.image(encoded(textured()), Options(verify=True))
    monkeypatch.setattr(results, "encode_picture", lambda *_, **__: b"another file")
    assert decoded(result.encode()).shape == (240, 320, 3)


def test_arrays_transparency_and_sixteen_bits_are_verified(anonymizer: Anonymizer) -> None:
    rgb = np.asarray(textured())
    alpha = np.random.default_rng(1).integers(0, 256, rgb.shape[:2], np.uint8)
    for source in (rgb, np.dstack([rgb, alpha]), rgb.astype(np.uint16) * 257, rgb[..., 0]):
        result = anonymizer.image(source, Options(verify=True))
        assert result.verification is not None
        assert (result.verification.regions, result.verification.flat) == (3, 0)
        assert result.encode(format="png")
    file = io.BytesIO()
    Image.fromarray(np.dstack([rgb, alpha])).save(file, "PNG")
    assert anonymizer.image(file.getvalue(), Options(verify=True)).verification is not None


def test_debug_overlays_are_no_objects_and_detect_makes_no_file(anonymizer: Anonymizer, detector: FakeDetector) -> None:
    debug = anonymizer.image(encoded(textured()), Options(verify=True, debug=True))
    assert debug.verification is not None
    assert debug.verification.added == {"face": 1}
    calls = [detector.calls]
    for verify in (False, True):
        assert anonymizer.image(encoded(textured()), Options(verify=verify, method="detect")).verification is None
        calls.append(detector.calls)
    assert calls[2] - calls[1] == calls[1] - calls[0]
    assert Options.from_params({"verify": "true", "method": "detect"})[1] == [
        "verify has no effect with method=detect, which makes no file."
    ]


def test_many_images_are_verified_too(anonymizer: Anonymizer) -> None:
    several = [np.asarray(textured(seed)) for seed in range(3)]
    found = list(anonymizer.images(several, Options(verify=True)))
    assert [result.verification.added for result in found if result.verification] == [{"face": 1}] * 3


def test_an_object_that_moves_away_from_each_redaction_ends_the_looks(
    anonymizer: Anonymizer, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(100))

    def another_place(images: list[np.ndarray], side: int) -> list[Detections]:
        x = 15 + 40 * next(looks)
        return [Detections(np.array([[x, 30, x + 25, 60]], np.float32), [0.3], [0], ["fake"]) for _ in images]

    monkeypatch.setattr(detector, "detect", another_place)
    result = anonymizer.image(np.asarray(textured()), Options(verify=True, format="whole"))
    assert result.verification is not None
    assert result.verification.looks == 3
    assert len(result.detections) == 3


@pytest.mark.parametrize(("text", "mode"), [("TRUE", "true"), ("1", "true"), ("off", "false"), ("Strict", "strict")])
def test_the_option_takes_true_false_and_strict(text: str, mode: str) -> None:
    options, _ = Options.from_params({"verify": text})
    assert options.verify is Verify(mode)
    assert Options.from_params(options.as_params())[0].verify is Verify(mode)
    with pytest.raises(InvalidParameter, match="verify is 'maybe', but must be true, false or strict"):
        Options.from_params({"verify": "maybe"})
