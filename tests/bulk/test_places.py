"""`Place` and `list_files`: folders and buckets, what is taken of them, and files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anonymizer.bulk.listing import list_files
from anonymizer.bulk.places import Place
from anonymizer.pipeline.errors import InvalidParameter
from tests.pictures import drawn, encoded


def test_a_local_folder_gives_the_files_of_the_local_command(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/picture", ".hidden.jpg"):
        (tmp_path / "in" / name).write_bytes(encoded(drawn(), "PNG"))
    (tmp_path / "in" / "notes.txt").write_text("text")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.jpg")).write_bytes(encoded())
    listing = list_files(Place.of(tmp_path / "in"), Place.of(tmp_path / "out"), leave_out=Place.of(tmp_path / "m"))
    assert listing.files["input"].to_pylist() == ["a.jpg", "sub/picture"]
    assert listing.files["size"].to_pylist() == [len(encoded(drawn(), "PNG"))] * 2
    assert listing.left_alone == 2
    assert listing.unsearched == {"\\xff.jpg": "The name of the file is no UTF-8 text."}


@pytest.mark.parametrize("target", ["in", "."])
def test_results_never_replace_originals(tmp_path: Path, target: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="replace originals"):
        list_files(Place.of(tmp_path / "in"), Place.of(tmp_path / target), leave_out=Place.of(tmp_path / "m"))


def test_other_file_systems_come_from_fsspec(tmp_path: Path) -> None:
    place = Place.of("memory://bulk/raw")
    (tmp_path / "a").write_bytes(b"content")
    place.deliver(tmp_path / "a", "sub/a")
    assert [(found.name, found.size) for found in place.files()] == [("sub/a", 7)]
    place.fetch("sub/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content" == place.head("sub/a", 100)
    place.remove("sub/a")
    assert not place.has("sub/a")


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="nowhere://bucket"):
        Place.of("nowhere://bucket")


def test_places_keep_their_query() -> None:
    assert Place("s3://b/raw?region=x").below("_manifest") == Place("s3://b/raw/_manifest?region=x")


def test_a_file_appears_in_a_bucket_when_it_is_complete(s3: str, tmp_path: Path) -> None:
    place = Place.of(f"s3://whole/out{s3}")
    place._open()[0].create_dir("whole")
    with pytest.raises(FileNotFoundError):
        place.deliver(tmp_path / "none", "large")
    assert not place.has("large")
    # in several parts
    large = tmp_path / "large"
    large.write_bytes(os.urandom(12 << 20))
    place.deliver(large, "large")
    assert [found.size for found in place.files()] == [12 << 20]
    place.fetch("large", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == large.read_bytes()
