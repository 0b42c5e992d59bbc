"""What of EXIF, of the place on the map and of a panorama is kept, and in which files it is found."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from anonymizer.pipeline.images.exif_tags import Entry, Exif, pack_directory, read_exif
from anonymizer.pipeline.images.io import encode_picture, load_picture
from anonymizer.pipeline.images.metadata.panorama import MOST_BYTES, read_panorama, write_panorama

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
ASCII, SHORT, LONG, UNDEFINED, SLONG, IFD, UTF8 = 2, 3, 4, 7, 9, 13, 129
EXIF_IFD, GPS_IFD, COMMENT = 0x8769, 0x8825, 0x9286
#: Pillow wants the signature for a JPEG only.
EXIF = b"Exif\0\0"
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"]


def saved(file_format: str, **options: object) -> bytes:
    out, image = io.BytesIO(), Image.fromarray(PIXELS)
    if file_format == "HEIF":
        pillow_heif.from_pillow(image).save(out, **options)
    else:
        image.save(out, file_format, **options)
    return out.getvalue()


def opened(data: bytes, file_format: str = "") -> Image.Image:
    return pillow_heif.open_heif(data).to_pillow() if file_format == "HEIF" else Image.open(io.BytesIO(data))


def again(data: bytes, keep: str = "technical") -> bytes:
    picture = load_picture(data)
    return encode_picture(picture, picture.pixels, keep_metadata=keep)


def entry(field_type: int, value: bytes) -> Entry:
    sizes = {SHORT: 2, LONG: 4, SLONG: 4, IFD: 4}
    return Entry(field_type, len(value) // sizes.get(field_type, 1), value)


def block(tags: dict[int, Entry | dict[int, Entry]], order: str = "<") -> bytes:
    """An EXIF block; nothing is scrubbed here."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "L", 8) + pack_directory(tags, order, at=8)


TECHNICAL = {
    0x010F: "Maker", 0x0110: "Model", 0x0131: "Firmware 1.0", 0x0132: "2024:01:02 03:04:05",
}  # fmt: skip
TECHNICAL_SUB = {
    0x9003: "2024:01:02 03:04:05", 0x829A: 0.01, 0x829D: 2.8, 0x8827: 200, 0xA433: "Lens maker", 0xA434: "Lens",
    0xA439: "Firmware 2.0",
}  # fmt: skip
NAMES = {
    0x010E: "SECRET at the lake", 0x013B: "SECRET artist", 0x013C: "SECRET computer", 0x8298: "(c) SECRET",
    0x9C9B: "SECRET".encode("utf-16-le"), 0x9C9C: "SECRET".encode("utf-16-le"),
    0x9C9D: "SECRET".encode("utf-16-le"), 0x9C9E: "SECRET".encode("utf-16-le"), 0x9C9F: "SECRET".encode("utf-16-le"),
}  # fmt: skip
NAMES_SUB = {
    COMMENT: b"ASCII\0\0\0SECRET words", 0xA420: "SECRET id", 0xA430: "SECRET owner", 0xA431: "SECRET serial",
    0xA435: "SECRET serial", 0xA436: "SECRET title", 0xA437: "SECRET photographer", 0xA438: "SECRET editor",
}  # fmt: skip
PLACE = {1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 22.0, 1.0)}


def exif_of_a_person() -> bytes:
    exif = Image.Exif()
    exif.update({**TECHNICAL, **NAMES})
    exif.get_ifd(EXIF_IFD).update({**TECHNICAL_SUB, **NAMES_SUB})
    exif.get_ifd(GPS_IFD).update({**PLACE, 0x1C: b"ASCII\0\0\0SECRET village"})
    return exif.tobytes()


def has_secret(data: bytes) -> bool:
    return b"SECRET" in data or "SECRET".encode("utf-16-le") in data


