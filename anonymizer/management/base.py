"""What the commands of this project share: their help, their version, their errors and their exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    SystemCheckError,
    handle_default_options,
)
from django.db import connections

import anonymizer

__all__ = ["EXIT_CODES", "AnonymizerCommand", "UsageError"]

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong usage"


class UsageError(CommandError):
    """The command was called in a wrong way: the exit code is 2, as for an unknown option."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, returncode=2)


class AnonymizerCommand(BaseCommand):
    """A command with a plain help, and with errors of one sentence.

    `anonymizer NAME` and `manage.py NAME` both run it by `run_from_argv`.

    Attributes:
        examples: command lines for the end of the help.
        exit_codes: a sentence for the end of the help.
    """

    examples = ""
    exit_codes = EXIT_CODES
    # Django's own options work, but are not listed
    suppressed_base_arguments = {
        "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color", "--skip-checks"
    }  # fmt: skip

    def get_version(self) -> str:
        """What `--version` prints."""
        return f"anonymizer {anonymizer.__version__}"

    def add_base_argument(self, parser: CommandParser, *args: Any, **kwargs: Any) -> None:
        """Add one of Django's own options; only `--version` is listed."""
        if args == ("--version",):
            kwargs["help"] = "show the version and exit"
        super().add_base_argument(parser, *args, **kwargs)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make the parser, with the examples and the exit codes below the options."""
        kwargs.setdefault("formatter_class", HelpFormatter)
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description = textwrap.fill(self.help, 100)
        examples = "examples:\n{}\n\n".format(self.examples.strip("\n")) if self.examples else ""
        parser.epilog = f"{examples}{self.exit_codes}"
        return parser

    def parse_arguments(self, parser: CommandParser, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the words that follow the name of the command."""
        return parser.parse_args(list(arguments))

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command; an error is one sentence on standard error, and the exit code tells its kind."""
        prog = f"{Path(argv[0]).name} {argv[1]}"
        try:
            options = vars(self._parse(argv))
            self.execute(*options.pop("args", ()), **options)
        except CommandError as error:
            if "--traceback" in argv:
                raise
            sentence = str(error)
            self.stderr.write(sentence if isinstance(error, SystemCheckError) else f"{prog}: {sentence}")
            sys.exit(error.returncode)
        finally:
            connections.close_all()

    def _parse(self, argv: list[str]) -> argparse.Namespace:
        parser = self.create_parser(argv[0], argv[1])
        try:
            options = self.parse_arguments(parser, argv[2:])
        except CommandError as error:
            sentence = str(error).removeprefix("Error: ").rstrip(".")
            raise UsageError(f"{sentence}. See `{parser.prog} --help`.") from error
        handle_default_options(options)
        return options


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the epilog, and shows the default of each option that has one."""

    def __init__(self, prog: str) -> None:
        columns = min(120, int(os.environ.get("COLUMNS") or 110))
        super().__init__(prog, max_help_position=32, width=columns)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default in (None, False, argparse.SUPPRESS, "") or action.default == [] or "default:" in text:
            return text
        return f"{text}; default: %(default)s"
