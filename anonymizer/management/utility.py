"""Runs a command of Django for `anonymizer NAME`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, ManagementUtility, load_command_class

__all__ = ["execute"]

WRONG_USAGE = 2


def execute(name: str, module: str, arguments: Sequence[str]) -> int:
    """Run a command of this project, or any command of Django.

    Args:
        name: what the user typed after `anonymizer`.
        module: the command's module in `anonymizer.management.commands`. Empty: the first argument names a command.

    Returns:
        The exit code.
    """
    utility: ManagementUtility
    if module:
        utility = _Utility(module, ["anonymizer", name, *arguments])
    else:
        utility = ManagementUtility([f"anonymizer {name}", *arguments])
    try:
        utility.execute()
    except ImproperlyConfigured as error:
        sys.stderr.write(f"anonymizer {name}: {error}\n")
        return WRONG_USAGE
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


class _Utility(ManagementUtility):
    """Django's command line with one command, whatever its name is."""

    def __init__(self, module: str, argv: list[str]) -> None:
        super().__init__(argv)
        self._module = module

    def fetch_command(self, subcommand: str) -> BaseCommand:
        if self.settings_exception is not None:
            raise self.settings_exception
        return load_command_class("anonymizer", self._module)
