"""Converters: the text of a parameter, or its own type, to its value; each names parameter, value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from anonymizer.pipeline.errors import InvalidParameter

__all__ = ["boolean", "choice", "kernel_size", "number", "pixels", "profile_name", "share", "whole_number", "within"]

_T = TypeVar("_T", int, float)

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def boolean(name: str, value: object) -> bool:
    """true/false, 1/0, yes/no, on/off, in any case."""
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise InvalidParameter(name, value, "one of true, false, 1, 0, yes, no, on, off")
    return text in _TRUE


def number(low: float, high: float) -> Callable[[str, object], float]:
    def convert(name: str, value: object) -> float:
        allowed = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number from {low:g} up"
        try:
            parsed = float(str(value))
        except ValueError:
            raise InvalidParameter(name, value, allowed) from None
        if not low <= parsed <= high or math.isinf(parsed):
            raise InvalidParameter(name, value, allowed)
        return parsed

    return convert


def whole_number(low: int, high: int, *, none: int | None = None) -> Callable[[str, object], int | None]:
    def convert(name: str, value: object) -> int | None:
        try:
            parsed = int(str(value))
        except ValueError:
            raise InvalidParameter(name, value, f"a whole number from {low} to {high}") from None
        if parsed == none:
            return None
        if not low <= parsed <= high:
            raise InvalidParameter(name, value, f"a whole number from {low} to {high}")
        return parsed

    return convert


def choice(kind: type[StrEnum]) -> Callable[[str, object], StrEnum]:
    def convert(name: str, value: object) -> StrEnum:
        try:
            return kind(str(value).strip().lower())
        except ValueError:
            raise InvalidParameter(name, value, f"one of {', '.join(kind)}") from None

    return convert


def kernel_size(name: str, value: object) -> float:
    allowed = "a number above 0: up to 1 a share of the object, above 1 pixels"
    size = number(0, 100_000)(name, value)
    if size == 0:
        raise InvalidParameter(name, value, allowed)
    return size


def pixels(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(value)
    return int(value)


def profile_name(name: str, value: object) -> str:
    """The name of a threshold profile in small letters; empty for `none`, which asks for no profile."""
    text = str(value).strip().lower()
    if text and not _PROFILE_NAME.fullmatch(text):
        raise InvalidParameter(
            name, value, "a name of at most 63 letters, digits, '.', '_' and '-' that begins with a letter or a digit"
        )
    return "" if text == "none" else text


def within(value: _T, low: _T, high: _T) -> _T:
    if not low <= value <= high:
        raise ValueError(value)
    return value


share = number(0, 1)
