"""`anonymizer profile`: create, list, show, activate, export and delete threshold profiles."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anonymizer._text import align_columns
from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.options.options import parameters
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles

_ACCEPT = "--accept-unproven"


class Command(AnonymizerCommand):
    """Manage threshold profiles."""

    help = "Create, list, show, activate, export and delete threshold profiles."
    examples = """
  anonymizer profile create street --from street.json
      save the profile of a file, such as `anonymizer evaluate --profile-name` writes
  anonymizer profile create careful --face-threshold 0.3 --activate --accept-unproven
      save a profile by hand, and use it as the default profile
  anonymizer profile activate --none
      use no default profile
  anonymizer profile export street street.json
      write a profile to a file
"""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions", metavar="ACTION")
        creating = actions.add_parser("create", help="save a profile: from a file, from thresholds, or from both")
        creating.add_argument("name", help="letters, digits, '.', '_' and '-'; it replaces the name in the file")
        creating.add_argument("--from", dest="source", metavar="FILE.json", help="a file; - is standard input")
        for object_type in OBJECT_TYPES:
            creating.add_argument(
                f"--{object_type}-threshold", metavar="SCORE", help=f"lowest score of a {object_type.words}, 0..1"
            )
        creating.add_argument("--format", help=parameters()["format"].help)
        creating.add_argument("--activate", action="store_true", help="use it as the default profile")
        creating.add_argument("--replace", action="store_true", help="replace the profile of this name if it exists")
        _add_accept_unproven(creating)
        actions.add_parser("list", help="list every profile: thresholds, target recall, models and date")
        actions.add_parser("show", help="show everything about a profile").add_argument("name")
        activating = actions.add_parser("activate", help="use a profile as the default profile")
        activating.add_argument("name", nargs="?")
        activating.add_argument("--none", action="store_true", help="use no default profile")
        _add_accept_unproven(activating)
        exporting = actions.add_parser("export", help="write a profile as JSON")
        exporting.add_argument("name")
        exporting.add_argument("file", nargs="?", type=Path, help="default: standard output")
        actions.add_parser("delete", help="delete a profile that is not active").add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action.

        Raises:
            CommandError: it is not possible, or there is no database.
        """
        try:
            getattr(self, f"_{options['action']}")(options)
        except profiles.UnprovenProfile as error:
            raise CommandError(
                f"{error} Choose it again, with more images if they are too few, with a lower --target if it is out of "
                f"reach; or pass {_ACCEPT}."
            ) from error
        except AnonymizerError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({error}): run `anonymizer manage migrate`.") from error

    def _create(self, options: dict[str, Any]) -> None:
        accept = options["accept_unproven"]
        profile = profiles.save(_read_profile(options), replace=options["replace"], accept_unproven=accept)
        self.stdout.write(f"{profile.name}: saved, {profiles.thresholds(profile)}")
        if options["activate"]:
            self._activate({"name": profile.name, "none": False, "accept_unproven": accept})

    def _list(self, options: dict[str, Any]) -> None:
        rows = [("name", "active", "thresholds", "target recall", "models", "created")]
        for profile, is_active in profiles.all_profiles():
            models = dict.fromkeys(profiles.model_ids(key) for key in profile.models.values())
            rows.append(
                (
                    profile.name, "yes" if is_active else "-", profiles.thresholds(profile),
                    _or_dash(profile.target_recall), ", ".join(models) or "-", profile.created[:16],
                )
            )  # fmt: skip
        if len(rows) == 1:
            self.stdout.write("There are no profiles; `anonymizer profile create` creates one.")
        else:
            self._table(rows)

    def _show(self, options: dict[str, Any]) -> None:
        profile = profiles.get(options["name"])
        active = profiles.active()
        self.stdout.write(profile.name + (" (active)" if active and active.name == profile.name else ""))
        self.stdout.write(f"target recall: {_or_dash(profile.target_recall)}")
        self.stdout.write(f"format: {_or_dash(profile.format)}")
        self.stdout.write(f"created: {profile.created}")
        self.stdout.write("")
        self._table(profiles.table(profile))
        self._warn(profile)

    def _activate(self, options: dict[str, Any]) -> None:
        if (options["name"] is None) != options["none"]:
            raise UsageError("activate takes the name of a profile, or --none.")
        profile = profiles.activate(options["name"], accept_unproven=options["accept_unproven"])
        if profile is None:
            self.stdout.write(
                "No profile is active: requests without a profile get the default thresholds of the server."
            )
        else:
            self.stdout.write(f"{profile.name}: active, it is the default profile of requests")
            self._warn(profile)

    def _export(self, options: dict[str, Any]) -> None:
        profile = profiles.get(options["name"])
        if options["file"] is None:
            self.stdout.write(profile.to_json(), ending="")
            return
        try:
            profile.save(options["file"])
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be written: {error.strerror}.") from error

    def _delete(self, options: dict[str, Any]) -> None:
        profiles.delete(options["name"])
        self.stdout.write(f"{options['name']}: deleted")

    def _table(self, rows: Sequence[Sequence[str]]) -> None:
        for line in align_columns(rows):
            self.stdout.write(line)

    def _warn(self, profile: ThresholdProfile) -> None:
        for mismatch in profiles.default_mismatches(profile):
            self.stderr.write(mismatch)
        for object_type, reason in profile.unproven().items():
            self.stderr.write(f"The {object_type.words} threshold of profile {profile.name} is not proven: {reason}.")


def _add_accept_unproven(parser: ArgumentParser) -> None:
    parser.add_argument(
        _ACCEPT, action="store_true", help="accept thresholds of which no measurement shows that they reach the target"
    )


def _read_profile(options: dict[str, Any]) -> ThresholdProfile:
    """Read the profile of a file, and apply the other options to it.

    Raises:
        UsageError: the file cannot be read, or neither a file nor a threshold is given.
        InvalidParameter: the file holds no profile.
    """
    given = {object_type: options[f"{object_type.replace('-', '_')}_threshold"] for object_type in OBJECT_TYPES}
    by_hand = {object_type: value for object_type, value in given.items() if value is not None}
    if options["source"] is None:
        if not by_hand:
            raise UsageError(f"create takes --from FILE.json, or a threshold such as --{OBJECT_TYPES[0]}-threshold.")
        return ThresholdProfile(name=options["name"], thresholds=by_hand, format=options["format"])
    profile = ThresholdProfile.from_json(_content(options["source"]), name=options["name"])
    if options["format"] is not None:
        # the figures were measured with another format
        profile = replace(profile, format=options["format"], figures={}, target_recall=None)
    if by_hand:
        figures = {name: values for name, values in profile.figures.items() if name not in by_hand}
        thresholds = {**profile.thresholds, **by_hand}
        profile = replace(profile, thresholds=thresholds, figures=figures, target_recall=None)
    return profile


def _content(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"--from {source} cannot be read: {error.strerror}.") from error


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
