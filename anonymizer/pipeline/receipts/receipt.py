"""The receipt of one result, and the check of a receipt that somebody brings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.files.whole import write_whole
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.proof.verification import Verification
from anonymizer.pipeline.receipts.canonical import canonical_json, plain
from anonymizer.pipeline.receipts.signing import SigningKey, verify
from anonymizer.pipeline.review.state import ReviewState

__all__ = ["Analysis", "HasReceipt", "Receipt", "make_receipt"]

_ALLOWED = "a receipt of the anonymizer: JSON with `receipt` and `signature`"


@dataclass(frozen=True, slots=True)
class Analysis:
    """How a file was analysed.

    Attributes:
        model_sums: by id of a model, the sha256 of its file; None for a rule that has no file.
        views: by id of a detector, in how many views it looks at the image or at each frame: the whole of it at each
            scale, pieces and tiles. Scales of a video take turns, and a second look adds views where it is worth it.
        size_hw: height and width of the image, or of the frames of the first video track, in pixels.
        frames: how many images or frames there are.
    """

    model_sums: Mapping[str, str | None]
    views: Mapping[str, int]
    size_hw: tuple[int, int]
    frames: int = 1


class HasReceipt(Protocol):
    """What images' and videos' results share."""

    @property
    def object_types(self) -> tuple[ObjectType, ...]: ...
    @property
    def options(self) -> Options: ...
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def review_counts(self) -> Mapping[str, int]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def not_fully_analysed(self) -> tuple[str, ...]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def verification(self) -> Verification | None: ...
    @property
    def analysis(self) -> Analysis | None: ...
    @property
    def review(self) -> ReviewState | None: ...


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """A receipt: what was made of which file, and how. It holds no pixels and no names.

    Examples:
        >>> receipt = result.receipt(SigningKey.load("receipt.pem"))  # doctest: +SKIP
        >>> receipt.save("street.receipt.json")  # doctest: +SKIP

    Attributes:
        content: what is signed, as JSON values.
        signature: `algorithm`, `key_id`, `public_key` and `value`; None: nobody signed it.
    """

    content: dict[str, Any]
    signature: dict[str, str] | None

    def __repr__(self) -> str:
        """What it is about, and who signed it."""
        signed = "not signed" if self.signature is None else f"signed by {self.signature.get('key_id')}"
        return f"Receipt({self.content.get('kind')}, {self.content.get('counts')}, {signed})"

    @property
    def data(self) -> bytes:
        """The file: canonical JSON with `receipt` and `signature`."""
        return canonical_json({"receipt": self.content, "signature": self.signature})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, which appears only when it is complete."""
        write_whole(Path(path), self.data)

    @classmethod
    def load(cls, data: bytes, *, name: str = "receipt") -> Receipt:
        """Read a file that `save` wrote. It is not verified.

        Args:
            data: the bytes of the file.
            name: what the error calls it.

        Raises:
            InvalidParameter: it is no receipt.
        """
        try:
            envelope = json.loads(data, object_pairs_hook=_without_duplicates)
            content, signature = envelope["receipt"], envelope["signature"]
            canonical_json(envelope)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidParameter("receipt", name, _ALLOWED) from None
        if not isinstance(content, dict) or not (signature is None or isinstance(signature, dict)):
            raise InvalidParameter("receipt", name, _ALLOWED)
        return cls(content, signature)

    def problem(self, public: Ed25519PublicKey) -> str | None:
        """Tell why the signature does not hold; None: it does.

        Args:
            public: the key that is trusted. The key in the receipt itself proves nothing.
        """
        if self.signature is None:
            if self.content.get("signed"):
                return "The signature was taken away: the receipt says that it is signed."
            return "It is not signed: the server had no key."
        if self.signature.get("algorithm") != "Ed25519" or not isinstance(self.signature.get("value"), str):
            return "Its signature is not one of Ed25519."
        if not verify(public, canonical_json(self.content), self.signature["value"]):
            return "The signature does not fit: the receipt was changed, or another key signed it."
        return None

    def role_of(self, found: FileSum) -> str | None:
        """Tell which of its files this one is: `input`, `anonymised`, `binary-mask` and so on; None: none of them."""
        files = {"input": self.content.get("input"), **(self.content.get("outputs") or {})}
        return next((role for role, each in files.items() if each == found.as_json()), None)


def make_receipt(
    result: HasReceipt,
    *,
    kind: str,
    source: FileSum | None,
    outputs: Mapping[str, FileSum],
    key: SigningKey | None = None,
    times: Mapping[str, str | None] | None = None,
    task: str | None = None,
    version: int = 1,
) -> Receipt:
    """Make the receipt of a result.

    Args:
        result: of an image or a video.
        kind: `image` or `video`.
        source: of the original; None: it was no file.
        outputs: by role, of the files that were made: `anonymised`, `binary-mask`, `instance-mask`, `metadata`.
        key: signs it; None: it says that it is not signed.
        times: by name, times in ISO 8601. Default: `made`, now.
        task: id of the task of a server.
        version: of the result, from 1 up.
    """
    options, analysis = result.options, result.analysis
    sums: Mapping[str, str | None] = {} if analysis is None else analysis.model_sums
    content = {
        "version": 1,
        "signed": key is not None,
        "software": {"name": "anonymizer", "version": anonymizer.__version__},
        "kind": kind,
        "task": task,
        "times": dict(times) if times is not None else {"made": _now()},
        "seconds": round(result.seconds, 3),
        "input": None if source is None else source.as_json(),
        "outputs": {role: each.as_json() for role, each in outputs.items()},
        "method": options.method.value,
        "options": options.as_params(),
        "profile": options.profile or None,
        "object_types": [object_type.value for object_type in result.object_types],
        "thresholds": {object_type.value: options.threshold(object_type) for object_type in result.object_types},
        "models": [{"id": model, "sha256": sums.get(model)} for model in result.models],
        "analysed": None
        if analysis is None
        else {
            "size": list(analysis.size_hw),
            "frames": analysis.frames,
            "views": dict(analysis.views),
            "format": str(options.image_format if kind == "image" else options.video_format),
            # no detector looks where a request has nothing but regions of its own
            "all_pixels": bool(result.object_types),
            "much_smaller": len(result.not_fully_analysed) > 0,
        },
        "counts": dict(result.counts),
        "coverage": dict(result.review_counts),
        "verification": None if result.verification is None else result.verification.as_json(),
        "warnings": len(result.warnings),
    }
    if result.review is not None:
        # what persons changed, in all versions up to this one
        content["review"] = {"version": version} | result.review.as_json()
    signed = plain(content)
    assert isinstance(signed, dict)
    return Receipt(signed, None if key is None else key.sign(canonical_json(signed)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # another reader could take the other one of two values
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
