"""Who may import whom (CONTRIBUTING.md), that nothing is imported in a circle, and what the package offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import anonymizer
from anonymizer import evaluation

PACKAGE = Path(anonymizer.__file__).parent
#: a part, and the parts above it that it must not import
_DJANGO = ("service", "api", "web", "admin", "models", "management", "checks", "apps", "cli")
ABOVE = {
    "pipeline": (*_DJANGO, "evaluation", "training", "examples", "bulk"),
    "bulk": (*_DJANGO, "evaluation", "training", "examples"),
    "evaluation": (*_DJANGO, "training", "examples", "bulk"),
    "training": (*_DJANGO, "bulk"),
    "examples": (*_DJANGO, "evaluation", "training", "bulk"),
    "service": ("api", "web", "admin", "management", "cli", "evaluation", "training", "bulk"),
    "models": ("service", "api", "web", "admin", "management", "cli", "pipeline", "evaluation", "training", "bulk"),
    "stores": (*_DJANGO, "evaluation", "training", "examples", "bulk"),
}
#: the longest that a module may be, in lines
MOST_LINES = 400
#: the most modules that a folder may hold, `__init__.py` left out
MOST_MODULES = 14
#: the most arguments that a function of `pipeline/video` may have
MOST_ARGUMENTS = 7


def imported(file: Path) -> set[str]:
    """Full names of what a file imports, wherever in it, for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def files(part: str) -> list[Path]:
    place = PACKAGE / part
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """By module of ours, the modules of ours that it imports."""
    modules = {module_of(file): file for file in files(".")}

    def of_ours(names: set[str], itself: str) -> Iterator[str]:
        for name in names:
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name.startswith("anonymizer.") and name != itself:
                yield name

    def names(file: Path) -> set[str]:
        # a package that offers names of its modules at first use imports none of them by itself
        is_lazy = file.name == "__init__.py" and "lazy_exports" in file.read_text()
        return set() if is_lazy else imported(file)

    return {module: {*of_ours(names(file), module)} for module, file in modules.items()}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("part", ABOVE)
def test_a_part_knows_nothing_above_it(part: str) -> None:
    assert files(part)
    for file in files(part):
        for name in imported(file):
            assert not any(
                name == f"anonymizer.{above}" or name.startswith(f"anonymizer.{above}.") for above in ABOVE[part]
            ), f"{file} imports {name}"


def test_no_module_is_imported_in_a_circle() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert circle(import_graph()) == []


def test_no_package_of_the_pipeline_is_imported_in_a_circle() -> None:
    def package(module: str) -> str:
        parts = module.split(".")
        # modules that lie in `pipeline` itself stand for themselves
        return ".".join(parts[:3])

    packages: dict[str, set[str]] = {}
    for module, names in import_graph().items():
        if module.startswith("anonymizer.pipeline."):
            others = {package(name) for name in names if name.startswith("anonymizer.pipeline.")}
            packages.setdefault(package(module), set()).update(others - {package(module)})
    assert circle(packages) == []


def test_modules_and_folders_stay_small_enough_to_find_ones_way() -> None:
    for file in files("."):
        assert len(file.read_text().splitlines()) <= MOST_LINES, f"{file} has too many lines"
    for folder in {file.parent for file in files(".")}:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        if "migrations" not in folder.parts:
            assert len(modules) <= MOST_MODULES, f"{folder} has {len(modules)} modules"


def test_only_bulk_imports_ray_and_pyarrow() -> None:
    for file in files("."):
        found = {name for name in imported(file) if name.split(".")[0] in ("ray", "pyarrow", "fsspec")}
        # for types alone: `anonymizer run` and the service need neither
        of_types = file.relative_to(PACKAGE).as_posix() == "management/bulk_report.py"
        assert not found or of_types or "bulk" in file.relative_to(PACKAGE).parts, file


def test_bulk_imports_no_django() -> None:
    for file in files("bulk"):
        assert not {name for name in imported(file) if name.split(".")[0] in ("django", "celantur_site")}, file


def test_the_pipeline_imports_no_django_and_no_sockets() -> None:
    forbidden = ("django", "rest_framework", "requests", "socket", "celantur_site")
    for file in files("pipeline"):
        found = {name for name in imported(file) if name.split(".")[0] in forbidden}
        # it downloads; nothing but commands imports it
        allowed = {"requests"} if file.relative_to(PACKAGE).as_posix() == "pipeline/model_zoo/download.py" else set()
        assert found == allowed, file


def test_only_commands_download() -> None:
    fetch = "anonymizer.pipeline.model_zoo.download"
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


@pytest.mark.parametrize("package", [anonymizer, evaluation])
def test_every_name_that_is_offered_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018


def class_names(files_of: Iterable[Path]) -> dict[str, list[str]]:
    """By the name of a class, the files that have one; what Django finds by a fixed name is left out."""
    fixed = {"Command", "Meta", "Migration"}
    found: dict[str, list[str]] = {}
    for file in files_of:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name not in fixed:
                found.setdefault(node.name, []).append(str(file))
    return found


def test_no_two_classes_have_the_same_name() -> None:
    found = class_names(files("."))
    assert {"VideoJob", "Job", "DecodedFrame"} <= found.keys()
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_functions_of_videos_take_few_arguments() -> None:
    for file in files("pipeline/video"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = node.args
                names = {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
                assert len(names) <= MOST_ARGUMENTS, f"{file}: {node.name} takes {sorted(names)}"
