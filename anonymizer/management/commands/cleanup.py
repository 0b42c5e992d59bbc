"""`python manage.py cleanup`: delete what is old, and what nothing points to."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand

from anonymizer.models import Status
from anonymizer.service.cleanup import cleanup
from celantur_site.env import parse_duration

ALLOWED = (Status.DONE, Status.FAILED)


class Command(BaseCommand):
    help = "Delete the files of old tasks, old tombstones, and files that no task knows."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--older-than", type=_duration, default=settings.CLEANUP_AFTER, metavar="7d",
            help="age since the task ended: 90s, 15m, 12h, 7d or 2w",
        )  # fmt: skip
        parser.add_argument("--status", type=_statuses, default=list(ALLOWED), metavar="done,failed")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        done = cleanup(options["older_than"], options["status"], dry_run=options["dry_run"])
        self.stdout.write(
            f"{'would delete' if options['dry_run'] else 'deleted'}: files of {done.tasks} task(s), "
            f"{done.tombstones} tombstone(s), {done.orphans} orphaned file(s), {done.bytes / 1e6:.1f} MB"
        )


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 15m, 12h, 7d or 2w") from None


def _statuses(text: str) -> list[Status]:
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [each for each in chosen if each not in ALLOWED]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{text!r} is not done, failed or done,failed")
    return [Status(each) for each in chosen]
