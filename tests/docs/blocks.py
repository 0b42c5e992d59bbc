"""The code blocks of README and docs, and where they run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

__all__ = ["Block", "blocks", "documents"]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
#: the mark of a block that no test runs: it installs, needs a network or a GPU, or never ends
NOT_RUN = "{.no-run}"
LANGUAGES = ("sh", "python")


@dataclass(frozen=True)
class Block:
    """One block that is run.

    Attributes:
        language: `sh` or `python`.
        code: what runs.
        line: its first line in the document.
    """

    language: str
    code: str
    line: int


def documents() -> list[Path]:
    """README, CONTRIBUTING, the page of the models, and the pages of the documentation but those of notebooks."""
    pages = (each for each in (ROOT / "docs").rglob("*.md") if each.parent.name != "notebooks")
    return [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md")] + sorted(pages)


def blocks(document: Path) -> list[Block]:
    """The blocks of a document that are not marked `{.no-run}`."""
    text = document.read_text()
    found = []
    for match in _FENCE.finditer(text):
        language, *marks = match["info"].split() or [""]
        assert language in (*LANGUAGES, "text", "json", "yaml", "toml", "nginx", "ini") or not language, match["info"]
        if language in LANGUAGES and NOT_RUN not in marks:
            found.append(Block(language, match["code"], text[: match.start()].count("\n") + 1))
    return found
