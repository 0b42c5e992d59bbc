"""`anonymizer token`: create, list and revoke the tokens of clients."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from anonymizer._text import align_columns
from anonymizer.management.base import AnonymizerCommand
from anonymizer.models import Token
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.service.clients import quota, tokens
from celantur_site.env import parse_duration


class Command(AnonymizerCommand):
    """Manage the tokens of clients."""

    help = (
        "Create, list and revoke the tokens of clients. As soon as there is a token, every request needs one, "
        "and a client sees its own tasks only."
    )
    examples = """
  anonymizer token create street-team --expires 90d --rate 600/min --tasks-a-day 10000
      make a token; it is printed once and cannot be read again
  anonymizer token create street-team --replace
      give the client another token, without limits; it keeps its tasks
  anonymizer token revoke street-team
      answer no more requests with its token; its tasks stay
  anonymizer token create eva --reviewer --originals
      make a token of somebody who reviews results of all clients beside their originals
  curl -H "Authorization: Bearer TOKEN" -F fileobject=@photo.jpg http://127.0.0.1:7000/v1/file
      upload a file as this client
"""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions", metavar="ACTION")
        creating = actions.add_parser("create", help="make a token for a client, and print it")
        creating.add_argument("name", help="name of the client")
        creating.add_argument(
            "--expires", type=_from_now, metavar="AGE", help="90s, 15m, 12h, 7d or 2w; default: never"
        )
        creating.add_argument("--rate", default="", help="most requests, such as 600/min; default: no limit")
        creating.add_argument("--tasks-a-day", type=_whole, metavar="N", help="most uploads a day; default: no limit")
        creating.add_argument(
            "--megabytes-a-day", type=_whole, metavar="N", help="most uploaded megabytes a day; default: no limit"
        )
        creating.add_argument("--metrics", action="store_true", help="the client may read /metrics")
        creating.add_argument(
            "--reviewer", action="store_true", help="the client may review and approve results, those of others too"
        )
        creating.add_argument(
            "--originals", action="store_true", help="with --reviewer: and see the originals of others under review"
        )
        creating.add_argument("--replace", action="store_true", help="give a client that exists another token")
        actions.add_parser("list", help="list the clients, their limits and what they uploaded today")
        actions.add_parser("revoke", help="answer no more requests of a client").add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action.

        Raises:
            CommandError: it is not possible, or there is no database.
        """
        try:
            getattr(self, f"_{options['action']}")(options)
        except AnonymizerError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({error}): run `anonymizer manage migrate`.") from error

    def _create(self, options: dict[str, Any]) -> None:
        if options["originals"] and not options["reviewer"]:
            raise CommandError("--originals is a right of reviewers: give --reviewer too.")
        megabytes = options["megabytes_a_day"]
        token, secret = tokens.create(
            options["name"],
            expires=options["expires"],
            rate=options["rate"],
            tasks_a_day=options["tasks_a_day"],
            bytes_a_day=None if megabytes is None else megabytes * 2**20,
            reads_metrics=options["metrics"],
            reviews=options["reviewer"],
            sees_originals=options["originals"],
            replace=options["replace"],
        )
        # alone on standard output, so that a script can keep it
        self.stderr.write(f"The token of {token.name}. It is shown only now:")
        self.stdout.write(secret)

    def _list(self, options: dict[str, Any]) -> None:
        rows = [
            ("client", "state", "expires", "last used", "rate", "files today", "megabytes today", "metrics", "reviews")
        ]
        for token in Token.objects.all():
            tasks, used_bytes = quota.used_today(token)
            most_megabytes = None if token.bytes_a_day is None else round(token.bytes_a_day / 2**20)
            rows.append(
                (
                    token.name, _state(token), _day(token.expires), _day(token.last_used), token.rate or "-",
                    _of(tasks, token.tasks_a_day), _of(round(used_bytes / 2**20), most_megabytes),
                    "yes" if token.reads_metrics else "-", _reviews(token),
                )
            )  # fmt: skip
        if len(rows) == 1:
            self.stdout.write("There are no tokens; `anonymizer token create` creates one.")
            return
        for line in align_columns(rows):
            self.stdout.write(line)

    def _revoke(self, options: dict[str, Any]) -> None:
        revoked = tokens.revoke(options["name"])
        self.stdout.write(f"{options['name']}: " + ("revoked" if revoked else "was revoked before"))


def _state(token: Token) -> str:
    if token.revoked is not None:
        return "revoked"
    return "active" if token.is_active else "expired"


def _reviews(token: Token) -> str:
    return ("with originals" if token.sees_originals else "yes") if token.reviews else "-"


def _of(used: int, most: int | None) -> str:
    return str(used) if most is None else f"{used} of {most}"


def _day(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _from_now(text: str) -> datetime:
    try:
        return timezone.now() + parse_duration(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 12h, 7d or 2w") from None


def _whole(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 10**12:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, at least 1")