@pytest.mark.parametrize("file_format", FORMATS)
def test_names_are_dropped_by_default_and_technical_values_stay(file_format: str) -> None:
    data = saved(file_format, exif=exif_of_a_person())
    assert has_secret(data)
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels)

    assert not has_secret(out)
    found = opened(out, file_format).getexif()
    assert {tag: found[tag] for tag in TECHNICAL} == TECHNICAL
    sub = found.get_ifd(EXIF_IFD)
    assert {tag: sub[tag] for tag in TECHNICAL_SUB} == pytest.approx(TECHNICAL_SUB)
    place = found.get_ifd(GPS_IFD)
    assert {tag: place[tag] for tag in PLACE} == PLACE


@pytest.mark.parametrize("file_format", FORMATS)
def test_all_keeps_names_too_and_none_keeps_nothing(file_format: str) -> None:
    data = saved(file_format, exif=exif_of_a_person())

    found = opened(again(data, "all"), file_format).getexif()

    assert {tag: found[tag] for tag in {**TECHNICAL, **NAMES}} == {**TECHNICAL, **NAMES}
    sub = found.get_ifd(EXIF_IFD)
    assert {tag: sub[tag] for tag in NAMES_SUB} == NAMES_SUB
    assert found.get_ifd(GPS_IFD)[0x1C] == b"ASCII\0\0\0SECRET village"
    nothing = again(data, "none")
    assert not has_secret(nothing)
    assert b"Maker" not in nothing
    assert not opened(nothing, file_format).getexif().get_ifd(GPS_IFD)


def test_another_word_for_what_to_keep_is_refused() -> None:
    picture = load_picture(saved("PNG"))
    with pytest.raises(ValueError, match="some"):
        encode_picture(picture, picture.pixels, keep_metadata="some")


MAPS = json.dumps({"MAPLatitude": 52.5, "MAPLongitude": 13.4, "MAPMetaTags": {"strings": ["x" * 2000, "Straße"]}})
COMMENTS: dict[str, tuple[Callable[[str], bytes], int]] = {
    "ascii": (lambda text: b"ASCII\0\0\0" + text.encode(), UNDEFINED),
    "no code": (lambda text: bytes(8) + text.encode(), UNDEFINED),
    "without the eight bytes": (lambda text: text.encode(), UNDEFINED),
    "unicode, as the file": (lambda text: b"UNICODE\0" + text.encode("utf-16-le"), UNDEFINED),
    "unicode, the other way": (lambda text: b"UNICODE\0" + text.encode("utf-16-be"), UNDEFINED),
    "unicode with a mark": (lambda text: b"UNICODE\0" + text.encode("utf-16"), UNDEFINED),
    "utf-8 of EXIF 3": (lambda text: text.encode() + b"\0", UTF8),
}


@pytest.mark.parametrize("name", COMMENTS)
def test_a_comment_stays_where_it_is_json(name: str) -> None:
    write, field_type = COMMENTS[name]

    def kept(text: str) -> Exif:
        return read_exif(block({EXIF_IFD: {COMMENT: entry(field_type, write(text))}}))

    assert kept(MAPS).technical() == kept(MAPS)
    assert kept(MAPS).tags[EXIF_IFD][COMMENT].value == write(MAPS)
    assert kept("word " * 300).tags[EXIF_IFD][COMMENT].value == write("word " * 300)
    assert kept("word " * 300).technical().tags == {}


@pytest.mark.parametrize("field_type", [ASCII, UTF8])
def test_a_description_stays_where_it_is_json(field_type: int) -> None:
    for text, stays in ((MAPS, True), ("[1, 2]", True), ("My holiday", False), ('"Anna"', False), ("{Anna}", False)):
        data = saved("JPEG", exif=EXIF + block({0x010E: entry(field_type, text.encode() + b"\0")}))
        assert (text.encode() in again(data)) is stays
        assert text.encode() in again(data, "all")


@pytest.mark.parametrize("size", [32_768, 32_769])
def test_the_longest_text(size: int) -> None:
    text = json.dumps(["x" * (size - 5)]).encode() + b"\0"
    assert len(text) == size

    assert (0x010E in read_exif(block({0x010E: entry(ASCII, text)})).tags) is (size == 32_768)


def test_a_long_name_of_a_camera_is_a_free_text() -> None:
    exif = read_exif(block({0x010F: entry(ASCII, b"M" * 256), 0x0110: entry(ASCII, b"M" * 257)}))

    assert set(exif.tags) == {0x010F, 0x0110}
    assert set(exif.technical().tags) == {0x010F}


