"""The manifest of a bulk run: Parquet files with one row for each file, which a later run reads to go on.

It is written in parts. A part appears whole or not at all, so that a driver that is killed loses the rows since the
last part: their files are processed again.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from anonymizer.bulk.places import Place

__all__ = ["SCHEMA", "Manifest"]

SCHEMA = pa.schema(
    [
        # below the input folder
        pa.field("input", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        # SHA-256, 64 hexadecimal digits
        pa.field("sum", pa.string()),
        # below the output folder; null: there is no result
        pa.field("result", pa.string()),
        pa.field("result_sum", pa.string()),
        pa.field("counts", pa.map_(pa.string(), pa.int64())),
        pa.field("models", pa.list_(pa.string())),
        pa.field("warnings", pa.list_(pa.string())),
        # null: the file is done
        pa.field("error", pa.string()),
        pa.field("seconds", pa.float64()),
    ]
)
#: a part is written when it has so many rows, or when its first row is so old
_MOST_ROWS, _MOST_S = 10_000, 30.0
_ENDING = ".parquet"


class Manifest:
    """The manifest in a folder.

    Args:
        place: the folder.
        about: what all rows have in common: it is kept as the metadata of each part.
    """

    def __init__(self, place: Place, about: Mapping[str, object]) -> None:
        self.place = place
        self.about = dict(about)
        self._schema = SCHEMA.with_metadata({"anonymizer": json.dumps(about, sort_keys=True)})
        self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        self._parts = 0
        self._rows: list[pa.Table] = []
        self._oldest_s = 0.0

    def abouts(self) -> list[dict[str, object]]:
        """What the parts that are there have in common, each different one once.

        Raises:
            OSError: a part cannot be read.
        """
        found = {}
        for name in self._names():
            with tempfile.TemporaryDirectory() as folder:
                text = (parquet.read_schema(self._fetched(name, folder)).metadata or {}).get(b"anonymizer", b"{}")
            found[text] = json.loads(text)
        return list(found.values())

    def done(self) -> pa.Table:
        """Read the rows that have a result: `input`, `size`, `result`.

        Raises:
            OSError: a part cannot be read.
        """
        columns = ["input", "size", "result"]
        tables = [SCHEMA.empty_table().select(columns)]
        for name in self._names():
            with tempfile.TemporaryDirectory() as folder:
                table = parquet.read_table(self._fetched(name, folder), columns=columns, partitioning=None)
            tables.append(table.filter(pc.is_valid(table["result"])).replace_schema_metadata(None))
        return pa.concat_tables(tables)

    def drop(self, inputs: pa.Array) -> None:
        """Remove the rows of files that will be processed again, so that each file has one row.

        Args:
            inputs: their names.

        Raises:
            OSError: a part cannot be read or written.
        """
        for name in self._names():
            with tempfile.TemporaryDirectory() as folder:
                table = parquet.read_table(self._fetched(name, folder), partitioning=None)
                kept = table.filter(pc.invert(pc.is_in(table["input"], value_set=inputs)))
                if len(kept) == 0:
                    self.place.remove(name)
                elif len(kept) < len(table):
                    self._write(kept, name)

    def add(self, rows: pa.Table) -> None:
        """Add rows; now and then a part is written.

        Raises:
            OSError: a part cannot be written.
        """
        if not self._rows:
            self._oldest_s = time.monotonic()
        self._rows.append(rows.cast(SCHEMA))
        if sum(map(len, self._rows)) >= _MOST_ROWS or time.monotonic() - self._oldest_s >= _MOST_S:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written yet.

        Raises:
            OSError: the part cannot be written.
        """
        if self._rows:
            table = pa.concat_tables(self._rows).replace_schema_metadata(self._schema.metadata)
            self._write(table, f"{self._run}-{self._parts:06d}{_ENDING}")
            self._parts += 1
            self._rows = []

    def _names(self) -> list[str]:
        return sorted(found.name for found in self.place.files() if found.name.endswith(_ENDING))

    def _fetched(self, name: str, folder: str) -> Path:
        if self.place.local is not None:
            return self.place.local / name
        target = Path(folder) / "part.parquet"
        self.place.fetch(name, target)
        return target

    def _write(self, table: pa.Table, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "part.parquet"
            parquet.write_table(table, file, compression="zstd")
            self.place.deliver(file, name)


def rows_table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Make a table of rows, each a mapping with the names of `SCHEMA`."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)
