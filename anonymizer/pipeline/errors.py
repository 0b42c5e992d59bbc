"""Everything that can go wrong with a picture or a request, as one tree.

    AnonymizerError
    ├── InvalidParameter     400  a parameter has a value that is not allowed
    ├── MissingFile          400  the request has no file
    ├── TooLarge             413  bytes, pixels or seconds over the limit
    ├── UnsupportedMedia     415  not an image or video that is supported
    ├── BrokenMedia          422  the file is damaged
    ├── TooManyObjects       422  more objects than can be vouched for
    ├── ModelMissing         503  no working model serves an object type
    ├── OutOfMemory          503  the device has too little memory for the work
    ├── Cancelled            410  the caller wanted it no longer
    ├── EncoderFailed        500  a video could not be written, or not proven to be covered
    ├── DetectorFailed       500  a detector did not finish; never an empty result
    └── StorageFailed        500  stored files could not be removed

Each class carries what a client is told: `status` (HTTP), `code` (for programs) and the sentence.
"""

from __future__ import annotations

__all__ = [
    "AnonymizerError",
    "BrokenMedia",
    "Cancelled",
    "DetectorFailed",
    "EncoderFailed",
    "InvalidParameter",
    "MissingFile",
    "ModelMissing",
    "OutOfMemory",
    "StorageFailed",
    "TooLarge",
    "TooManyObjects",
    "UnsupportedMedia",
]


class AnonymizerError(Exception):
    """The base of all of them; `str(error)` is one sentence for the caller."""

    status = 500
    code = "internal_error"


class InvalidParameter(AnonymizerError):
    """A parameter has a value that is not allowed; the sentence names all three."""

    status = 400
    code = "invalid_parameter"

    def __init__(self, name: str, value: object, allowed: str) -> None:
        shown = str(value) if len(str(value)) <= 100 else str(value)[:97] + "..."
        super().__init__(f"{name} is {shown!r}, but must be {allowed}.")
        self.name = name
        self.value = value
        self.allowed = allowed


class MissingFile(AnonymizerError):
    """The request has no file part."""

    status = 400
    code = "missing_file"


class TooLarge(AnonymizerError):
    """The file has more bytes, pixels or seconds than the limit."""

    status = 413
    code = "too_large"


class UnsupportedMedia(AnonymizerError):
    """The file is not an image or video that is supported."""

    status = 415
    code = "unsupported_media"


class BrokenMedia(AnonymizerError):
    """The file is damaged; the sentence says what is wrong with it."""

    status = 422
    code = "broken_media"


class TooManyObjects(AnonymizerError):
    """More objects were found than can be vouched for; nothing is dropped in silence."""

    status = 422
    code = "too_many_objects"


class ModelMissing(AnonymizerError):
    """No working model serves an object type; the sentence names the type and the command that brings one."""

    status = 503
    code = "model_missing"


class OutOfMemory(AnonymizerError):
    """The device has too little memory even for a batch of one."""

    status = 503
    code = "out_of_memory"


class Cancelled(AnonymizerError):
    """The caller asked to stop: there is no result."""

    status = 410
    code = "cancelled"


class EncoderFailed(AnonymizerError):
    """A video could not be written, or what was written does not prove to be covered: there is no result."""

    status = 500
    code = "encoder_failed"


class DetectorFailed(AnonymizerError):
    """A detector raised or saw only a part: there is no result."""

    status = 500
    code = "detector_failed"


class StorageFailed(AnonymizerError):
    """Files that were to be deleted are still there."""

    status = 500
    code = "storage_failed"
