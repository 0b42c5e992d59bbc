"""The wheel: what is in it, and that it anonymises an image where there is no checkout."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from setuptools import find_packages

import anonymizer
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

#: the files that a wheel is made of
SOURCES = (
    "anonymizer",
    "celantur_site",
    "models",
    "pyproject.toml",
    "setup.py",
    "requirements.txt",
    "README.md",
    "LICENSE",
)
IGNORED = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.onnx", "*.pth", "*.jit", "*.part")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from a copy of the checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "models" / "local.safetensors").write_bytes(b"weights of a user's own")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel; the packages that it needs are those of this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    command = [
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    packages = next(folder.glob("lib/python*/site-packages"))
    # only its packages: the line of an editable installation of the checkout is not read from there
    (packages / "packages-of-the-tests.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def run(command: Path, *words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    hidden = ("ANONYMIZER_", "DJANGO_", "PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env |= {"HOME": str(folder / "home"), "XDG_DATA_HOME": str(folder / "share")}
    return subprocess.run(
        [str(command), *map(str, words)], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of a person, from a package."""
    from skimage import data

    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def test_it_has_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {"anonymizer", "celantur_site", f"anonymizer-{anonymizer.__version__}.dist-info"}
    packages = find_packages(str(ROOT), include=["anonymizer", "anonymizer.*", "celantur_site"])
    assert {f"{name.replace('.', '/')}/__init__.py" for name in packages} <= names
    assert {f"anonymizer/model_files/{name}" for name in ("registry.toml", "README.md")} <= names
    weights = {Path(name).name for name in names if name.endswith((".safetensors", ".onnx", ".pth", ".jit"))}
    assert weights == {"own-3.safetensors", "own-detector.safetensors", "own-masks.safetensors"}
    assert {
        "anonymizer/py.typed",
        "anonymizer/templates/anonymizer/page.html",
        "anonymizer/evaluation/reporting/report.html.jinja",
        f"anonymizer-{anonymizer.__version__}.dist-info/licenses/LICENSE",
    } <= names


def test_its_metadata_name_the_version_the_command_and_what_it_needs(wheel: Path) -> None:
    place = f"anonymizer-{anonymizer.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        metadata = email.message_from_bytes(opened.read(f"{place}/METADATA"))
        commands = opened.read(f"{place}/entry_points.txt").decode()
    assert (metadata["Version"], metadata["Requires-Python"]) == (anonymizer.__version__, ">=3.11")
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    assert len(metadata.get_all("Requires-Dist", [])) == len([line for line in lines if line])
    assert commands.split() == ["[console_scripts]", "anonymizer", "=", "anonymizer.cli:main"]


def test_the_command_anonymises_an_image(installed: Path, photo: Path, tmp_path: Path) -> None:
    done = run(installed / "anonymizer", "--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"anonymizer {anonymizer.__version__}\n"), done.stderr
    done = run(installed / "anonymizer", "run", "photo.png", "--output", "out", "--face", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "done photo.png: 1 face" in done.stdout
    before, after = (np.asarray(Image.open(path)) for path in (photo, tmp_path / "out" / "photo.png"))
    # the face of the picture
    assert (before[90:150, 200:250] != after[90:150, 200:250]).mean() > 0.9
    assert (before[300:, :100] == after[300:, :100]).all()
    # neither a database nor a key was needed
    assert not (tmp_path / "share").exists()


def test_the_library_anonymises_an_image(installed: Path, photo: Path, tmp_path: Path) -> None:
    script = (
        "from anonymizer import Anonymizer, Options\n"
        "import anonymizer; print(anonymizer.__file__)\n"
        "Anonymizer().image('photo.png', Options(face=True)).save('out.png')\n"
    )
    done = run(installed / "python", "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)
    assert (np.asarray(Image.open(photo)) != np.asarray(Image.open(tmp_path / "out.png"))).any()


def test_data_of_an_installed_package_are_in_the_users_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "anonymizer", "manage", "migrate", "--verbosity", "0", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "share" / "anonymizer" / "db.sqlite3").is_file()
    done = run(installed / "anonymizer", "models", "where", folder=tmp_path)
    assert f"own-2: {installed.parent}" in done.stdout
