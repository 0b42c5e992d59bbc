"""`Manifest`: its parts, and what a later run reads of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from anonymizer.bulk.listing import without_done
from anonymizer.bulk.manifest import SCHEMA, Manifest, rows_table
from anonymizer.bulk.places import Place


def rows(*names: str, error: str | None = None) -> pa.Table:
    result = None if error else "result"
    return rows_table([{"input": name, "size": 3, "result": result, "error": error} for name in names])


def test_a_killed_driver_loses_the_rows_since_the_last_part(tmp_path: Path) -> None:
    book = Manifest(Place.of(tmp_path), {"options": "a"})
    book.add(rows("a", "b"))
    book.flush()
    book.add(rows("c"))
    read = pd.read_parquet(tmp_path)
    assert list(read.input) == ["a", "b"] and list(read.columns) == SCHEMA.names
    assert Manifest(Place.of(tmp_path), {}).abouts() == [{"options": "a"}]


def test_only_rows_with_a_result_are_done(tmp_path: Path) -> None:
    book = Manifest(Place.of(tmp_path), {})
    book.add(rows("a", "b"))
    book.add(rows("broken", error="It is damaged."))
    book.flush()
    assert book.done()["input"].to_pylist() == ["a", "b"]
    listed = pa.table({"input": ["a", "b", "broken", "new"], "size": [3, 4, 3, 3]})
    # b has another size than it had
    assert without_done(listed, book.done())["input"].to_pylist() == ["b", "broken", "new"]


def test_a_file_that_is_processed_again_loses_its_row_before(tmp_path: Path) -> None:
    book = Manifest(Place.of(tmp_path), {})
    for name in ("a", "b"):
        book.add(rows(name, f"{name}2"))
        book.flush()
    book.drop(pa.array(["a", "a2", "b"]))
    assert list(pd.read_parquet(tmp_path).input) == ["b2"]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_manifest_has_nothing_done(tmp_path: Path) -> None:
    assert len(Manifest(Place.of(tmp_path / "none"), {}).done()) == 0
