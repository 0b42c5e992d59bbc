"""The sentences that users read: docstrings of public names, help texts, errors, documents and notebooks.

python -m tests.sentences [FILE ...]: prints the number of words, the median length and every sentence that is too long.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: the most words of a sentence
MOST_WORDS = 30
#: Parts of the package whose public docstrings are documentation.
LIBRARY = ("pipeline", "evaluation", "training", "examples")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "models/README.md")

_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_END = re.compile(r"(?<=[.!?])[)\"'*]*\s+(?=[\"'(*`A-Z0-9])")
_SECTION = re.compile(r"\b(Args|Attributes|Returns|Raises|Yields|Example|Examples):\s*$")
_ENTRY = re.compile(r"^ *[*`]*[\w.]+(?:, [\w.]+)*[*`]*: ")
_HELP = {"help", "description", "epilog"}


def sentences(text: str) -> Iterator[str]:
    """Sentences of a text; an item of a list, a cell of a table and an entry of a docstring stand alone."""
    for paragraph in _paragraphs(_FENCE.sub("\n\n", text)):
        for sentence in _END.split(paragraph):
            if sentence.strip():
                yield " ".join(sentence.split())


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        alone = bare.startswith(("|", "#", "- ", "* ", "├", "└", "│")) or bool(_SECTION.search(bare))
        if (not bare or alone or _ENTRY.match(line)) and lines:
            yield " ".join(lines)
            lines = []
        if bare.startswith("|"):
            yield from (cell for cell in bare.strip("|").split("|") if cell.strip(" -:"))
        elif bare and not _SECTION.fullmatch(bare):
            lines.append(bare.lstrip("#-* "))
    if lines:
        yield " ".join(lines)


def words(sentence: str) -> int:
    """Words, not counting code, numbers and signs."""
    plain = re.sub(r"`[^`]*`|\S*[/_=<>{}\[\]]\S*|https?:\S+", " ", sentence)
    return len(re.findall(r"[A-Za-z][A-Za-z'-]*", plain))


def texts(file: Path) -> Iterator[str]:
    """What users read of a file."""
    if file.suffix == ".ipynb":
        for cell in json.loads(file.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                yield "".join(cell["source"])
    elif file.suffix == ".py":
        yield from _of_code(file)
    else:
        yield file.read_text()


def _of_code(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    parts = file.relative_to(ROOT / "anonymizer").parts if file.is_relative_to(ROOT / "anonymizer") else ()
    if parts and parts[0] in LIBRARY:
        yield from _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (_joined(keyword.value) for keyword in node.keywords if keyword.arg in _HELP)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from (_joined(argument) for argument in node.exc.args)


def _docstrings(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _docstrings(child)
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield ast.get_docstring(child) or ""


def _joined(node: ast.expr) -> str:
    """A string, with X for each value that is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _joined(node.left) + _joined(node.right)
    return ""


def files() -> list[Path]:
    """All files that users read something of."""
    code = [file for file in (ROOT / "anonymizer").rglob("*.py") if "migrations" not in file.parts]
    documents = [ROOT / name for name in DOCUMENTS if (ROOT / name).exists()]
    # the pages of notebooks are made from these
    pages = (file for file in (ROOT / "docs").rglob("*.md") if file.parent.name != "notebooks")
    return sorted([*code, *documents, *pages, *(ROOT / "notebooks").glob("*.ipynb")])


def too_long(file: Path) -> list[str]:
    """The sentences of a file that have too many words."""
    found = (sentence for text in texts(file) for sentence in sentences(text))
    return [sentence for sentence in found if words(sentence) > MOST_WORDS]


def main() -> None:
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or files()
    lengths = [words(sentence) for file in chosen for text in texts(file) for sentence in sentences(text)]
    lengths = [length for length in lengths if length]
    long = sum(length > MOST_WORDS for length in lengths)
    median = statistics.median(lengths or [0])
    print(f"{sum(lengths)} words, {len(lengths)} sentences, median {median:g} words, {long} of more than {MOST_WORDS}")
    for file in chosen:
        for sentence in too_long(file):
            print(f"{file.relative_to(ROOT)}: {sentence}")


if __name__ == "__main__":
    main()
