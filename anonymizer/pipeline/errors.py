"""All errors that an image, a video or a request can cause, as one tree.

    AnonymizerError
    ├── InvalidParameter     400  a parameter has a value that is not allowed
    ├── MissingFile          400  the request has no file
    ├── SourceNotFound       400  the path names no file, or no image; also a FileNotFoundError
    ├── TooLarge             413  bytes, pixels or seconds are over the limit
    ├── UnsupportedMedia     415  the file is no image or video that is supported
    ├── BrokenMedia          422  the file is damaged
    ├── NotFullyAnalysed     422  the file was analysed much smaller than it is, and `strict` is set
    ├── VerificationFailed   422  the result was looked at again, and is not as it has to be
    ├── TooManyObjects       422  there are more objects than can be handled reliably
    ├── ModelMissing         503  no working model serves an object type
    ├── OutOfMemory          503  the device has too little memory for the work
    ├── Cancelled            410  the caller stopped the work
    ├── EncoderFailed        500  a video could not be written, or its check failed
    ├── DetectorFailed       500  a detector did not finish; the result is never empty instead
    ├── StorageFailed        500  stored files could not be removed
    ├── StorageAway          503  the storage of files does not answer
    └── StorageFull          507  there is no room on the disk

Each class has the HTTP `status` and the `code` for programs; `str(error)` is the sentence for people.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AnonymizerError",
    "BrokenMedia",
    "Cancelled",
    "DetectorFailed",
    "EncoderFailed",
    "InvalidParameter",
    "MissingFile",
    "ModelMissing",
    "NotFullyAnalysed",
    "OutOfMemory",
    "SourceNotFound",
    "StorageAway",
    "StorageFailed",
    "StorageFull",
    "TooLarge",
    "TooManyObjects",
    "UnsupportedMedia",
    "VerificationFailed",
]


class AnonymizerError(Exception):
    """The base of all errors of this package; `str(error)` is one sentence for the caller."""

    status = 500
    code = "internal_error"


class InvalidParameter(AnonymizerError):
    """A parameter has a value that is not allowed; the sentence names the parameter, the value and what is allowed.

    Args:
        name: the parameter as the caller knows it.
        value: what the caller gave.
        allowed: what is allowed, as the end of a sentence: "a number from 0 to 1".
    """

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


class SourceNotFound(AnonymizerError, FileNotFoundError):
    """There is no file at a path, or no image in a folder; the sentence names the path."""

    status = 400
    code = "source_not_found"


class TooLarge(AnonymizerError):
    """The file has more bytes, pixels or seconds than the limit."""

    status = 413
    code = "too_large"


class UnsupportedMedia(AnonymizerError):
    """The file is no image or video that is supported."""

    status = 415
    code = "unsupported_media"


class BrokenMedia(AnonymizerError):
    """The file is damaged; the sentence says what is wrong with it."""

    status = 422
    code = "broken_media"


class TooManyObjects(AnonymizerError):
    """There are more objects than can be handled reliably; none of them is dropped silently."""

    status = 422
    code = "too_many_objects"


class NotFullyAnalysed(AnonymizerError):
    """A file was analysed much smaller than it is, and the caller accepts only full analyses.

    Args:
        warnings: the sentences that say what was analysed smaller.
    """

    status = 422
    code = "not_fully_analysed"

    def __init__(self, warnings: Sequence[str]) -> None:
        super().__init__("It was not fully analysed, and strict accepts only a full analysis.")
        self.warnings = tuple(warnings)


class VerificationFailed(AnonymizerError):
    """The result was decoded and looked at again, and something in it can still be recognised: there is no result."""

    status = 422
    code = "verification_failed"


class ModelMissing(AnonymizerError):
    """No working model serves an object type; the sentence names the type and the command that installs a model."""

    status = 503
    code = "model_missing"


class OutOfMemory(AnonymizerError):
    """The device has too little memory, even for a batch of one image."""

    status = 503
    code = "out_of_memory"


class Cancelled(AnonymizerError):
    """The caller stopped the work: there is no result."""

    status = 410
    code = "cancelled"


class EncoderFailed(AnonymizerError):
    """A video could not be written, or the check of the written video failed: there is no result."""

    status = 500
    code = "encoder_failed"


class DetectorFailed(AnonymizerError):
    """A detector failed or did not analyse the whole image: there is no result."""

    status = 500
    code = "detector_failed"


class StorageFailed(AnonymizerError):
    """Files that were to be deleted are still there."""

    status = 500
    code = "storage_failed"


class StorageAway(AnonymizerError):
    """The storage of files does not answer, or refuses what it should do. This passes, and is no fault of a file."""

    status = 503
    code = "storage_unavailable"

    def __init__(self, sentence: str = "The storage of files does not answer at the moment. Try again later.") -> None:
        super().__init__(sentence)


class StorageFull(AnonymizerError):
    """There is no room on the disk for a file."""

    status = 507
    code = "no_room"