PREVIEW = saved("JPEG", quality=20)
HIDDEN = {
    "base64": json.dumps({"preview": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMD"}).encode(),
    "hexadecimal": json.dumps({"preview": PREVIEW[:40].hex()}).encode(),
    "an address": json.dumps({"preview": "data:image/bmp;base64,Qk0="}).encode(),
    "pixels": PIXELS.tobytes()[:4000],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_long_value_that_holds_a_picture_is_no_text(name: str) -> None:
    value = HIDDEN[name]
    sub = {COMMENT: entry(UNDEFINED, bytes(8) + value)}

    assert read_exif(block({0x010E: entry(ASCII, value), 0x9C9C: entry(1, value), EXIF_IFD: sub})).tags == {}


def test_of_texts_that_are_too_long_together_the_longest_go() -> None:
    long, longer = json.dumps(["x" * 30_000]).encode(), json.dumps(["x" * 31_000]).encode()
    tags = {0x010E: entry(ASCII, long), 0x010F: entry(ASCII, b"Maker\0"), 0x0112: entry(SHORT, b"\6\0")}

    exif = read_exif(block({**tags, EXIF_IFD: {COMMENT: entry(UNDEFINED, bytes(8) + longer)}}))

    assert set(exif.tags) == {0x010E, 0x010F, 0x0112, EXIF_IFD}
    assert exif.tags[EXIF_IFD] == {}
    assert len(exif.to_bytes()) < 60_000


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("field_type", [SHORT, LONG, SLONG, IFD])
def test_a_directory_is_found_whatever_the_type_of_its_pointer(field_type: int, order: str) -> None:
    inner = pack_directory({0x9003: entry(ASCII, b"2024:01:02 03:04:05\0")}, order, at=56)
    place = pack_directory({1: entry(ASCII, b"N\0")}, order, at=56 + len(inner))
    pointers = {
        tag: entry(field_type, struct.pack(order + ("H" if field_type == SHORT else "L"), at))
        for tag, at in ((EXIF_IFD, 56), (GPS_IFD, 56 + len(inner)))
    }
    data = saved("JPEG", exif=EXIF + block(pointers, order).ljust(56, b"\0") + inner + place)

    found = opened(again(data)).getexif()

    assert found.get_ifd(EXIF_IFD)[0x9003] == "2024:01:02 03:04:05"
    assert found.get_ifd(GPS_IFD)[1] == "N"


def test_a_negative_pointer_is_no_pointer() -> None:
    assert read_exif(block({EXIF_IFD: entry(SLONG, struct.pack("<l", -8))})).tags == {}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["B", "H", "L", "b", "h", "l"])
def test_an_orientation_counts_whatever_its_type(code: str, order: str) -> None:
    field_type = {"B": 1, "H": SHORT, "L": LONG, "b": 6, "h": 8, "l": SLONG}[code]
    value = struct.pack(order + code, 6)
    data = saved("JPEG", exif=EXIF + block({0x0112: Entry(field_type, 1, value)}, order))
    picture = load_picture(data)

    assert picture.size_hw == (64, 48)
    assert opened(encode_picture(picture, picture.pixels)).getexif()[0x0112] == 6


def raw_profile(data: bytes, keyword: str = "exif", *, line: int = 72) -> bytes:
    digits = data.hex()
    lines = "\n".join(digits[at : at + line] for at in range(0, len(digits), line))
    return f"\n{keyword}\n{len(data):8}\n{lines}\n".encode()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    data = saved("PNG")
    at = data.index(b"IDAT") - 4
    packed = [
        struct.pack(">L", len(value)) + name + value + struct.pack(">L", zlib.crc32(name + value))
        for name, value in chunks
    ]
    return data[:at] + b"".join(packed) + data[at:]


TURNED = EXIF + block({0x0112: entry(SHORT, b"\6\0"), 0x010F: entry(ASCII, b"Maker\0")})
RAW_PROFILES = {
    "text": (b"tEXt", b"Raw profile type exif\0" + raw_profile(TURNED)),
    "packed text": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(TURNED))),
    "of ExifTool": (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw_profile(TURNED, "generic"))),
    "without a signature": (b"tEXt", b"Raw profile type exif\0" + raw_profile(TURNED[6:])),
    "international": (b"iTXt", b"Raw profile type exif\0\0\0en\0\0" + raw_profile(TURNED)),
    "international, packed": (b"iTXt", b"Raw profile type exif\0\1\0\0\0" + zlib.compress(raw_profile(TURNED))),
}


