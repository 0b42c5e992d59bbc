"""Every notebook in notebooks/: its form, and what it produces when it runs from top to bottom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from traitlets.config import Config

from tests.conftest import ROOT
from tests.notebooks.checks import CHECKS
from tests.notebooks.conftest import clean_environment

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES = 15
#: with the machine busy: alone, each takes a minute or less
MOST_SECONDS = 600

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def functions(source: str) -> Iterator[ast.FunctionDef]:
    """The functions that a cell defines; `%matplotlib` and the like are no Python yet."""
    tree = ast.parse(TransformerManager().transform_cell(source))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_notebook_is_checked() -> None:
    assert {path.stem for path in NOTEBOOKS} == CHECKS.keys()


@every_notebook
def test_the_form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have no ids"
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.get("execution_count") is None and not cell.get("outputs"), f"cell {cell.id} has outputs"
        assert not cell.metadata.keys() - {"tags"}, f"cell {cell.id} keeps {cell.metadata}"
    absolute = re.findall(r"""["'( ](?:/|[A-Z]:\\)[\w.-]+/[^\s"')]*""", "\n".join(c.source for c in notebook.cells))
    assert [each[1:] for each in absolute if each[1:] != "/path/to/pictures"] == []


@every_notebook
def test_the_first_cells(path: Path) -> None:
    first, second = code(nbformat.read(path, as_version=4))[:2]
    assert first == 'import sys; sys.path.insert(0, "..")  # the package of this checkout'
    assert second.startswith('FOLDER = None  # a folder of your own: "/path/to/pictures"')


@every_notebook
def test_logic_lives_in_the_package(path: Path) -> None:
    for source in code(nbformat.read(path, as_version=4)):
        for each in functions(source):
            assert each.end_lineno is not None and each.end_lineno - each.lineno < MOST_LINES, each.name


def run(path: Path, samples: Path | str, folder: Path) -> list[Any]:
    """Run a notebook and then its check, and return its outputs.

    Args:
        samples: what ANONYMIZER_SAMPLES is set to.
        folder: where all that it writes goes.

    Raises:
        CellExecutionError: a cell failed, or the check did.
    """
    notebook, check = nbformat.read(path, as_version=4), CHECKS[path.stem]
    second = [cell for cell in notebook.cells if cell.cell_type == "code"][1]
    for name, value in check.given.items():
        second.source, count = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value!r}  ", second.source)
        assert count == 1, f"the second cell sets no {name}"
    notebook.cells.append(nbformat.v4.new_code_cell(check.code))
    client = NotebookClient(
        notebook, timeout=MOST_SECONDS, resources={"metadata": {"path": str(FOLDER)}},
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    )  # fmt: skip
    client.execute(
        env=clean_environment(
            ANONYMIZER_SAMPLES=str(samples), ANONYMIZER_NOTEBOOK_OUT=str(folder / "out"),
            ANONYMIZER_DATA_DIR=str(folder / "data"), OMP_WAIT_POLICY="PASSIVE",
        )
    )  # fmt: skip
    return [output for cell in notebook.cells[:-1] for output in cell.get("outputs", ())]


def said(outputs: list[Any]) -> str:
    """All text that a reader of the notebook sees."""
    return "\n".join(each.text if "text" in each else each.data.get("text/plain", "") for each in outputs)


def pictures(outputs: list[Any]) -> int:
    return sum("image/png" in each.get("data", ()) for each in outputs)


@pytest.mark.timeout(MOST_SECONDS)
@every_notebook
def test_it_produces_what_it_says(path: Path, small_set: Path, tmp_path: Path) -> None:
    before = sorted(small_set.rglob("*"))
    outputs = run(path, small_set, tmp_path)
    assert pictures(outputs) >= CHECKS[path.stem].pictures
    assert "Warning" not in said(outputs) and "Traceback" not in said(outputs)
    assert sorted(small_set.rglob("*")) == before, "it wrote into the user's folder"


@pytest.mark.timeout(MOST_SECONDS)
def test_the_first_one_runs_where_only_the_packages_have_pictures(tmp_path: Path) -> None:
    outputs = run(FOLDER / "01_quickstart.ipynb", "builtin", tmp_path)
    assert "Warning" not in said(outputs)
    assert "astronaut.png: 1 face" in said(outputs)
