"""`anonymizer cleanup`: delete old files, and files that belong to no task."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from anonymizer.management.base import AnonymizerCommand
from anonymizer.models import Status
from anonymizer.service.accounting import audit
from anonymizer.service.cleanup import cleanup
from celantur_site.env import parse_duration

ALLOWED = (Status.DONE, Status.FAILED)


class Command(AnonymizerCommand):
    """Delete old files."""

    help = (
        "Delete the files of old tasks, the records of tasks that were deleted long ago, and files in task folders "
        "that belong to no task."
    )
    examples = """
  anonymizer cleanup --older-than 7d --dry-run
      show what would be deleted of tasks that ended a week ago
  anonymizer cleanup --status failed
      delete the files of old failed tasks only
"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--older-than", type=_duration, default=settings.CLEANUP_AFTER, metavar="AGE",
            help="time since the task ended: 90s, 15m, 12h, 7d or 2w; default: ANONYMIZER_CLEANUP_AFTER, else 30d",
        )  # fmt: skip
        parser.add_argument(
            "--status", type=_statuses, default=list(ALLOWED), metavar="STATUS",
            help="done, failed or done,failed; default: done,failed",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete the files and print how many."""
        done = cleanup(options["older_than"], options["status"], dry_run=options["dry_run"], actor=audit.COMMAND)
        self.stdout.write(
            f"{'would delete' if options['dry_run'] else 'deleted'}: files of {done.tasks} task(s), "
            f"{done.tombstones} tombstone(s), {done.orphans} orphaned file(s), {done.bytes / 1e6:.1f} MB"
        )
        if done.lost:
            self.stdout.write(f"lost: {done.lost} file(s) of tasks are not in their storage any more")
        if done.unconfirmed:
            raise CommandError(f"The files of {done.unconfirmed} deletion(s) are still there. The log says which.")


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 12h, 7d or 2w") from None


def _statuses(text: str) -> list[Status]:
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [status for status in chosen if status not in ALLOWED]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{text!r} is not done, failed or done,failed")
    return [Status(status) for status in chosen]