@pytest.mark.parametrize("name", RAW_PROFILES)
def test_exif_in_a_raw_profile_of_a_png_is_read_as_exif(name: str) -> None:
    picture = load_picture(png(RAW_PROFILES[name]))

    out = opened(encode_picture(picture, picture.pixels))

    assert picture.size_hw == (64, 48)
    assert np.array_equal(picture.pixels, np.rot90(PIXELS, -1))
    assert (out.getexif()[0x0112], out.getexif()[0x010F]) == (6, "Maker")
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(out)), picture.pixels)
    assert b"Raw profile" not in encode_picture(picture, picture.pixels)


def test_the_chunk_for_exif_comes_before_a_raw_profile() -> None:
    upright = block({0x0112: entry(SHORT, b"\1\0")})

    assert load_picture(png(RAW_PROFILES["text"], (b"eXIf", upright))).size_hw == (48, 64)
    assert load_picture(png(RAW_PROFILES["text"], (b"eXIf", b"damaged"))).size_hw == (64, 48)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"Raw profile type exif\0\nexif\n   8\nxyz"),
        (b"tEXt", b"Raw profile type exif\0"),
        (b"zTXt", b"Raw profile type exif\0\0damaged"),
        (b"iTXt", b"Raw profile type exif\0\1"),
        (b"tEXt", b"Raw profile type iptc\0" + raw_profile(TURNED)),
        (b"prVt", b"Raw profile type exif\0" + raw_profile(TURNED)),
    ],
)
def test_a_raw_profile_that_is_damaged_or_none_is_left_out(chunk: tuple[bytes, bytes]) -> None:
    picture = load_picture(png(chunk))

    assert picture.size_hw == (48, 64)
    assert not opened(encode_picture(picture, picture.pixels)).getexif()


GEO = {
    33550: (12, (0.5, 0.5, 0.0)),
    33922: (12, (0.0, 0.0, 0.0, 400000.0, 5000000.0, 0.0)),
    34264: (12, tuple(float(n) for n in range(16))),
    34735: (3, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)),
    34736: (12, (6378137.0, 298.257)),
    34737: (2, "WGS 84 / UTM zone 33N|" * 20),
    42113: (2, "-9999"),
    50844: (12, tuple(float(n) for n in range(92))),
}


def tiff(tags: dict[int, tuple[int, object]], order: str = "<") -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    for tag, (field_type, value) in tags.items():
        info.tagtype[tag] = field_type
        info[tag] = value
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "TIFF", tiffinfo=info)
    return out.getvalue()


@pytest.mark.parametrize("keep", ["technical", "all"])
def test_a_geotiff_stays_on_its_place(keep: str) -> None:
    found = opened(again(tiff(GEO), keep)).tag_v2

    assert {tag: (found.tagtype[tag], found[tag]) for tag in GEO} == GEO


def test_the_place_on_the_map_goes_with_the_metadata() -> None:
    assert not GEO.keys() & dict(opened(again(tiff(GEO), "none")).tag_v2).keys()


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (33550, (12, (float("nan"), 1.0, 1.0))),
        (33550, (12, (1.0, 1.0))),
        (33922, (12, (1.0,) * 6 * 257)),
        (34735, (3, (1, 1, 0, 9, 1024, 0, 1, 1))),
        (34735, (2, "SECRET")),
        (34737, (2, "x" * 5000)),
        (42113, (2, "SECRET")),
        (42112, (2, "<GDALMetadata>SECRET</GDALMetadata>")),
        (65000, (2, "SECRET")),
    ],
)
def test_a_geographic_tag_with_another_value_is_left_out(tag: int, value: tuple[int, object]) -> None:
    data = tiff({tag: value})
    assert tag in opened(data).tag_v2

    assert tag not in opened(again(data, "all")).tag_v2


