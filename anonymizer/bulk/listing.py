"""Which files of a place are to be processed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from anonymizer.bulk.places import FoundFile, Place
from anonymizer.pipeline.jobs.listing import MEDIA_ENDINGS, is_media, list_jobs

__all__ = ["Listing", "list_files"]

#: so many files at a time are looked into, where their names do not tell what they are
_THREADS = 16
#: where results go that lie on no disk of this machine
_NOWHERE = Path(os.devnull) / "results"
_LISTED = pa.schema([("input", pa.string()), ("size", pa.int64())])


@dataclass
class Listing:
    """What a place holds.

    Attributes:
        files: a table with `input` and `size` of each file to be processed.
        unsearched: sentences about what was not searched or cannot be taken, by name.
        left_alone: number of files that are neither images nor videos, hidden ones among them.
    """

    files: pa.Table
    unsearched: dict[str, str] = field(default_factory=dict)
    left_alone: int = 0


def list_files(source: Place, target: Place, *, leave_out: Place) -> Listing:
    """List the images and videos of a place.

    Args:
        source: where to look.
        target: where results go. It is passed over if it lies in the source.
        leave_out: another place that is passed over: the manifest.

    Raises:
        ValueError: results could replace originals.
        OSError: the source cannot be listed.
    """
    if source.local is not None:
        return _list_local(source.local, target)
    if source.is_same_or_inside(target):
        raise ValueError("the output folder holds the input folder: results could replace originals")
    listing = Listing(_LISTED.empty_table())
    without = [place for place in (target, leave_out) if place.is_same_or_inside(source)]
    listing.files = _table(_media(source, without, listing), listing)
    return listing


def _list_local(folder: Path, target: Place) -> Listing:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    listing = Listing(_LISTED.empty_table())
    others: list[Path] = []
    jobs, _ = list_jobs(
        folder, target.local or _NOWHERE,
        on_unsearched=lambda path, why: listing.unsearched.__setitem__(str(path), why),
        on_left_alone=others.append,
    )  # fmt: skip
    listing.left_alone = len(others)
    listing.files = _table(
        (FoundFile(job.source.relative_to(folder).as_posix(), _size(job.source)) for job in jobs), listing
    )
    return listing


def _size(file: Path) -> int:
    """The size of a file; -1 if it cannot be looked at, which whoever opens it tells."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _media(source: Place, without: list[Place], listing: Listing) -> Iterator[FoundFile]:
    """The files that are to be processed; the others are counted."""
    hidden_from = [place.address.partition("?")[0].rstrip("/") + "/" for place in without]
    root = source.address.partition("?")[0].rstrip("/")
    asked: list[FoundFile] = []
    for found in source.files():
        if any(f"{root}/{found.name}".startswith(prefix) for prefix in hidden_from):
            continue
        if any(part.startswith(".") for part in PurePosixPath(found.name).parts):
            listing.left_alone += 1
        elif PurePosixPath(found.name).suffix.lower() in MEDIA_ENDINGS:
            yield found
        else:
            asked.append(found)
    with ThreadPoolExecutor(_THREADS) as threads:
        answers = threads.map(lambda found: is_media(found.name, partial(source.head, found.name)), asked)
        for found, answer in zip(asked, answers, strict=True):
            if answer:
                yield found
            else:
                listing.left_alone += 1


def _table(found: Iterable[FoundFile], listing: Listing) -> pa.Table:
    """A table of the files, without those whose names are no text: a manifest cannot hold these."""
    names: list[str] = []
    sizes: list[int] = []
    for each in found:
        try:
            each.name.encode()
        except UnicodeEncodeError:
            shown = each.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            listing.unsearched[shown] = "The name of the file is no UTF-8 text."
            continue
        names.append(each.name)
        sizes.append(each.size)
    return pa.table([pa.array(names, pa.string()), pa.array(sizes, pa.int64())], schema=_LISTED)


def without_done(listed: pa.Table, done: pa.Table) -> pa.Table:
    """The files of a listing that have no row with a result, or whose size has changed since.

    Args:
        listed: `input`, `size`.
        done: `input`, `size` of the manifest.
    """

    def key(table: pa.Table) -> pa.ChunkedArray:
        return pc.binary_join_element_wise(pc.cast(table["size"], pa.string()), table["input"], " ")

    return listed.filter(pc.invert(pc.is_in(key(listed), value_set=key(done).combine_chunks())))
