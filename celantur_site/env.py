"""Read environment variables as typed values with django-environ. The server does not start with an invalid value.

A variable `NAME_FILE` names a file that holds the value of `NAME`, as secrets of containers do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

T = TypeVar("T")

# files are read when they are asked for
_VARIABLES = FileAwareMapping(cache=False)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def read(name: str, default: T, convert: Callable[[str], T], allowed: str, *, secret: bool = False) -> T:
    """Return the converted value of a variable.

    Args:
        name: the name of the variable.
        default: the value if the variable is not set or empty.
        convert: makes the value from the text; raises ValueError or KeyError if it cannot.
        allowed: what is allowed, for the error message.
        secret: whether the value is an address with a password, which the error must not show.

    Raises:
        ImproperlyConfigured: the value is not allowed, or its file cannot be read.
    """
    try:
        # not `get_value`: it takes a value such as `$ecret` for the name of another variable
        text = str(_VARIABLES.get(name, "")).strip()
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{name}_FILE must name a file of text ({type(error).__name__}).") from None
    if not text:
        return default
    try:
        return convert(text)
    except (ValueError, KeyError):
        shown = without_password(text) if secret else text
        raise ImproperlyConfigured(f"{name} is {shown!r}, but must be {allowed}.") from None


def without_password(url: str) -> str:
    """Return an address as an error may show it: without what stands before an `@`, or may be a password elsewhere."""
    scheme, _, rest = url.rpartition("://")
    _, at, place = rest.partition("?")[0].rpartition("@")
    # behind a colon only a port is no secret
    place = re.sub(r":(?!\d{1,5}(/|$)).*", ":…", place)
    shown = "" if not scheme else re.sub(r"[^A-Za-z0-9+.-].*", "…", scheme) + "://"
    return shown + ("…@" if at else "") + place


def string(name: str, default: str) -> str:
    """Return a text."""
    return read(name, default, str, "text")


def boolean(name: str, default: bool) -> bool:  # noqa: FBT001 (reads as a table in settings.py)
    """Return a boolean."""
    return read(name, default, _boolean, "one of " + ", ".join(_TRUE + _FALSE))


def integer(name: str, default: int, *, low: int = 0) -> int:
    """Return a whole number that is not less than `low`."""
    return read(name, default, lambda text: _at_least(int(text), low), f"a whole number, at least {low}")


def number(name: str, default: float, *, low: float = 0.0) -> float:
    """Return a number that is not less than `low`."""
    return read(name, default, lambda text: _at_least(float(text), low), f"a number, at least {low:g}")


def names(name: str, default: Collection[str], allowed: Collection[str] = ()) -> list[str]:
    """Return a list of names that are separated by commas.

    Args:
        name: the name of the variable.
        default: the value if the variable is not set or empty.
        allowed: the names that are allowed. Default: all.

    Raises:
        ImproperlyConfigured: a name is not allowed.
    """
    values = read(name, list(default), _names, "a list")
    for value in values:
        if allowed and value not in allowed:
            raise ImproperlyConfigured(f"{name} contains {value!r}, but allowed are only {', '.join(allowed)}.")
    return values


def devices(name: str) -> list[str]:
    """Return a list of devices that are separated by commas. Default: none."""
    return read(name, [], _devices, "cpu, cuda or cuda:N, separated by commas")


def duration(name: str, default: str) -> timedelta:
    """Return a duration."""
    return read(name, parse_duration(default), parse_duration, "a duration such as 90s, 15m, 12h, 7d or 2w")


def durations(name: str, default: str) -> list[timedelta]:
    """Return a list of durations that are separated by commas."""
    allowed = "durations such as 90s, 15m, 12h, 7d or 2w, separated by commas"
    return read(name, _durations(default), _durations, allowed)


def optional_duration(name: str) -> timedelta | None:
    """Return a duration, or None if the variable is not set or empty."""
    return read(name, None, parse_duration, "a duration such as 90s, 15m, 12h, 7d or 2w")


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Return a list of IP networks that are separated by commas. Default: none."""
    return read(name, [], _networks, "networks such as 10.0.0.0/8 or fd00::/8, separated by commas")


def parse_duration(text: str) -> timedelta:
    """Convert a text such as `90s`, `15m` or `7d` to a duration.

    Raises:
        ValueError: the text is not a number followed by one of s, m, h, d, w.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip().lower())
    if match is None:
        raise ValueError(text)
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _names(text: str) -> list[str]:
    return [name for part in environ.Env.parse_value(text, list) if (name := part.strip())]


def _devices(text: str) -> list[str]:
    found = _names(text)
    if not all(re.fullmatch(r"cpu|cuda(:\d+)?", device) for device in found):
        raise ValueError(text)
    return found


def _boolean(text: str) -> bool:
    return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[text.lower()]


def _durations(text: str) -> list[timedelta]:
    return [parse_duration(part) for part in text.split(",")]


def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def _at_least(value: T, low: T) -> T:
    if not value >= low:  # type: ignore[operator]
        raise ValueError(value)
    return value