PANORAMA = {
    "UsePanoramaViewer": "True", "ProjectionType": "equirectangular", "PoseHeadingDegrees": "-12.5",
    "FullPanoWidthPixels": "64", "FullPanoHeightPixels": "48", "CroppedAreaLeftPixels": "0",
}  # fmt: skip
OTHER = {
    "StitchingSoftware": "SECRET", "FirstPhotoDate": "SECRET", "PosePitchDegrees": "SECRET", "SourcePhotosCount": "0x1",
}  # fmt: skip
HEAD = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    "<rdf:Description rdf:about='' xmlns:GPano='http://ns.google.com/photos/1.0/panorama/' "
    "xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:GImage='http://ns.google.com/photos/1.0/image/'"
)
TAIL = "</rdf:Description></rdf:RDF></x:xmpmeta>"
BODY = "<dc:creator>SECRET</dc:creator><GImage:Data>SECRET</GImage:Data><dc:ProjectionType>SECRET</dc:ProjectionType>"


def as_elements(values: dict[str, str]) -> str:
    rows = "".join(f"<GPano:{name}>{value}</GPano:{name}>" for name, value in values.items())
    return f"{HEAD}>{BODY}{rows}{TAIL}"


def as_attributes(values: dict[str, str]) -> str:
    rows = "".join(f" GPano:{name}='{value}'" for name, value in values.items())
    return f"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>{HEAD}{rows}>{BODY}{TAIL}<?xpacket end='w'?>" + " " * 99


def xmp_of(data: bytes, file_format: str) -> bytes:
    """The packet of a file, as Pillow reads it; empty if there is none."""
    image = opened(data, file_format)
    if file_format == "TIFF":
        return bytes(image.tag_v2.get(0x02BC, b""))
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return found.encode() if isinstance(found, str) else bytes(found)


def with_xmp(file_format: str, packet: str) -> bytes:
    if file_format == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        return saved("PNG", pnginfo=info)
    if file_format == "TIFF":
        return tiff({0x02BC: (1, packet.encode())})
    return saved(file_format, xmp=packet.encode())


@pytest.mark.parametrize("write", [as_elements, as_attributes])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_panorama_stays_one(file_format: str, write: Callable[[dict[str, str]], str]) -> None:
    data = with_xmp(file_format, write({**PANORAMA, **OTHER}))
    assert b"SECRET" in xmp_of(data, file_format)

    out = again(data)

    assert read_panorama(xmp_of(out, file_format)) == PANORAMA
    assert xmp_of(out, file_format) == write_panorama(PANORAMA)
    assert b"SECRET" not in out
    assert xmp_of(again(data, "none"), file_format) == b""


@pytest.mark.parametrize("file_format", FORMATS)
def test_other_xmp_is_dropped(file_format: str) -> None:
    out = again(with_xmp(file_format, as_elements(OTHER)), "all")

    assert xmp_of(out, file_format) == b""
    assert b"SECRET" not in out


@pytest.mark.parametrize(
    "packet",
    [
        None,
        b"",
        b"<x",
        b"<!DOCTYPE x [<!ENTITY a '5'>]>" + as_elements({"PoseHeadingDegrees": "&a;"}).encode(),
        ("<!DOCTYPE x [<!ENTITY a '5'>]>" + as_elements({"PoseHeadingDegrees": "&a;"})).encode("utf-16"),
        as_elements(PANORAMA).encode() + b" " * MOST_BYTES,
        as_elements({"ProjectionType": "of Anna"}).encode(),
        as_elements({"PoseHeadingDegrees": "1e5"}).encode(),
    ],
)
def test_what_is_no_panorama_has_no_properties(packet: bytes | None) -> None:
    assert read_panorama(packet) == {}


def test_names_of_other_namespaces_do_not_count_and_utf_16_does() -> None:
    assert read_panorama(as_elements(PANORAMA).replace("ns.google.com/photos", "example.com").encode()) == {}
    assert read_panorama(as_elements(PANORAMA).encode("utf-16")) == PANORAMA
