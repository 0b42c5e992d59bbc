"""An ICC profile comes out with its known tags only, and shows the same colours."""

from __future__ import annotations

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from anonymizer.pipeline.images.in_memory import encode_as, picture_of_pil
from anonymizer.pipeline.images.io import encode_picture, load_picture
from anonymizer.pipeline.images.metadata.icc import MOST_BYTES, scrub_icc_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def jpeg() -> bytes:
    """A whole small JPEG, as a preview is one."""
    out = io.BytesIO()
    Image.fromarray(PIXELS[:16, :16]).save(out, "JPEG", comment=b"SECRET")
    return out.getvalue()


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    rows = range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
    places = (struct.unpack_from(">4sLL", profile, row) for row in rows)
    return {name: profile[start : start + size] for name, start, size in places}


def profile_of(tags: dict[bytes, bytes], *, header: bytes = SRGB, gap: bytes = b"", trailer: bytes = b"") -> bytes:
    """A profile of these tags, each one stored apart, with bytes between and after them."""
    rows, body, at = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        body += gap + bytes(-len(gap) % 4)
        rows += struct.pack(">4sLL", name, at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    content = struct.pack(">L", len(tags)) + rows + body + trailer
    return struct.pack(">L", 128 + len(content)) + header[4:128] + content


def of_class(name: str) -> bytes:
    """A profile of LittleCMS with tables, as one of a colour space."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
    return profile[:12] + b"spac" + profile[16:]


def words(value: bytes) -> bytes:
    return b"text" + bytes(4) + value + b"\0"


def languages(value: bytes, hidden: bytes) -> bytes:
    return b"mluc" + bytes(4) + struct.pack(">LL4sLL", 1, 12, b"enUS", len(value), 28 + len(hidden)) + hidden + value


def table(values: np.ndarray) -> bytes:
    """A curve of 16-bit numbers."""
    return b"curv" + bytes(4) + struct.pack(">L", len(values)) + values.astype(">u2").tobytes()


STANDARD = tags_of(SRGB)
DOCTORED = {
    "private tag": profile_of({**STANDARD, b"prvw": b"data" + bytes(4) + jpeg()}),
    "private tag of a known type": profile_of({**STANDARD, b"prvw": words(b"SECRET")}),
    "metadata": profile_of({**STANDARD, b"meta": b"dict" + bytes(4) + b"SECRET serial"}),
    "between the tags": profile_of(STANDARD, gap=jpeg()),
    "after the tags": profile_of(STANDARD, trailer=jpeg()),
    "after the profile": SRGB + jpeg(),
    "unknown type": profile_of({**STANDARD, b"bkpt": b"data" + bytes(4) + jpeg()}),
    "after a number": profile_of({**STANDARD, b"bkpt": b"XYZ " + bytes(16) + jpeg()}),
    "after a curve": profile_of({**STANDARD, b"rTRC": STANDARD[b"rTRC"] + jpeg()}),
    "after a text": profile_of({**STANDARD, b"cprt": words(b"free") + jpeg()}),
    "in a text": profile_of({**STANDARD, b"cprt": b"text" + bytes(4) + jpeg()}),
    "within languages": profile_of({**STANDARD, b"dmnd": languages("ok".encode("utf-16-be"), jpeg())}),
    "in a long text": profile_of({**STANDARD, b"cprt": words(b"SECRET" * 1000)}),
    "in reserved bytes": profile_of(STANDARD, header=SRGB[:100] + b"SECRET" + SRGB[106:]),
}


def saved(file_format: str, icc: bytes) -> bytes:
    out = io.BytesIO()
    if file_format == "HEIF":
        pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(out, icc_profile=icc)
    else:
        Image.fromarray(PIXELS).save(out, file_format, icc_profile=icc)
    return out.getvalue()


def icc_of(data: bytes, file_format: str) -> bytes:
    """The profile of a file, as Pillow reads it."""
    if file_format == "HEIF":
        return bytes(pillow_heif.open_heif(data).info["icc_profile"])
    with Image.open(io.BytesIO(data)) as image:
        return bytes(image.info["icc_profile"])


def shown(icc: bytes) -> np.ndarray:
    """The pixels as this profile shows them, in CIE Lab."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    lab = ImageCms.profileToProfile(Image.fromarray(PIXELS), source, ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    return np.asarray(lab)


@pytest.mark.parametrize("keep", ["all", "technical", "none"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_a_preview_in_a_private_tag_does_not_come_out(file_format: str, keep: str) -> None:
    data = saved(file_format, DOCTORED["private tag"])
    assert b"SECRET" in icc_of(data, file_format)
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels, keep_metadata=keep)

    assert icc_of(out, file_format) == SRGB
    assert b"SECRET" not in out


def test_a_preview_in_the_profile_of_a_pil_image_does_not_come_out() -> None:
    image = Image.fromarray(PIXELS)
    image.info["icc_profile"] = DOCTORED["private tag"]
    picture = picture_of_pil(image)

    assert icc_of(encode_as(picture, picture.pixels, "jpeg"), "JPEG") == SRGB


@pytest.mark.parametrize("name", DOCTORED)
def test_a_profile_hides_nothing_and_shows_the_same_colours(name: str) -> None:
    profile = DOCTORED[name]
    assert b"SECRET" in profile

    kept = scrub_icc_profile(profile)

    assert kept is not None
    assert b"SECRET" not in kept
    assert b"\xff\xd8\xff" not in kept
    assert np.array_equal(shown(kept), shown(SRGB))


@pytest.mark.parametrize("profile", [SRGB, of_class("XYZ")], ids=["curves", "mAB"])
def test_a_profile_without_anything_else_stays_as_it_is(profile: bytes) -> None:
    assert scrub_icc_profile(profile) == profile
    assert scrub_icc_profile(profile + b"more") == profile


def test_of_a_description_the_ascii_text_is_kept() -> None:
    source = tags_of(of_class("LAB"))
    assert "Lab".encode("utf-16-be") in source[b"desc"]

    kept = scrub_icc_profile(of_class("LAB"))

    assert kept is not None
    found = tags_of(kept)
    assert "Lab".encode("utf-16-be") not in found[b"desc"]
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(kept))).strip() == "Lab identity built-in"
    assert {**found, b"desc": b""} == {**source, b"desc": b""}


