"""Options: the parameters of one request, validated in one place.

Query strings, the command line and keyword arguments go through the same converters. Each field below names its
converter and its help text, so the command line and the OpenAPI schema are made from this class too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.images.metadata.kept_tags import KeepMetadata
from anonymizer.pipeline.options.converters import boolean, choice, kernel_size, profile_name, share, whole_number
from anonymizer.pipeline.options.drawn import DRAWN_HELP, DrawnRegion, parse_regions
from anonymizer.pipeline.options.formats import Auto, Format, Whole, parse_format
from anonymizer.pipeline.options.margins import MARGINS
from anonymizer.pipeline.options.parameter import Parameter, Topic, option
from anonymizer.pipeline.options.regions import Region, parse_ignores
from anonymizer.pipeline.options.verify import VERIFY_HELP, Verify, verify_mode

__all__ = [
    "DamagedFrames",
    "KeepMetadata",
    "Method",
    "Options",
    "Parameter",
    "PlateFill",
    "SaveMask",
    "Verify",
    "VideoEncoder",
    "parameters",
]


class Method(StrEnum):
    """What happens to the detected objects; `detect` only reports them."""

    BLUR = "blur"
    PIXELATE = "pixelate"
    BLACKEN = "blacken"
    DETECT = "detect"


class PlateFill(StrEnum):
    """What fills a license plate: the mean colour of its surroundings, or that of the plate with noise.

    The second is weaker. Pictures of one plate then tell an attacker something of it, more with each picture.
    """

    SURROUNDINGS = "surroundings"
    PLATE = "plate"


class SaveMask(StrEnum):
    """Which masks are saved beside the result."""

    ALL = "all"
    BINARY = "binary"
    INSTANCE = "instance"
    NONE = "none"

    @property
    def binary(self) -> bool:
        """Whether the binary mask is saved."""
        return self in (SaveMask.ALL, SaveMask.BINARY)

    @property
    def instance(self) -> bool:
        """Whether the instance mask is saved."""
        return self in (SaveMask.ALL, SaveMask.INSTANCE)


class DamagedFrames(StrEnum):
    """What happens to video frames that the decoder cannot fully read."""

    FAIL = "fail"
    BLACKEN = "blacken"


class VideoEncoder(StrEnum):
    """The encoder of a video; `auto` is the software encoder for the codec of the source."""

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


_TYPE_HELP = "detect {}; default: all installed object types, if no type is named"
_THRESHOLD_HELP = "lowest score at which a {} is redacted, 0..1"
_KERNEL_HELP = (
    "strength for a {}: a share of the object up to 1, pixels above 1; never below the minimum; default: by size"
)
_MARGIN_HELP = "how far a {} is enlarged at full strength, as a share of its shorter side; default: margin, else {}"
_START_HELP = "soft edge of a {}: its distance outside the object, as a share of the object's shorter side"
_STOP_HELP = "accepted for compatibility, has no effect: inside a {} the strength is always full"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Options:
    """The parameters of one request. Each field takes a value of its type, or the text of a query string.

    `profile` is only recorded: the caller fills in the values of a threshold profile (`ThresholdProfile.options`).

    Examples:
        >>> Options(method="pixelate", face=True, license_plate=True, face_threshold=0.3)
        Options(method='pixelate', face=True, license_plate=True, face_threshold=0.3)

    Raises:
        InvalidParameter: a value is not allowed; the sentence names the field, the value and what is allowed.
    """

    method: Method = option(
        Topic.REDACTION, Method.BLUR, choice(Method), "blur, pixelate, blacken, or detect (only report)"
    )
    face: bool | None = option(Topic.DETECTION, None, boolean, _TYPE_HELP.format("faces"))
    license_plate: bool | None = option(Topic.DETECTION, None, boolean, _TYPE_HELP.format("license plates"))
    person: bool | None = option(Topic.DETECTION, None, boolean, _TYPE_HELP.format("persons"))
    vehicle: bool | None = option(Topic.DETECTION, None, boolean, _TYPE_HELP.format("vehicles"))
    bbox: bool = option(Topic.REDACTION, False, boolean, "redact boxes instead of the outlines of the objects")
    debug: bool = option(Topic.OUTPUT, False, boolean, "draw the boxes and masks of the detections on the result")
    score: bool = option(Topic.OUTPUT, False, boolean, "with debug: also draw the scores")
    ignores: tuple[Region, ...] = option(
        Topic.REDACTION, (), parse_ignores, "JSON list of rectangles in which no pixel is changed"
    )
    regions: tuple[DrawnRegion, ...] = option(Topic.REDACTION, (), parse_regions, DRAWN_HELP)
    face_threshold: float = option(Topic.DETECTION, 0.5, share, _THRESHOLD_HELP.format("face"))
    license_plate_threshold: float = option(Topic.DETECTION, 0.5, share, _THRESHOLD_HELP.format("license plate"))
    person_threshold: float = option(Topic.DETECTION, 0.4, share, _THRESHOLD_HELP.format("person"))
    vehicle_threshold: float = option(Topic.DETECTION, 0.4, share, _THRESHOLD_HELP.format("vehicle"))
    format: Format | None = option(
        Topic.DETECTION,
        None,
        parse_format,
        "whole, auto, thorough, pano:WIDTH or JSON tiling; default: auto for images, whole for videos",
    )
    strict: bool = option(
        Topic.DETECTION, False, boolean, "a file fails if it is not fully analysed, instead of a warning"
    )
    verify: Verify = option(Topic.DETECTION, Verify.FALSE, verify_mode, VERIFY_HELP)
    no_object_tracking: bool = option(Topic.VIDEOS, False, boolean, "videos: do not track objects between frames")
    keep_bit_rate: bool = option(Topic.VIDEOS, False, boolean, "videos: keep the bit rate within 5 %")
    re_encode: bool = option(
        Topic.VIDEOS, False, boolean, "videos: also encode the parts again in which nothing is redacted"
    )
    hide_gait: bool = option(
        Topic.VIDEOS,
        False,
        boolean,
        "videos: cover each place where a person was within half a second, which hides the gait",
    )
    video_encoder: VideoEncoder = option(
        Topic.VIDEOS, VideoEncoder.AUTO, choice(VideoEncoder), f"videos: one of {', '.join(VideoEncoder)}"
    )
    damaged_frames: DamagedFrames = option(
        Topic.VIDEOS,
        DamagedFrames.FAIL,
        choice(DamagedFrames),
        "videos: fail if a frame cannot be fully read, or blacken such frames",
    )
    quality: int | None = option(
        Topic.OUTPUT, None, whole_number(1, 100, none=0), "JPEG quality 1..100; default: as the original"
    )
    compress_level: int = option(Topic.OUTPUT, 5, whole_number(0, 9), "PNG compression 0..9")
    save_mask: SaveMask = option(
        Topic.OUTPUT, SaveMask.ALL, choice(SaveMask), "masks to save: all, binary, instance or none"
    )
    mask_scale: int = option(Topic.OUTPUT, 100, whole_number(1, 100), "size of the masks in percent, 1..100")
    kernel_size_face: float | None = option(Topic.REDACTION, None, kernel_size, _KERNEL_HELP.format("face"))
    kernel_size_license_plate: float | None = option(
        Topic.REDACTION, None, kernel_size, _KERNEL_HELP.format("license plate")
    )
    plate_fill: PlateFill = option(
        Topic.REDACTION,
        PlateFill.SURROUNDINGS,
        choice(PlateFill),
        "what fills a blurred or pixelated license plate: surroundings (their mean colour, nothing of the plate), or "
        "plate (its own mean colour plus noise: weaker, many pictures tell something of it)",
    )
    kernel_size_person: float | None = option(Topic.REDACTION, None, kernel_size, _KERNEL_HELP.format("person"))
    kernel_size_vehicle: float | None = option(Topic.REDACTION, None, kernel_size, _KERNEL_HELP.format("vehicle"))
    face_anonymization_gradient_start: float = option(Topic.REDACTION, 0.3, share, _START_HELP.format("face"))
    face_anonymization_gradient_stop: float = option(Topic.REDACTION, 0.0, share, _STOP_HELP.format("face"))
    license_plate_anonymization_gradient_start: float = option(
        Topic.REDACTION, 0.3, share, _START_HELP.format("license plate")
    )
    license_plate_anonymization_gradient_stop: float = option(
        Topic.REDACTION, 0.0, share, _STOP_HELP.format("license plate")
    )
    margin: float | None = option(
        Topic.REDACTION,
        None,
        share,
        "how far each object is enlarged at full strength, as a share of its shorter side; default: by type",
    )
    margin_face: float | None = option(
        Topic.REDACTION, None, share, _MARGIN_HELP.format("face", MARGINS[ObjectType.FACE])
    )
    margin_license_plate: float | None = option(
        Topic.REDACTION, None, share, _MARGIN_HELP.format("license plate", MARGINS[ObjectType.LICENSE_PLATE])
    )
    margin_person: float | None = option(
        Topic.REDACTION, None, share, _MARGIN_HELP.format("person", MARGINS[ObjectType.PERSON])
    )
    margin_vehicle: float | None = option(
        Topic.REDACTION, None, share, _MARGIN_HELP.format("vehicle", MARGINS[ObjectType.VEHICLE])
    )
    keep_metadata: KeepMetadata = option(
        Topic.OUTPUT,
        KeepMetadata.TECHNICAL,
        choice(KeepMetadata),
        "metadata to keep: technical (camera, exposure, time, position), all (names and texts too) or none",
    )
    strip_metadata: bool = option(Topic.OUTPUT, False, boolean, "true is keep-metadata=none")
    profile: str = option(
        Topic.DETECTION,
        "",
        profile_name,
        "threshold profile: it sets the thresholds and the format that the request does not; or none",
    )

    #: deprecated parameters, and the fields that they set
    DEPRECATED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "segmentation_threshold": ("person_threshold", "vehicle_threshold")
    }

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                convert = each.metadata["parameter"].convert
                object.__setattr__(self, each.name, convert(each.name, value))
        # two names for the same
        if self.strip_metadata or self.keep_metadata is KeepMetadata.NONE:
            object.__setattr__(self, "strip_metadata", True)
            object.__setattr__(self, "keep_metadata", KeepMetadata.NONE)

    def __repr__(self) -> str:
        """What differs from the defaults, as it is written in Python."""
        values = (f"{name.replace('-', '_')}={_shortened(repr(value))}" for name, value in self.as_params().items())
        return f"Options({', '.join(values)})"

    @classmethod
    def from_params(
        cls, params: Mapping[str, object], *, defaults: Mapping[str, object] | None = None
    ) -> tuple[Options, list[str]]:
        """Make options from the parameters of a query string or a command line.

        Args:
            params: values by name; names with `-` or `_`, values as text. An empty value counts as not given.
            defaults: values by field name for what is not given, such as those of a threshold profile.

        Returns:
            The options, and a warning for each name that is unknown, deprecated or has no effect.

        Raises:
            InvalidParameter: a value is not allowed; the sentence spells the name with `-`.
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
        kept = str(given.get("keep_metadata", KeepMetadata.NONE)).strip().lower()
        try:
            options = cls(**values)
        except InvalidParameter as error:
            raise InvalidParameter(_spelled(error.name), error.value, error.allowed) from None
        if options.strip_metadata and kept != KeepMetadata.NONE:
            warnings.append(f"keep-metadata={kept} has no effect: strip-metadata is true.")
        return options, warnings + options._notes()

    def _notes(self) -> list[str]:
        """Warnings of parameters that have no effect."""
        stops = [name for name in self.as_params() if name.endswith("-stop")]
        notes = [f"{name} has no effect: inside the object the strength is always full." for name in stops]
        if self.verify and self.method is Method.DETECT:
            notes.append("verify has no effect with method=detect, which makes no file.")
        return notes

    def object_types(self, served: Sequence[ObjectType] = OBJECT_TYPES) -> tuple[ObjectType, ...]:
        """Get the object types to detect: those that are true; all served types if no type is named.

        With `regions`, every type may be false: then nothing is detected, and only the regions are redacted.

        Args:
            served: the object types that have a working model; default: all.

        Raises:
            InvalidParameter: a type that is not served is true, or every named type is false.
        """
        named = {object_type: getattr(self, _field_name(object_type)) for object_type in OBJECT_TYPES}
        if all(value is None for value in named.values()):
            return tuple(served)
        wanted = tuple(object_type for object_type, value in named.items() if value)
        for object_type in wanted:
            if object_type not in served:
                raise InvalidParameter(object_type, "true", f"false here: this server serves {', '.join(served)} only")
        if not wanted and not self.regions:
            names = ", ".join(object_type for object_type, value in named.items() if value is not None)
            raise InvalidParameter(names, "false", f"true for at least one of {', '.join(served)}")
        return wanted

    @property
    def image_format(self) -> Format:
        """How images are cut into views: `format`, or `Auto` if it is None."""
        return Auto() if self.format is None else self.format

    @property
    def video_format(self) -> Format:
        """How frames of videos are cut into views: `format`, or `Whole` if it is None, as `Auto` takes far longer."""
        return Whole() if self.format is None else self.format

    def threshold(self, object_type: ObjectType) -> float:
        """Get the lowest score, 0..1, at which an object of this type is redacted."""
        return float(getattr(self, f"{_field_name(object_type)}_threshold"))

    def kernel_size(self, object_type: ObjectType) -> float | None:
        """Get the requested strength: a share of the object up to 1, pixels above 1; None: chosen from the size."""
        size = getattr(self, f"kernel_size_{_field_name(object_type)}")
        return None if size is None else float(size)

    def margin_of(self, object_type: ObjectType) -> float:
        """Get how far an object is enlarged at full strength, as a share of its shorter side."""
        of_type = getattr(self, f"margin_{_field_name(object_type)}")
        given = self.margin if of_type is None else of_type
        return MARGINS[object_type] if given is None else float(given)

    def soft_edge(self, object_type: ObjectType) -> float:
        """Get the distance of the soft edge outside the object, as a share of its shorter side; 0: no soft edge."""
        return float(getattr(self, f"{_field_name(object_type)}_anonymization_gradient_start", 0.0))

    def as_params(self) -> dict[str, Any]:
        """Get what differs from the defaults, as JSON values by parameter name; `from_params` reads it back."""
        return {
            _spelled(each.name): _plain(getattr(self, each.name))
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


def parameters() -> dict[str, Parameter]:
    """Get all parameters by their name in the API, in the order of the fields."""
    return {_spelled(each.name): each.metadata["parameter"] for each in fields(Options)}


def _field_name(object_type: ObjectType) -> str:
    return object_type.value.replace("-", "_")


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _plain(value: Any) -> Any:
    if isinstance(value, Format):
        return str(value)
    if isinstance(value, tuple):
        return [region.as_json() for region in value]
    return value.value if isinstance(value, StrEnum) else value


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
