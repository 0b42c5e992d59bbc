"""`python manage.py profile`: threshold profiles, made from a file or by hand, looked at, activated, exported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.options.options import parameters
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles


class Command(BaseCommand):
    help = "Make, list, show, activate, export and delete threshold profiles."
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(
            dest="action", required=True, metavar="create | list | show | activate | export | delete"
        )
        creating = actions.add_parser("create", help="keep a profile: a file's, thresholds given here, or both")
        creating.add_argument("name", help="letters, digits, '.', '_' and '-'; takes the place of the file's")
        creating.add_argument("--from", dest="source", metavar="FILE.json", help="a file; - is standard input")
        for each in OBJECT_TYPES:
            creating.add_argument(f"--{each}-threshold", metavar="SCORE", help=f"least score of a {each.words}, 0..1")
        creating.add_argument("--format", help=parameters()["format"].help)
        creating.add_argument("--activate", action="store_true", help="have requests that name no profile get it")
        creating.add_argument("--replace", action="store_true", help="replace the one of this name, if there is one")
        actions.add_parser("list", help="every profile: thresholds, target, models, when they were chosen")
        actions.add_parser("show", help="all that is known of one").add_argument("name")
        activating = actions.add_parser("activate", help="have requests that name no profile get this one")
        activating.add_argument("name", nargs="?")
        activating.add_argument("--none", action="store_true", help="requests get the server's own thresholds again")
        exporting = actions.add_parser("export", help="write one as JSON")
        exporting.add_argument("name")
        exporting.add_argument("file", nargs="?", type=Path, help="standard output without")
        actions.add_parser("delete", help="forget one that is not active").add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except AnonymizerError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({error}): run `python manage.py migrate`.") from error

    def _create(self, options: dict[str, Any]) -> None:
        profile = profiles.save(_asked(options), replace=options["replace"])
        self.stdout.write(f"{profile.name}: kept, {profiles.thresholds(profile)}")
        if options["activate"]:
            self._activate({"name": profile.name, "none": False})

    def _list(self, options: dict[str, Any]) -> None:
        rows = [("name", "active", "thresholds", "target recall", "models", "created")]
        for each, is_active in profiles.every():
            models = dict.fromkeys(profiles.model_ids(key) for key in each.models.values())
            rows.append(
                (
                    each.name, "yes" if is_active else "-", profiles.thresholds(each), _or_dash(each.target_recall),
                    ", ".join(models) or "-", each.created[:16],
                )
            )  # fmt: skip
        if len(rows) == 1:
            self.stdout.write("There are no profiles; `python manage.py profile create` makes one.")
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
            raise CommandError("activate takes the name of a profile, or --none.")
        profile = profiles.activate(options["name"])
        if profile is None:
            self.stdout.write("No profile is active: requests that name none get the server's own thresholds.")
        else:
            self.stdout.write(f"{profile.name}: active, requests that name no profile get its thresholds")
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
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _warn(self, profile: ThresholdProfile) -> None:
        for doubt in profiles.doubts_by_default(profile):
            self.stderr.write(doubt)


def _asked(options: dict[str, Any]) -> ThresholdProfile:
    """The profile of a file, with what is given beside it.

    Raises:
        CommandError: the file cannot be read, or neither a file nor a threshold is given.
        InvalidParameter: it is no profile.
    """
    given = {each: options[f"{each.replace('-', '_')}_threshold"] for each in OBJECT_TYPES}
    by_hand = {each: value for each, value in given.items() if value is not None}
    if options["source"] is None:
        if not by_hand:
            raise CommandError(f"create takes --from FILE.json, or a threshold such as --{OBJECT_TYPES[0]}-threshold.")
        return ThresholdProfile(name=options["name"], thresholds=by_hand, format=options["format"])
    profile = ThresholdProfile.from_json(_content(options["source"]), name=options["name"])
    if options["format"] is not None:
        # what was measured was measured with another one
        profile = replace(profile, format=options["format"], figures={}, target_recall=None)
    if by_hand:
        figures = {each: values for each, values in profile.figures.items() if each not in by_hand}
        thresholds = {**profile.thresholds, **by_hand}
        profile = replace(profile, thresholds=thresholds, figures=figures, target_recall=None)
    return profile


def _content(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f"--from {source} cannot be read: {error.strerror}.") from error


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
