"""The option `--map`, which commands that read labels share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from anonymizer.evaluation.datasets.class_names import LEFT_OUT
from anonymizer.management.base import UsageError
from anonymizer.pipeline.detections import OBJECT_TYPES

__all__ = ["add_map", "read_map"]


def add_map(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option to a parser or to a group of it."""
    parser.add_argument(
        "--map", action="append", default=[], metavar="NAME=TYPE",
        help=f"read a class name as one of {', '.join(OBJECT_TYPES)}, or none to leave it out; can be repeated",
    )  # fmt: skip


def read_map(entries: Sequence[str]) -> dict[str, str]:
    """Read the values of the option.

    Args:
        entries: such as `visage=face`; several may be separated by commas.

    Returns:
        The object types, or `none`, by class name.

    Raises:
        UsageError: an entry has another form.
    """
    names = {}
    for entry in (part for value in entries for part in value.split(",")):
        name, _, object_type = (word.strip() for word in entry.rpartition("="))
        object_type = object_type.replace("_", "-")
        if not name or (object_type not in OBJECT_TYPES and object_type != LEFT_OUT):
            allowed = f"NAME=TYPE, where TYPE is {', '.join(OBJECT_TYPES)} or {LEFT_OUT}"
            raise UsageError(f"--map is {entry!r}, but must be {allowed}.")
        names[name] = object_type
    return names
