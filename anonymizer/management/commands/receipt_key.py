"""`anonymizer receipt-key`: make the key that signs receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.receipts.signing import make_key, public_file


class Command(AnonymizerCommand):
    """Make a key."""

    help = "Make the key that signs receipts. Whoever checks receipts needs only the public key beside it."
    examples = """
  anonymizer receipt-key /etc/anonymizer/receipt.pem
      make the private key there (mode 0600), and receipt.pem.pub beside it
  anonymizer receipt-key receipt.pem && ANONYMIZER_RECEIPT_KEY=receipt.pem anonymizer serve
      make a key in this folder, and sign the receipt of each task with it
"""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the file."""
        parser.add_argument("file", type=Path, metavar="FILE", help="the new file of the private key")

    def handle(self, *args: Any, **given: Any) -> None:
        """Make the key.

        Raises:
            UsageError: the file exists, or cannot be written.
        """
        try:
            key = make_key(given["file"])
        except InvalidParameter as error:
            raise UsageError(str(error)) from error
        self.stdout.write(f"{given['file']}: private key, for ANONYMIZER_RECEIPT_KEY; keep a copy in a safe place")
        self.stdout.write(f"{public_file(given['file'])}: public key, for those who check receipts ({key})")
