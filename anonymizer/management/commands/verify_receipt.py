"""`anonymizer verify-receipt`: check the signature of a receipt, and that files are those of the receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.receipts.receipt import Receipt
from anonymizer.pipeline.receipts.signing import load_public_key


class Command(AnonymizerCommand):
    """Check a receipt."""

    help = "Check the signature of a receipt, and that each file is the one that the receipt is about."
    examples = """
  anonymizer verify-receipt street.receipt.json street.jpg --key receipt.pem.pub
      check who signed it, and that street.jpg is its input or one of its outputs
  anonymizer verify-receipt street.receipt.json street.jpg --unsigned
      check only the file, where there is no signature
"""
    exit_codes = (
        "exit codes:\n"
        "  0  the signature holds, and the receipt is about each file\n"
        "  1  the signature does not hold, there is none, or a file is another one\n"
        "  2  wrong usage, or a file cannot be read"
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the files and the key."""
        parser.add_argument("receipt", type=Path, metavar="RECEIPT", help="the file of the receipt")
        parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="original, result, mask or metadata")
        trust = parser.add_mutually_exclusive_group(required=True)
        trust.add_argument("--key", type=Path, metavar="PUB", help="the public key that you trust, a PEM file")
        trust.add_argument("--unsigned", action="store_true", help="do not ask for a signature")

    def handle(self, *args: Any, **given: Any) -> None:
        """Check and print.

        Raises:
            UsageError: a file cannot be read, or is no receipt or key.
            CommandError: the receipt does not hold.
        """
        try:
            receipt = Receipt.load(given["receipt"].read_bytes(), name=str(given["receipt"]))
            public = None if given["key"] is None else load_public_key(given["key"], parameter="--key")
            sums = {file: FileSum.of_file(file) for file in given["files"]}
        except InvalidParameter as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}.") from error
        problems = []
        if public is None:
            self.stdout.write("signature: not checked")
        elif problem := receipt.problem(public):
            problems.append(problem)
        else:
            assert receipt.signature is not None
            self.stdout.write(f"signature: holds, key {receipt.signature['key_id']}")
        for file, found in sums.items():
            role = receipt.role_of(found)
            if role is None:
                problems.append(f"{file} is none of the files of this receipt (sha256 {found.sha256}).")
            else:
                self.stdout.write(f"{file}: {role}")
        if problems:
            raise CommandError(" ".join(problems), returncode=1)
