"""Who may import whom (design.md), and what the package offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import anonymizer

PACKAGE = Path(anonymizer.__file__).parent
#: a part, and the parts above it that it must not know
ABOVE = {
    "pipeline": ["service", "api", "web", "admin", "models", "management", "evaluation", "training", "checks", "apps"],
    "service": ["api", "web", "admin", "management"],
    "models.py": ["service", "api", "web", "admin", "management"],
}


def imported(file: Path) -> set[str]:
    """Full names of what a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found |= {f"{node.module}.{each.name}" for each in node.names} | {str(node.module)}
    return found


def files(part: str) -> list[Path]:
    place = PACKAGE / part
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@pytest.mark.parametrize("part", ABOVE)
def test_a_part_knows_nothing_above_it(part: str) -> None:
    for file in files(part):
        for name in imported(file):
            assert not any(
                name == f"anonymizer.{above}" or name.startswith(f"anonymizer.{above}.") for above in ABOVE[part]
            ), f"{file} imports {name}"


def test_the_pipeline_imports_no_django_and_no_sockets() -> None:
    forbidden = ("django", "rest_framework", "requests", "socket", "celantur_site")
    for file in files("pipeline"):
        found = {name for name in imported(file) if name.split(".")[0] in forbidden}
        # it downloads; nothing but commands imports it
        assert found == ({"requests"} if file.name == "model_fetch.py" else set()), file


def test_only_commands_download() -> None:
    fetch = "anonymizer.pipeline.model_fetch"
    users = {file.name for file in PACKAGE.rglob("*.py") if any(name.startswith(fetch) for name in imported(file))}
    assert users == {"models.py"}


def test_the_library_works_without_django(tmp_path: Path) -> None:
    script = """
import sys
from anonymizer import Anonymizer, Detections, ObjectType, Options, load_image, show
assert "django" not in sys.modules, "Django was imported"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_django_starts_without_torch() -> None:
    script = "import django; django.setup(); import sys; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True,
        env={"DJANGO_SETTINGS_MODULE": "celantur_site.settings"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_name_that_is_offered_is_there() -> None:
    for name in anonymizer.__all__:
        assert getattr(anonymizer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        anonymizer.nothing  # noqa: B018
