"""Run the notebooks on free pictures and write their pages, with outputs.

python docs/_generate/notebooks.py [NAME ...]

The pages and their pictures are committed, so that a build of the documentation runs no notebook. Each page ends with
the checksum of its notebook's cells; a test compares it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "notebooks"
#: the widest picture of a page, in pixels
WIDEST = 1400
#: the longest line of text that a page shows without scrolling, in letters
WIDEST_TEXT = 80
#: what Ray's own processes log when the notebook kills a node: a line, and the indented lines below it
RAY_LOG = re.compile(
    r"^(?:\x1b\[\d+m)?(?:\(raylet\)|\[[-\d]+ \S+ \w+ \d+ \d+\] \S+\.cc:).*\n?(?:[ \t].*\n?|\n)*", re.MULTILINE
)
_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp);base64,([A-Za-z0-9+/=\s]+)")
_VIDEO = re.compile(r"data:video/mp4;base64,([A-Za-z0-9+/=\s]+)")


def checksum(notebook: Path) -> str:
    """The checksum of the cells' sources."""
    cells = nbformat.read(notebook, as_version=4).cells
    return hashlib.sha256("\0".join(each.source for each in cells).encode()).hexdigest()[:16]


def main(names: list[str]) -> None:
    """Write the pages of these notebooks; default: of all."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if not names or notebook.stem in names:
            began = time.monotonic()
            write_page(notebook)
            print(f"{notebook.stem}: {time.monotonic() - began:.0f} s")


def write_page(notebook: Path) -> None:
    """Run one notebook in an empty folder, and write its page and pictures."""
    pictures = PAGES / notebook.stem
    for old in pictures.glob("*"):
        old.unlink()
    pictures.mkdir(parents=True, exist_ok=True)
    ran = run(notebook)
    numbers = iter(range(1, 1000))

    def stored(data: str) -> str:
        image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        image.thumbnail((WIDEST, WIDEST * 3))
        name = f"{next(numbers):02d}.webp"
        image.save(pictures / name, quality=80, method=6)
        return f"{notebook.stem}/{name}"

    def moved(text: str) -> str:
        """Text with its pictures and videos in files."""
        for match in _VIDEO.finditer(text):
            name = f"{next(numbers):02d}.mp4"
            (pictures / name).write_bytes(base64.b64decode(match[1]))
            text = text.replace(match[0], f"{notebook.stem}/{name}")
        return _PICTURE.sub(lambda match: stored(match[1]), text)

    parts: list[str] = []
    for cell in ran.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.source.strip():
            parts.append(f"```python {{.no-run}}\n{cell.source}\n```")
            parts += [text for output in cell.outputs if (text := shown(output, stored, moved))]
    (PAGES / f"{notebook.stem}.md").write_text("\n\n".join([*parts, f"<!-- {checksum(notebook)} -->"]) + "\n")


def run(notebook: Path) -> Any:
    """Run all cells on the free pictures of installed packages."""
    ran = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"ANONYMIZER_SAMPLES": "builtin", "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        copied = Path(folder, "notebooks")
        copied.mkdir()
        NotebookClient(ran, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(copied)}}).execute()
    return ran


def shown(output: Any, stored: Any, moved: Any) -> str:
    """The output of a cell as Markdown: pictures become files, tables stay HTML, other text a block."""
    if output.output_type == "stream":
        return block(RAY_LOG.sub("", output.text))
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        # a bar that shows the progress, drawn by tqdm, says nothing any more
        if "%|" in data.get("text/plain", ""):
            return ""
        return "*(sliders: open the notebook to move them)*"
    if "text/html" in data:
        text = moved(data["text/html"])
        # a page of MkDocs has styles of its own, and an empty line would end the HTML
        return '<div class="output">' + re.sub(r"\n\s*\n", "\n", text) + "</div>"
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f"![output]({stored(data[kind])})"
    if "text/markdown" in data:
        return str(data["text/markdown"])
    return block(data.get("text/plain", ""))


def block(text: str) -> str:
    """Text as it was printed. Long sentences are wrapped as wide as a page; the columns of tables stay."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n")
    lines = [part for line in plain.split("\n") for part in wrapped(line)]
    return "```text\n" + "\n".join(lines) + "\n```" if plain else ""


def wrapped(line: str) -> list[str]:
    """A line in parts, if it is too long and no row of a table."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= WIDEST_TEXT or "  " in line.strip() or line.startswith("|"):
        return [line]
    return textwrap.wrap(
        line, WIDEST_TEXT, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    main(sys.argv[1:])
