"""Options: what one request asks for, validated once, however it was written.

A query string, a command line and keyword arguments go through the same converters: each field below names its own, so
that this class is also the table from which the command line and the OpenAPI schema are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import boolean, choice, kernel_size, profile_name, share, whole_number
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Tiles, Whole, parse_format
from anonymizer.pipeline.options.regions import SIDES, Region, parse_ignores

__all__ = ["DamagedFrames", "Method", "Options", "Parameter", "SaveMask", "VideoEncoder", "parameters"]


class Method(StrEnum):
    """What is done to what was found."""

    BLUR = "blur"
    PIXELATE = "pixelate"
    BLACKEN = "blacken"
    DETECT = "detect"


class SaveMask(StrEnum):
    """Which masks are made."""

    ALL = "all"
    BINARY = "binary"
    INSTANCE = "instance"
    NONE = "none"

    @property
    def binary(self) -> bool:
        return self in (SaveMask.ALL, SaveMask.BINARY)

    @property
    def instance(self) -> bool:
        return self in (SaveMask.ALL, SaveMask.INSTANCE)


class DamagedFrames(StrEnum):
    """What becomes of frames of a video that the decoder could not read whole."""

    FAIL = "fail"
    BLACKEN = "blacken"


class VideoEncoder(StrEnum):
    """What writes a video; `auto` is the software encoder of the source's own codec."""

    AUTO = "auto"
    LIBX264 = "libx264"
    LIBX265 = "libx265"
    LIBSVTAV1 = "libsvtav1"
    LIBVPX_VP9 = "libvpx-vp9"
    MPEG4 = "mpeg4"
    MJPEG = "mjpeg"
    H264_NVENC = "h264_nvenc"
    HEVC_NVENC = "hevc_nvenc"
    AV1_NVENC = "av1_nvenc"


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one field of `Options` is read and explained."""

    convert: Callable[[str, Any], Any]
    help: str


def _option(default: Any, convert: Callable[[str, Any], Any], text: str) -> Any:
    return field(default=default, metadata={"parameter": Parameter(convert, text)})


_TYPE_HELP = "look for {}; where no object type is named, every type that is served"
_THRESHOLD_HELP = "least score of a {}, 0..1"
_KERNEL_HELP = "strength for a {}: up to 1 a share of the object, above 1 pixels; never under the floor"
_START_HELP = "soft edge of a {}: how far outside the object it begins, as a share of its shorter side"
_STOP_HELP = "accepted for compatibility: inside the object of a {} the strength is always full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One request. Every field takes its own type or the text that a query string has for it.

    `profile` is recorded only: what a profile gives is filled in by whoever keeps profiles.

    Raises:
        InvalidParameter: a value is not allowed; the sentence names field, value and what is.
    """

    method: Method = _option(Method.BLUR, choice(Method), "blur, pixelate, blacken or detect (report only)")
    face: bool | None = _option(None, boolean, _TYPE_HELP.format("faces"))
    license_plate: bool | None = _option(None, boolean, _TYPE_HELP.format("license plates"))
    person: bool | None = _option(None, boolean, _TYPE_HELP.format("persons"))
    vehicle: bool | None = _option(None, boolean, _TYPE_HELP.format("vehicles"))
    bbox: bool = _option(False, boolean, "redact boxes instead of the objects' shapes")
    debug: bool = _option(False, boolean, "draw boxes and masks of what was found on the result")
    score: bool = _option(False, boolean, "with debug, draw the scores too")
    ignores: tuple[Region, ...] = _option((), parse_ignores, "JSON list of rectangles in which no pixel is changed")
    face_threshold: float = _option(0.5, share, _THRESHOLD_HELP.format("face"))
    license_plate_threshold: float = _option(0.5, share, _THRESHOLD_HELP.format("license plate"))
    person_threshold: float = _option(0.4, share, _THRESHOLD_HELP.format("person"))
    vehicle_threshold: float = _option(0.4, share, _THRESHOLD_HELP.format("vehicle"))
    format: Format = _option(Whole(), parse_format, "whole, auto, pano:WIDTH or JSON tiling")
    no_object_tracking: bool = _option(False, boolean, "videos: no tracking between frames")
    keep_bit_rate: bool = _option(False, boolean, "videos: keep the bit rate within 5 %")
    re_encode: bool = _option(False, boolean, "videos: encode stretches again too in which nothing is redacted")
    hide_gait: bool = _option(False, boolean, "videos: cover a person where it was within half a second, gait included")
    video_encoder: VideoEncoder = _option(
        VideoEncoder.AUTO, choice(VideoEncoder), f"videos: one of {', '.join(VideoEncoder)}"
    )
    damaged_frames: DamagedFrames = _option(
        DamagedFrames.FAIL, choice(DamagedFrames), "videos: fail at frames that cannot be read whole, or blacken them"
    )
    quality: int | None = _option(None, whole_number(1, 100, none=0), "JPEG quality 1..100; as the original without")
    compress_level: int = _option(5, whole_number(0, 9), "PNG compression 0..9")
    save_mask: SaveMask = _option(SaveMask.ALL, choice(SaveMask), "masks to make: all, binary, instance or none")
    mask_scale: int = _option(100, whole_number(1, 100), "size of the masks in percent, 1..100")
    kernel_size_face: float | None = _option(None, kernel_size, _KERNEL_HELP.format("face"))
    kernel_size_license_plate: float | None = _option(None, kernel_size, _KERNEL_HELP.format("license plate"))
    kernel_size_person: float | None = _option(None, kernel_size, _KERNEL_HELP.format("person"))
    kernel_size_vehicle: float | None = _option(None, kernel_size, _KERNEL_HELP.format("vehicle"))
    face_anonymization_gradient_start: float = _option(0.3, share, _START_HELP.format("face"))
    face_anonymization_gradient_stop: float = _option(0.0, share, _STOP_HELP.format("face"))
    license_plate_anonymization_gradient_start: float = _option(0.3, share, _START_HELP.format("license plate"))
    license_plate_anonymization_gradient_stop: float = _option(0.0, share, _STOP_HELP.format("license plate"))
    margin: float = _option(0.1, share, "growth of each object at full strength, as a share of its shorter side")
    strip_metadata: bool = _option(False, boolean, "drop EXIF, XMP and IPTC")
    profile: str = _option(
        "", profile_name, "profile that gives thresholds and format where they are not given; or none"
    )

    #: Other ways to write a parameter, and what they set.
    DEPRECATED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "segmentation_threshold": ("person_threshold", "vehicle_threshold")
    }

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                convert = each.metadata["parameter"].convert
                object.__setattr__(self, each.name, convert(_spelled(each.name), value))

    @classmethod
    def from_params(
        cls, params: Mapping[str, object], *, defaults: Mapping[str, object] | None = None
    ) -> tuple[Options, list[str]]:
        """Options from names with `-` or `_` and values as text; an empty value counts as not given.

        Returns:
            The options, and a warning for each name that is unknown or deprecated.

        Raises:
            InvalidParameter: a value is not allowed.
        """
        known = {each.name for each in fields(cls)}
        given = {name.replace("-", "_"): value for name, value in params.items() if str(value).strip() != ""}
        warnings = [
            f"{name!r} is not a known parameter and was ignored."
            for name in params
            if name.replace("-", "_") not in known | cls.DEPRECATED.keys()
        ]
        values: dict[str, Any] = dict(defaults or {}) | {name: value for name, value in given.items() if name in known}
        for old, new in cls.DEPRECATED.items():
            if old in given:
                share(_spelled(old), given[old])
                values |= {name: given[old] for name in new if name not in given}
                warnings.append(f"{_spelled(old)} is deprecated: use {' and '.join(map(_spelled, new))}.")
        options = cls(**values)
        return options, warnings + options._notes()

    def _notes(self) -> list[str]:
        """What a caller may be surprised by."""
        stops = [name for name in self.as_params() if name.endswith("-stop")]
        return [f"{name} has no effect: inside the object the strength is always full." for name in stops]

    def object_types(self, served: Sequence[ObjectType] = OBJECT_TYPES) -> tuple[ObjectType, ...]:
        """The types to look for: those that are true; every served one where none is named.

        Raises:
            InvalidParameter: a type is asked for that is not served, or every named type is false.
        """
        named = {each: getattr(self, each.replace("-", "_")) for each in OBJECT_TYPES}
        if all(value is None for value in named.values()):
            return tuple(served)
        wanted = tuple(each for each, value in named.items() if value)
        for each in wanted:
            if each not in served:
                raise InvalidParameter(each, "true", f"false here: this server serves {', '.join(served)} only")
        if not wanted:
            names = ", ".join(each for each, value in named.items() if value is not None)
            raise InvalidParameter(names, "false", f"true for at least one of {', '.join(served)}")
        return wanted

    def threshold(self, object_type: ObjectType) -> float:
        """Least score of a detection of this type."""
        return float(getattr(self, f"{_field_name(object_type)}_threshold"))

    def kernel_size(self, object_type: ObjectType) -> float | None:
        """Strength that was asked for: up to 1 a share of the object, above 1 pixels; None: chosen from its size."""
        size = getattr(self, f"kernel_size_{_field_name(object_type)}")
        return None if size is None else float(size)

    def soft_edge(self, object_type: ObjectType) -> float:
        """How far outside the object the soft edge begins, as a share of its shorter side; 0 where there is none."""
        return float(getattr(self, f"{_field_name(object_type)}_anonymization_gradient_start", 0.0))

    def as_params(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON values under the contract's names; `from_params` reads it back."""
        return {
            _spelled(each.name): _plain(getattr(self, each.name))
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


def parameters() -> dict[str, Parameter]:
    """Every parameter by the name that the contract gives it, in order."""
    return {_spelled(each.name): each.metadata["parameter"] for each in fields(Options)}


def _field_name(object_type: ObjectType) -> str:
    return object_type.value.replace("-", "_")


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _plain(value: Any) -> Any:
    if isinstance(value, Whole | Auto | Pano | Tiles):
        return str(value)
    if isinstance(value, tuple):
        return [dict(zip(SIDES, (r.x, r.y, r.width, r.height), strict=True)) for r in value]
    return value.value if isinstance(value, StrEnum) else value
