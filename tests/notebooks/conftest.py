"""What the tests of notebooks share."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from anonymizer.examples import samples
from tests.web.test_page import browser  # noqa: F401 (a fixture)


@pytest.fixture(scope="session")
def small_set(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: fifteen labelled pictures as COCO (`set.json`, `set/`), and a video of two seconds."""
    folder = tmp_path_factory.mktemp("notebooks") / "pictures"
    wanted = {
        str(each.relative_to(data / "val")) for each in samples.pictures(data, 18) if data / "val" in each.parents
    }
    rows = json.loads((data / "val.json").read_bytes())
    rows["images"] = [each for each in rows["images"] if each["file_name"] in wanted]
    numbers = {each["id"] for each in rows["images"]}
    rows["annotations"] = [each for each in rows["annotations"] if each["image_id"] in numbers]
    for name in wanted:
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / "val" / name, folder / "set" / name)
    (folder / "set.json").write_text(json.dumps(rows))
    samples.clip(data / "videos" / "person-walking.mp4", folder / "walking.mp4", start_s=6, seconds=2)
    return folder


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a user's shell: nothing of the test's own, and nothing of the person's who runs it."""
    ours = ("ANONYMIZER_", "DJANGO_", "JUPYTER", "IPYTHON", "PYTEST_", "MAKE", "MPL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more
