"""Which texts of a video and of its tracks are kept: all, or only those that do not name people, places and devices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from anonymizer.pipeline.images.metadata.kept_tags import KeepMetadata

__all__ = ["kept_of_file", "kept_of_track"]

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
    r"stereo_mode|alpha_mode|spherical.*|projection.*|"
    r"camera\.(lens_model|focal_length\.35mm_equivalent|framereadouttimeinmicroseconds)|"
    r"lens_?model|focal_?length.*|iso(_?speed.*)?|exposure.*|aperture.*|f_?number|white_?balance|"
    r"capture\.(fps|mode)|video\.temporal_layers_count|.*frame[-_.]?rate.*|bps|number_of_(frames|bytes)"
    r")"
)
#: texts that are technical where they are JSON, as mapping tools write it
_JSON = frozenset(("comment", "description", "com.apple.quicktime.comment", "com.apple.quicktime.description"))
#: what a player needs to choose a track, and what names its kind or its file
_OF_TRACK = frozenset(("language", "title", "handler_name", "filename", "mimetype"))


def kept_of_file(metadata: Mapping[str, str], keep: KeepMetadata) -> dict[str, str]:
    """Choose what of a file's metadata is kept.

    Args:
        metadata: texts by key, as FFmpeg gives them.
        keep: `technical` drops names and free texts, such as artist, title and comment; `none` drops everything.
    """
    if keep is KeepMetadata.NONE:
        return {}
    return {key: value for key, value in metadata.items() if keep is KeepMetadata.ALL or _is_technical(key, value)}


def kept_of_track(metadata: Mapping[str, str], keep: KeepMetadata) -> dict[str, str]:
    """Choose what of a track's metadata is kept; with `none`, the language remains.

    Args:
        metadata: texts by key, as FFmpeg gives them.
        keep: as for `kept_of_file`. `technical` also keeps the names of tracks, from which a viewer chooses.
    """
    if keep is KeepMetadata.NONE:
        return {key: value for key, value in metadata.items() if key.lower() == "language"}
    named = {key: value for key, value in metadata.items() if LANGUAGE.sub("", key.lower()) in _OF_TRACK}
    return kept_of_file(metadata, keep) | named


def _is_technical(key: str, value: str) -> bool:
    name = LANGUAGE.sub("", key.lower())
    return _TECHNICAL.fullmatch(name) is not None or (name in _JSON and _is_json(value))


def _is_json(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False
