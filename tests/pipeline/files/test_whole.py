"""`files.whole`: files appear whole, and what a killed process left is removed, but nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anonymizer.pipeline.files.whole import move_all, remove_leftovers, side_file, temporary_folder, write_whole
from tests.conftest import ROOT

#: a process that holds a temporary folder and a half-written file until it is killed
HOLD = """
import sys, time
from pathlib import Path
from anonymizer.pipeline.files import whole
parent = Path(sys.argv[1])
part, descriptor = whole._create(parent, is_folder=False)
with whole.temporary_folder(parent) as folder:
    (folder / "anonymised.mp4").write_bytes(b"half")
    print("held", flush=True)
    time.sleep(300)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_and_replaces_another(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.bin", b"first")
    write_whole(tmp_path / "new" / "a.bin", b"second")
    assert names(tmp_path / "new") == ["a.bin"]
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"second"


def test_a_file_that_cannot_be_moved_to_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "place" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="place"):
        write_whole(tmp_path / "place", b"content")
    assert names(tmp_path) == ["place"]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127 + "b", "图" * 85])
def test_names_of_255_bytes_can_be_written(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) == 255
    write_whole(tmp_path / name, b"content")
    assert names(tmp_path) == [name]


def test_the_name_of_a_side_file_is_cut_at_a_character_and_stays_unique(tmp_path: Path) -> None:
    assert side_file(tmp_path / "a.jpg", ".json") == tmp_path / "a.jpg.json"
    assert side_file(tmp_path / ("a" * 250), ".json").name == "a" * 250 + ".json"
    # they differ in what is cut off only
    first, second = (side_file(tmp_path / ("图" * 82 + end), ".binary-mask.png") for end in ("一.jpg", "二.jpg"))
    assert first != second
    for place in (first, second):
        assert 252 <= len(os.fsencode(place.name)) <= 255
        assert place.name.startswith("图" * 70)
        assert place.name.endswith(".binary-mask.png")
        place.write_bytes(b"mask")
    assert side_file(tmp_path / ("图" * 82 + "一.jpg"), ".binary-mask.png") == first


def test_what_another_process_works_on_stays_until_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    for name in (".anonymizer-notes.part", ".photo.jpg.part", ".anonymizer-0123456789abcdef.part.txt", "a.jpg"):
        (tmp_path / name).write_bytes(b"not ours")
    (tmp_path / ".anonymizer-0123456789abcdef.part").symlink_to(tmp_path / "keep")
    before = names(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            held = set(names(tmp_path)) - set(before)
            assert len(held) == 2
            assert remove_leftovers([tmp_path]) == []
            assert set(names(tmp_path)) == {*before, *held}
        finally:
            holder.send_signal(signal.SIGKILL)
    assert {path.name for path in remove_leftovers([tmp_path, tmp_path, tmp_path / "missing"])} == held
    assert names(tmp_path) == before


def test_a_temporary_folder_is_removed_after_an_interruption_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), temporary_folder(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        raise KeyboardInterrupt
    assert names(tmp_path / "out") == []


def test_files_are_moved_all_or_none(tmp_path: Path) -> None:
    files = []
    for name in ("mask", "result"):
        (tmp_path / f"{name}.new").write_text(name)
        files.append((tmp_path / f"{name}.new", tmp_path / name))
    (tmp_path / "result" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="result"):
        move_all(files)
    assert names(tmp_path) == ["result", "result.new"]
    (tmp_path / "mask.new").write_text("mask")
    (tmp_path / "result" / "in the way").rmdir()
    (tmp_path / "result").rmdir()
    move_all(files)
    assert names(tmp_path) == ["mask", "result"]
