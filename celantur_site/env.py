"""Environment variables as values; a bad one fails at start, by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def read(name: str, default: T, convert: Callable[[str], T], allowed: str) -> T:
    """The variable through `convert`, or the default where it is not set or empty."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return convert(text)
    except (ValueError, KeyError):
        raise ImproperlyConfigured(f"{name} is {text!r}, but must be {allowed}.") from None


def string(name: str, default: str) -> str:
    return read(name, default, str, "text")


def boolean(name: str, default: bool) -> bool:  # noqa: FBT001 (reads as a table in settings.py)
    return read(name, default, _boolean, "one of " + ", ".join(_TRUE + _FALSE))


def integer(name: str, default: int, *, low: int = 0) -> int:
    return read(name, default, lambda text: _at_least(int(text), low), f"a whole number from {low} up")


def number(name: str, default: float, *, low: float = 0.0) -> float:
    return read(name, default, lambda text: _at_least(float(text), low), f"a number from {low:g} up")


def names(name: str, default: Collection[str], allowed: Collection[str] = ()) -> list[str]:
    """A list with commas between; each one of `allowed` where there are such."""
    values = read(
        name, list(default), lambda text: [part.strip() for part in text.split(",") if part.strip()], "a list"
    )
    for value in values:
        if allowed and value not in allowed:
            raise ImproperlyConfigured(f"{name} has {value!r}, but may have only {', '.join(allowed)}.")
    return values


def duration(name: str, default: str) -> timedelta:
    return read(name, parse_duration(default), parse_duration, "a duration such as 90s, 15m, 12h, 7d or 2w")


def parse_duration(text: str) -> timedelta:
    """`7d` and the like.

    Raises:
        ValueError: it is not a number with one of s, m, h, d, w behind it.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip().lower())
    if match is None:
        raise ValueError(text)
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _boolean(text: str) -> bool:
    return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text.lower()]


def _at_least(value: T, low: T) -> T:
    if not value >= low:  # type: ignore[operator]
        raise ValueError(value)
    return value
