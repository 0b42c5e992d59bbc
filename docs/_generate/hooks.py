"""Pages that are made from the code when the documentation is built: MkDocs calls `on_files`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_generate")]

import pages  # noqa: E402


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, make in pages.PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let names of variables in tables break after an underscore, where a column is narrow."""
    return re.sub(r"(?<=<code>)[A-Z][A-Z0-9_]+(?=</code>)", lambda match: match[0].replace("_", "_<wbr>"), html)