def test_the_checksum_fits_the_profile() -> None:
    made = scrub_icc_profile(SRGB[:84] + b"x" * 16 + SRGB[100:])
    assert made is not None
    assert made[84:100] not in (bytes(16), b"x" * 16)
    # another checksum and another intent change nothing in what it is made of
    again = scrub_icc_profile(made[:64] + b"\0\0\0\1" + made[68:84] + b"y" * 16 + made[100:])
    assert again is not None
    assert again[84:100] == made[84:100]


@pytest.mark.parametrize("kind", ["mAB", "mft2"])
def test_bytes_that_a_table_does_not_need_are_left_out(kind: str) -> None:
    tags = tags_of(of_class({"mAB": "XYZ", "mft2": "LAB"}[kind]))
    profile = profile_of({**tags, b"A2B0": tags[b"A2B0"] + jpeg()}, header=of_class("XYZ"))

    kept = scrub_icc_profile(profile)

    assert kept is not None
    assert tags_of(kept)[b"A2B0"] == tags[b"A2B0"]


def test_a_picture_in_the_numbers_of_a_curve_is_found_and_a_bright_curve_is_not_mistaken() -> None:
    picture = jpeg() + bytes(len(jpeg()) % 2)
    bright = table(np.linspace(0xFF00, 0xFFFF, 256))
    assert b"\xff\xd8\xff" in bright

    hidden = scrub_icc_profile(profile_of({**STANDARD, b"rTRC": table(np.frombuffer(picture, ">u2"))}))
    kept = scrub_icc_profile(profile_of({**STANDARD, b"rTRC": bright}))

    assert hidden is None
    assert kept is not None
    assert tags_of(kept)[b"rTRC"] == bright


@pytest.mark.parametrize("extra", [0, 1])
def test_the_largest_profile_that_is_kept(extra: int) -> None:
    bare = profile_of({**STANDARD, b"prvw": b""})
    profile = profile_of({**STANDARD, b"prvw": bytes(MOST_BYTES - len(bare) + 4 * extra)})
    assert len(profile) == MOST_BYTES + 4 * extra

    assert scrub_icc_profile(profile) == (None if extra else SRGB)


@pytest.mark.parametrize(
    "profile",
    [None, b"", bytes(200), SRGB[:-1], SRGB[:131], SRGB[:12] + b"link" + SRGB[16:], profile_of({b"cprt": words(b"x")})],
)
def test_what_is_no_profile_of_a_picture_is_left_out(profile: bytes | None) -> None:
    assert scrub_icc_profile(profile) is None


def test_damaged_profiles_raise_nothing_and_grow_by_nothing() -> None:
    random = np.random.default_rng(1)
    for source in (SRGB, of_class("XYZ"), of_class("LAB"), DOCTORED["within languages"]):
        for _ in range(300):
            damaged = bytearray(source)
            for at in random.integers(36, min(len(source), 600), 4):
                damaged[at] = random.integers(0, 256)
            kept = scrub_icc_profile(bytes(damaged))
            assert kept is None or scrub_icc_profile(kept) == kept
