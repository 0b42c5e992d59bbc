"""How a field of `Options` is converted, explained and grouped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from anonymizer.pipeline.options.converters import boolean

__all__ = ["Parameter", "Topic", "option"]


class Topic(StrEnum):
    """The group of a parameter in the help of the command."""

    DETECTION = "what to detect"
    REDACTION = "how to redact"
    OUTPUT = "what to write"
    VIDEOS = "videos"


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one field of `Options` is converted and explained.

    Attributes:
        convert: takes the name and the value, returns the converted value or raises InvalidParameter.
        help: the help text of the command line and of the API.
    """

    convert: Callable[[str, Any], Any]
    help: str
    topic: Topic
    default: Any

    @property
    def is_flag(self) -> bool:
        """Whether the values are true and false, so that a command line may leave out `true`."""
        return self.convert is boolean

    @property
    def default_text(self) -> str:
        """The default as a user writes it; empty if the help text explains what happens by default."""
        if self.default is None or self.default in ("", ()):
            return ""
        return str(self.default).lower() if self.is_flag else str(self.default)


def option(topic: Topic, default: Any, convert: Callable[[str, Any], Any], text: str) -> Any:
    """Make a field of `Options`.

    Args:
        topic: its group in the help of the command.
        default: its default.
        convert: takes the name and the value, returns the converted value or raises InvalidParameter.
        text: its help text.

    Returns:
        A dataclass field whose metadata holds the `Parameter`.
    """
    return field(default=default, metadata={"parameter": Parameter(convert, text, topic, default)})
