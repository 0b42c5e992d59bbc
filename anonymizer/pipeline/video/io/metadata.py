"""Which texts of a video and of its tracks are kept: all, or only those that do not name people, places and devices."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import PurePath

from anonymizer.pipeline.images.metadata.kept_tags import KeepMetadata

__all__ = ["kept_of_attachment", "kept_of_file", "kept_of_track"]

#: some keys are there a second time with a language: location-eng
LANGUAGE = re.compile(r"-[a-z]{3}$")
#: Keys of technical values, in lower case, without what stands before them as in com.apple.quicktime.make: camera,
#: lens, exposure, program, time, position, rate and orientation. What is not known may name somebody.
_TECHNICAL = re.compile(
    r"(com\.[a-z0-9]+\.(quicktime\.)?|_statistics_)?("
    r"make|model|manufacturer|software|firmware|version|encoder|encoded_with|encoding_tool|writing_app|"
    r"creation_?(time|date)|date(_recorded|_digitized|_encoded|_tagged|_utc|time_?original)?|year|"
    r"timecode|time_?zone|rotat(e|ion)|orientation|duration|"
    r"location(\.iso6709|\.accuracy\.horizontal|\.date)?|xyz|gps_?(latitude|longitude|altitude)|"
    r"direction\.(facing|motion)|(major|compatible)_brands?|minor_version|vendor_id|"
    r"stereo_mode|spherical.*|projection.*|"
    r"camera\.(lens_model|focal_length\.35mm_equivalent|framereadouttimeinmicroseconds)|"
    r"lens_?model|focal_?length.*|iso(_?speed.*)?|exposure.*|aperture.*|f_?number|white_?balance|"
    r"capture\.(fps|mode)|video\.temporal_layers_count|.*frame[-_.]?rate.*|bps|number_of_(frames|bytes)"
    r")"
)
#: texts that are technical where they are JSON, as mapping tools write it
_JSON = frozenset(("comment", "description", "com.apple.quicktime.comment", "com.apple.quicktime.description"))
#: what a player needs to choose a track, and what names its kind or its file
_OF_TRACK = frozenset(("language", "title", "handler_name", "filename", "mimetype"))
#: Texts that hold a picture, by the last part of their key. They may show the original.
_PICTURE = re.compile(
    r"(.*[._])?(metadata_block_picture|covr|cover_?(art|image)?(mime)?|art_?work|apic|picture|thumb(nail)?)"
)
#: the first bytes of pictures: JPEG, PNG, GIF, TIFF, BMP, RIFF, and blocks of FLAC with a media type
_PICTURE_BYTES = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|BM....\0\0\0\0|RIFF....WEBP|\0\0\0.\0\0\0.image/", re.DOTALL
)
#: texts that are shorter hold no picture
_SHORTEST_PICTURE = 64
_ALPHA = "alpha_mode"
#: the ends of names of fonts
_FONTS = frozenset((".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2", ".pfb"))


def kept_of_file(metadata: Mapping[str, str], keep: KeepMetadata) -> dict[str, str]:
    """Choose what of a file's metadata is kept.

    Args:
        metadata: texts by key, as FFmpeg gives them.
        keep: `technical` drops names and free texts, such as artist, title and comment; `none` drops everything.

    Returns:
        The texts that are kept; never one that holds a picture.
    """
    if keep is KeepMetadata.NONE:
        return {}
    return {
        key: value
        for key, value in metadata.items()
        if (keep is KeepMetadata.ALL or _is_technical(key, value)) and not _is_picture(key, value)
    }


def kept_of_track(metadata: Mapping[str, str], keep: KeepMetadata) -> dict[str, str]:
    """Choose what of a track's metadata is kept; with `none`, the language remains.

    Args:
        metadata: texts by key, as FFmpeg gives them.
        keep: as for `kept_of_file`. `technical` also keeps the names of tracks, from which a viewer chooses.

    Returns:
        The texts that are kept. That a video has an alpha plane is not among them: the result has none.
    """
    if keep is KeepMetadata.NONE:
        return {key: value for key, value in metadata.items() if key.lower() == "language"}
    named = {key: value for key, value in metadata.items() if LANGUAGE.sub("", key.lower()) in _OF_TRACK}
    kept = kept_of_file(metadata, keep) | named
    return {key: value for key, value in kept.items() if key.lower() != _ALPHA}


def kept_of_attachment(metadata: Mapping[str, str], keep: KeepMetadata) -> dict[str, str]:
    """Choose what of the metadata of an attached font is kept.

    Args:
        metadata: texts by key, as FFmpeg gives them.
        keep: as for `kept_of_track`. With `none`, the font gets another name: a container asks for one.
    """
    if keep is not KeepMetadata.NONE:
        return kept_of_track(metadata, keep)
    end = PurePath(metadata.get("filename", "")).suffix.lower()
    mime = {key: value for key, value in metadata.items() if key == "mimetype"}
    return {"filename": f"font{end if end in _FONTS else ''}", **mime}


def _is_technical(key: str, value: str) -> bool:
    name = LANGUAGE.sub("", key.lower())
    return _TECHNICAL.fullmatch(name) is not None or (name in _JSON and _is_json(value))


def _is_picture(key: str, value: str) -> bool:
    if _PICTURE.fullmatch(LANGUAGE.sub("", key.lower())) is not None:
        return True
    text = value.strip()
    if len(text) < _SHORTEST_PICTURE:
        return False
    if text[:11].lower() == "data:image/":
        return True
    try:
        return _PICTURE_BYTES.match(base64.b64decode(text[:_SHORTEST_PICTURE], validate=True)) is not None
    except ValueError:
        return False


def _is_json(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False
