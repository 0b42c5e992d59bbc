"""Canonical JSON: one sequence of bytes for one value, so that its signature can be checked anywhere.

The form is that of RFC 8785 (JSON Canonicalization Scheme): keys sorted, no spaces, UTF-8. Two rules keep it the same
as what `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)` gives. Keys are ASCII, for which
all orders are the same. Numbers are whole, or such that JavaScript and Python write them alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

__all__ = ["canonical_json", "plain"]

#: JavaScript writes numbers from here on, and below the second one, otherwise than Python does
_LARGEST, _SMALLEST = 1e16, 1e-4
#: the largest whole number that every reader of JSON keeps
_MAX_WHOLE = 2**53 - 1


def canonical_json(value: object) -> bytes:
    """Write a value as canonical JSON.

    Args:
        value: dicts, lists, texts, numbers, booleans and None. `plain` makes any other number fit.

    Raises:
        ValueError: a number or a key cannot be written in one way only.
    """
    normal = plain(value)
    if normal != value:
        raise ValueError("the value has numbers that JSON does not write in one way only")
    text = json.dumps(normal, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def plain(value: object) -> object:
    """Make a value fit for canonical JSON: floats without a fraction become whole numbers, unusual ones become texts.

    Args:
        value: mappings, sequences, texts, numbers, booleans and None.

    Raises:
        ValueError: a key is not ASCII, a number is not finite, or a value is of another type.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # enumerations become the texts that they are
        return str(value)
    if isinstance(value, int):
        return value if abs(value) <= _MAX_WHOLE else str(value)
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and key.isascii() for key in value):
            raise ValueError("keys must be ASCII texts")
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(each) for each in value]
    raise ValueError(f"a {type(value).__name__} is no value of JSON")


def _plain_float(value: float) -> int | float | str:
    if not math.isfinite(value):
        raise ValueError("a number must be finite")
    if value == int(value) and abs(value) <= _MAX_WHOLE:
        return int(value)
    return value if _SMALLEST <= abs(value) < _LARGEST else repr(value)
