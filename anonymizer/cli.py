"""The command `anonymizer`: each of its commands is a command of Django under a shorter name."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import anonymizer

__all__ = ["main"]

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

LAB_HELP = """usage: anonymizer lab [options of JupyterLab]

Start JupyterLab with the notebooks of the checkout, or in the current folder if there is no checkout.
All options go to JupyterLab: `anonymizer lab --help-all` lists them.

examples:
  anonymizer lab
  anonymizer lab --no-browser --ServerApp.port=8890
"""


@dataclass(frozen=True)
class CommandEntry:
    """One command in the list.

    Attributes:
        help: its line in the list.
        module: the name of the Django command; empty: another function runs it.
        needs_data: whether it uses the data folder, with the database and the secret key.
    """

    help: str
    module: str = ""
    needs_data: bool = True


COMMANDS = {
    "run": CommandEntry("anonymise images, videos and folders", "anonymize", needs_data=False),
    "folder": CommandEntry("anonymise a folder or a bucket, also on a Ray cluster", "folder", needs_data=False),
    "serve": CommandEntry("start the service: REST API, web page and admin", "serve"),
    "evaluate": CommandEntry("measure what the models miss in labelled images", "evaluate", needs_data=False),
    "labels": CommandEntry("exchange labels with CVAT, Label Studio and others", "labels", needs_data=False),
    "audit": CommandEntry("look for what is still recognisable in any folder", "audit", needs_data=False),
    "verify-receipt": CommandEntry("check the receipt of a result", "verify_receipt", needs_data=False),
    "receipt-key": CommandEntry("make the key that signs receipts", "receipt_key", needs_data=False),
    "models": CommandEntry("list, fetch and verify models", "models", needs_data=False),
    "profile": CommandEntry("manage threshold profiles", "profile"),
    "token": CommandEntry("make and revoke tokens of clients", "token"),
    "cleanup": CommandEntry("delete the files of old tasks", "cleanup"),
    "lab": CommandEntry("open JupyterLab with the notebooks"),
    "manage": CommandEntry("run a command of Django, such as createsuperuser or migrate"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after `anonymizer`; default: those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name, arguments = words[0] if words else "help", words[1:]
    if name in ("-h", "--help", "help"):
        print(_help_text())
        return 0
    if name == "--version":
        print(f"anonymizer {anonymizer.__version__}")
        return 0
    if name not in COMMANDS:
        return _reject(name)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "celantur_site.settings")
    # Waiting threads of torch sleep, so that others, such as those of an encoder, can use the core. The OpenMP library
    # reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if name == "lab":
            return _start_lab(arguments)
        return _run_django(name, arguments)
    except KeyboardInterrupt:
        print(f"anonymizer {name}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of the output has ended, as `head` does; the interpreter must not flush to it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _help_text() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name.ljust(width)}  {entry.help}" for name, entry in COMMANDS.items())
    return (
        "usage: anonymizer COMMAND [options]\n\n"
        "Find faces, license plates, persons and vehicles in images and videos, and redact them.\n\n"
        f"commands:\n{lines}\n\n"
        "`anonymizer COMMAND --help` explains a command, `anonymizer --version` prints the version.\n"
        "exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted"
    )


def _reject(name: str) -> int:
    close = get_close_matches(name, COMMANDS, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    print(f"anonymizer: there is no command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.", file=sys.stderr)
    return WRONG_USAGE


def _run_django(name: str, arguments: Sequence[str]) -> int:
    from anonymizer.management.utility import execute

    entry = COMMANDS[name]
    if not entry.needs_data:
        # the settings would create a key in the data folder, which these commands do not use
        os.environ.setdefault("ANONYMIZER_SECRET_KEY", secrets.token_urlsafe(50))
    return execute(name, entry.module, arguments)


def _start_lab(arguments: Sequence[str]) -> int:
    """Replace this process by JupyterLab."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(LAB_HELP)
        return 0
    notebooks = Path(anonymizer.__file__).resolve().parents[1] / "notebooks"
    options = [
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--MappingKernelManager.transport_encryption=auto",
    ]
    if os.getuid() == 0:
        options.append("--allow-root")
    if notebooks.is_dir():
        os.chdir(notebooks)
    sys.stdout.flush()
    return os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options, *arguments])
