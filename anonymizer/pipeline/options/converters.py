"""Converters: from the text of a parameter, or a value of its type, to the validated value.

A converter takes the name and the value of a parameter. Its error names both, and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from anonymizer.pipeline.errors import InvalidParameter

__all__ = [
    "boolean",
    "choice",
    "described",
    "json_number",
    "json_schema",
    "kernel_size",
    "number",
    "pixels",
    "profile_name",
    "share",
    "whole_number",
    "within",
]

_T = TypeVar("_T", int, float)
_Converter = TypeVar("_Converter", bound=Callable[..., object])

#: what a converter takes, as a JSON schema of the text
_SCHEMAS: dict[object, dict[str, object]] = {}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
#: Numbers as JSON writes them, and a leading `+` or `.` as programs do. Python reads `1_0`, ` 5` and Arabic digits too.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
#: more than any image has; numbers beyond it cannot be computed with
_MOST_PIXELS = 2**31 - 1
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def json_schema(convert: Callable[..., object]) -> dict[str, object]:
    """Describe what a converter takes, for the OpenAPI file.

    Args:
        convert: one of this module, or any other.

    Returns:
        A JSON schema; that of any text for a converter that is not known here.
    """
    return dict(_SCHEMAS.get(convert, {"type": "string"}))


def described(convert: _Converter, **schema: object) -> _Converter:
    """Say what a converter takes, for `json_schema`.

    Args:
        convert: the converter.
        schema: a JSON schema of the text that it takes.

    Returns:
        The converter.
    """
    _SCHEMAS[convert] = schema
    return convert


def boolean(name: str, value: object) -> bool:
    """Convert true/false, 1/0, yes/no or on/off, in any case.

    Args:
        name: the parameter, for the error.
        value: the text, or a bool or a number that is written so.

    Returns:
        True for true, 1, yes and on; False for false, 0, no and off.

    Raises:
        InvalidParameter: the value is none of these.
    """
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise InvalidParameter(name, value, "one of true, false, 1, 0, yes, no, on, off")
    return text in _TRUE


def number(low: float, high: float) -> Callable[[str, object], float]:
    """Make a converter for numbers.

    Args:
        low: the lowest number that is allowed.
        high: the highest number that is allowed; it may be infinite, but the converted number may not.

    Returns:
        A converter, called with the name and the value of a parameter. It returns the number, and raises
        `InvalidParameter` if the value is no number from `low` to `high`.
    """

    def convert(name: str, value: object) -> float:
        allowed = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number from {low:g} up"
        # a very long number becomes infinite, which is refused below
        parsed = float(str(value)) if _NUMBER.fullmatch(str(value)) else math.nan
        if not low <= parsed <= high or math.isinf(parsed):
            raise InvalidParameter(name, value, allowed)
        return parsed

    bounds = {"minimum": low} | ({"maximum": high} if high < math.inf else {})
    return described(convert, type="number", **bounds)


def whole_number(low: int, high: int, *, none: int | None = None) -> Callable[[str, object], int | None]:
    """Make a converter for whole numbers.

    Args:
        low: the lowest number that is allowed.
        high: the highest number that is allowed.
        none: a number that stands for None, inside or outside the range; default: there is no such number.

    Returns:
        A converter, called with the name and the value of a parameter. It returns the number or None, and raises
        `InvalidParameter` if the value is neither `none` nor a whole number from `low` to `high`.
    """

    def convert(name: str, value: object) -> int | None:
        if not _WHOLE_NUMBER.fullmatch(str(value)):
            raise InvalidParameter(name, value, f"a whole number from {low} to {high}")
        parsed = int(str(value))
        if parsed == none:
            return None
        if not low <= parsed <= high:
            raise InvalidParameter(name, value, f"a whole number from {low} to {high}")
        return parsed

    least = low if none is None else min(low, none)
    return described(convert, type="integer", minimum=least, maximum=high)


def choice(kind: type[StrEnum]) -> Callable[[str, object], StrEnum]:
    """Make a converter for the members of an enumeration.

    Args:
        kind: the enumeration. Its values are in lower case.

    Returns:
        A converter, called with the name and the value of a parameter. It returns the member whose value is the text,
        in any case, and raises `InvalidParameter` if there is none.
    """

    def convert(name: str, value: object) -> StrEnum:
        try:
            return kind(str(value).strip().lower())
        except ValueError:
            raise InvalidParameter(name, value, f"one of {', '.join(kind)}") from None

    return described(convert, type="string", enum=[member.value for member in kind])


def kernel_size(name: str, value: object) -> float:
    """Convert the strength of a method: a share of the object up to 1, pixels above 1.

    Args:
        name: the parameter, for the error.
        value: a number, or its text: above 0, up to 100,000.

    Returns:
        The number.

    Raises:
        InvalidParameter: the value is no number, not above 0, or above 100,000.
    """
    allowed = "a number above 0: a share of the object up to 1, pixels above 1"
    size = number(0, 100_000)(name, value)
    if size == 0:
        raise InvalidParameter(name, value, allowed)
    return size


def pixels(value: object) -> int:
    """Convert a number of JSON to whole pixels.

    Args:
        value: an int, or a float without a fraction. A bool is not allowed.

    Returns:
        The number of pixels; it may be negative, and lies within 31 bits.

    Raises:
        ValueError: the value is no whole number, or it is too large.
    """
    # JSON of Python has infinity, as 1e999 too, and whole numbers of any length
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST_PIXELS <= value <= _MOST_PIXELS:
        raise ValueError(value)
    if value % 1:
        raise ValueError(value)
    return int(value)


def json_number(value: object) -> float:
    """Convert a number of JSON to a float.

    Args:
        value: an int or a float. A bool or a text is not allowed.

    Returns:
        The number; it may be infinite.

    Raises:
        ValueError: the value is no number, or too large for a float.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(value) from None


def profile_name(name: str, value: object) -> str:
    """Convert the name of a threshold profile to lower case.

    Args:
        name: the parameter, for the error.
        value: at most 63 letters, digits, `.`, `_` and `-`, of which the first is a letter or a digit. `none` or an
            empty text stands for no profile.

    Returns:
        The name in lower case; empty for no profile.

    Raises:
        InvalidParameter: the name has other characters, or more than 63.
    """
    text = str(value).strip().lower()
    if text and not _PROFILE_NAME.fullmatch(text):
        raise InvalidParameter(
            name, value, "a name of at most 63 letters, digits, '.', '_' and '-' that begins with a letter or a digit"
        )
    return "" if text == "none" else text


def within(value: _T, low: _T, high: _T) -> _T:
    """Return the value if it lies in a range.

    Args:
        value: the number to check.
        low: the lowest number that is allowed.
        high: the highest number that is allowed.

    Returns:
        The value, unchanged.

    Raises:
        ValueError: the value is below `low`, above `high` or NaN.
    """
    if not low <= value <= high:
        raise ValueError(value)
    return value


#: converter for a share, 0..1
share = number(0, 1)
described(boolean, type="string", enum=[*_TRUE, *_FALSE])
described(kernel_size, type="number", minimum=0, exclusiveMinimum=True, maximum=100_000)
described(profile_name, type="string", pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
