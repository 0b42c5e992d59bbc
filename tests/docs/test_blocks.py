"""Every block of commands and of Python in README and docs is run, as a reader would, one after the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from anonymizer.examples import builtin
from tests.clip_maker import Clip, make
from tests.conftest import ROOT, Server, serving
from tests.docs.blocks import Block, blocks, documents

pytestmark = pytest.mark.slow

#: a port that documents name, and where the test's server is instead
ADDRESS = "http://127.0.0.1:7000"
#: the last one: once there is a token, the server answers nobody without one
LAST = "security.md"
RUN = sorted((each for each in documents() if blocks(each)), key=lambda each: each.name == LAST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has: a checkout's `.venv`, a photo, a folder of photos, a clip, and labelled pictures."""
    astronaut, hopper, *_ = builtin.pictures()
    (tmp_path / "photos").mkdir()
    shutil.copy(hopper, tmp_path / "photos" / "hopper.jpg")
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(astronaut)))
    make(Clip(".mp4"), tmp_path / "clip.mp4")
    builtin.labelled(tmp_path / "my-pictures")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("shared-server")) as running:
        yield running


def run(block: Block, folder: Path, server: Server, python: list[str]) -> None:
    """Run a block; the Python of a document goes on where its last block ended."""
    media = folder / "media"
    if not media.is_symlink():
        media.symlink_to(server.folder)
    code = block.code.replace(ADDRESS, server.url)
    if block.language == "python":
        python.append(code)
        command = [sys.executable, "-c", "\n".join(python)]
    else:
        command = ["bash", "-euo", "pipefail", "-c", code]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "ANONYMIZER_DATA_DIR": str(server.folder), "ANONYMIZER_FETCH_SECONDS": "0",
    }  # fmt: skip
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, f"line {block.line}:\n{code}\n{ran.stdout[-1500:]}\n{ran.stderr[-3000:]}"


@pytest.mark.parametrize("document", [pytest.param(each, id=str(each.relative_to(ROOT))) for each in RUN])
def test_every_block_runs(document: Path, folder: Path, shared: Server) -> None:
    python: list[str] = []
    for block in blocks(document):
        run(block, folder, shared, python)


def test_documents_have_blocks_that_run() -> None:
    assert {"README.md", "tutorial.md", "videos.md", "folders.md", "thresholds.md", "security.md"} <= {
        each.name for each in RUN
    }
