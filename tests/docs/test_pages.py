"""The documentation is built strictly, and its generated pages name what the code has."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from anonymizer.cli import COMMANDS
from anonymizer.pipeline.options.options import parameters
from tests.conftest import ROOT

GENERATE = ROOT / "docs" / "_generate"
VARIABLE = re.compile(r"ANONYMIZER_[A-Z_]+|(?:DATABASE|BROKER|STORAGE)_URL")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Addresses(HTMLParser):
    """What a page loads: scripts, styles, pictures and fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "preconnect", "icon"):
            self.found.append(given.get("href") or "")


@pytest.mark.slow
def test_the_documentation_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Addresses()
        parser.feed(page.read_text())
        assert [each for each in parser.found if each.startswith(("http:", "https:", "//"))] == [], page


@pytest.mark.slow
def test_generated_pages_name_parameters_commands_and_endpoints(site: Path) -> None:
    def text(name: str) -> str:
        return (site / "reference" / name).read_text()

    assert [name for name in parameters() if f"<code>{name}</code>" not in text("parameters.html")] == []
    assert [
        name for name, each in COMMANDS.items() if each.module and f"anonymizer {name}" not in text("commands.html")
    ] == []
    assert "POST /v1/file" in text("rest.html")
    assert "Anonymizer" in text("library.html")


def test_the_page_of_settings_names_exactly_what_the_settings_read() -> None:
    read = set()
    for file in (ROOT / "celantur_site").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value)):
                read.add(str(node.value))
    groups = tomllib.loads((GENERATE / "settings.toml").read_text())["group"]
    assert {name for group in groups for each in group["settings"] for name in each["names"]} == read


def test_pages_of_notebooks_belong_to_the_notebooks_of_today() -> None:
    sys.path.insert(0, str(GENERATE))
    try:
        import notebooks
    finally:
        sys.path.remove(str(GENERATE))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = ROOT / "docs" / "notebooks" / f"{notebook.stem}.md"
        assert page.read_text().endswith(f"<!-- {notebooks.checksum(notebook)} -->\n"), (
            f"run: python docs/_generate/notebooks.py {notebook.stem}"
        )


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120
