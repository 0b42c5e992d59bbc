"""One bulk run: list, leave out what is done, process the rest on the cluster, and keep a manifest."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from anonymizer.bulk.attempts import start_ledger
from anonymizer.bulk.cluster import LOCAL, ActorPool, BulkFailed, connected, quiet_data
from anonymizer.bulk.listing import Listing, list_files, without_done
from anonymizer.bulk.manifest import Manifest, rows_table
from anonymizer.bulk.places import Place
from anonymizer.bulk.summary import BulkSummary
from anonymizer.bulk.worker import FileWorker, WorkerSetup
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.options.options import Options

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["MANIFEST", "OnRows", "anonymise"]

#: the folder of the manifest in the folder of the results
MANIFEST = "_manifest"
#: files that one execution of Ray Data works on: the driver holds a reference to each batch of them
_WAVE_FILES = 1_000_000
#: what the names of videos end with; a video with another ending is processed among the images
_VIDEO_ENDINGS = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .m2ts .m2t .mts .ts .3gp .3g2 .wmv .asf .flv .mpg .mpeg .mxf .vob".split()
)

#: is called with new rows of the manifest, and the figures so far
OnRows = Callable[[pa.Table, BulkSummary], None]


def anonymise(
    source: str | os.PathLike[str] | Dataset,
    options: Options | None = None,
    *,
    output: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    address: str = LOCAL,
    pool: ActorPool | None = None,
    overwrite: bool = False,
    noise_key: bytes | None = None,
    make_anonymizer: Callable[..., Anonymizer] = Anonymizer,
    on_rows: OnRows | None = None,
) -> BulkSummary:
    """Anonymise a folder or a bucket on a Ray cluster. A file that fails does not end the others.

    Every file goes the way of the local command, so that the results are the same bytes with the same `noise_key`. A
    file with a row and a result in the manifest is skipped, unless its size has changed.

    Examples:
        >>> anonymise("s3://bucket/raw", Options(face=True), output="s3://bucket/clean", address="auto")

    Args:
        source: a folder or the address of one (`Place`); or a Ray dataset with a column `path`, of files in `root`.
        options: what is redacted, and how; default: all installed object types are blurred.
        output: the folder of the results, which keeps the sub-folders of the input.
        root: the folder that the paths of a dataset lie in.
        manifest: its folder. Default: `_manifest` in the output.
        address: of the cluster: `local`, `auto`, `HOST:PORT`. An open connection of this process is used instead.
        pool: how actors share the cluster; default: `ActorPool()`.
        overwrite: process files again that have a result.
        noise_key: secret of the noise (`Anonymizer`); default: a random one for the run.
        make_anonymizer: is called in each actor with `noise_key`; it must be picklable.
        on_rows: is called with the rows of each batch, after they were added to the manifest.

    Returns:
        The figures of the run; the manifest has the rest.

    Raises:
        BulkFailed: Ray is missing, the cluster has no room, the manifest is one of other options, or actors die.
        InvalidParameter: an address is not allowed.
        ValueError: results could replace originals.
        OSError: the input cannot be listed, or the manifest not be written.
    """
    options, pool = options or Options(), pool or ActorPool()
    with connected(address), quiet_data():
        place = Place.of(_folder_of(source, root))
        target = Place.of(output)
        kept = Place.of(manifest) if manifest is not None else target.below(MANIFEST)
        book = Manifest(kept, {"input": place.address, "output": target.address, "options": _described(options)})
        listing = list_files(place, target, leave_out=kept)
        if not isinstance(source, str | os.PathLike):
            listing.files = _chosen(listing, source, place)
        summary = BulkSummary(
            kept.address, total=len(listing.files), left_alone=listing.left_alone, unsearched=listing.unsearched
        )
        todo = _plan(listing, book, target, summary, overwrite=overwrite)
        run = _BulkRun(book, summary, on_rows)
        make = partial(make_anonymizer, noise_key=noise_key or secrets.token_bytes(32))
        setup = WorkerSetup(place, target, options, make, pool.threads, pool.together, start_ledger())
        todo = run.refuse_taken(todo, listing.files, options)
        is_video = _is_video(todo)
        try:
            for files, size in ((todo.filter(pc.invert(is_video)), pool), (todo.filter(is_video), pool.of_videos())):
                run.process(files, setup, size)
        finally:
            # whatever ends the run: what is done keeps its row
            book.flush()
    return summary


class _BulkRun:
    """What the passes over images and over videos share."""

    def __init__(self, book: Manifest, summary: BulkSummary, on_rows: OnRows | None) -> None:
        self._book, self._summary, self._on_rows = book, summary, on_rows

    def refuse_taken(self, todo: pa.Table, listed: pa.Table, options: Options) -> pa.Table:
        """Fail the files whose masks would have the names of other ones' results; returns the others."""
        taken = pa.array([False] * len(todo), pa.bool_())
        names = listed["input"].combine_chunks()
        for kind, saved in (("binary", options.save_mask.binary), ("instance", options.save_mask.instance)):
            for ending in (".png", ".mkv") if saved else ():
                masks = pc.binary_join_element_wise(todo["input"].combine_chunks(), f"{kind}-mask{ending}", ".")
                taken = pc.or_(taken, pc.is_in(masks, value_set=names))
        sentence = "Its mask would have the name of another one's result."
        refused = [
            {"input": name, "error": sentence, "seconds": 0.0} for name in todo.filter(taken)["input"].to_pylist()
        ]
        if refused:
            self.add(rows_table(refused))
        return todo.filter(pc.invert(taken))

    def process(self, files: pa.Table, setup: WorkerSetup, pool: ActorPool) -> None:
        """Process files, and add their rows.

        Raises:
            BulkFailed: the cluster cannot do it.
        """
        for first in range(0, len(files), _WAVE_FILES):
            for rows in _rows(files.slice(first, _WAVE_FILES), setup, pool, self._summary.start):
                self.add(rows)

    def add(self, rows: pa.Table) -> None:
        self._book.add(rows)
        self._summary.add(rows)
        if self._on_rows is not None:
            self._on_rows(rows, self._summary)


def _rows(files: pa.Table, setup: WorkerSetup, pool: ActorPool, started: Callable[[], None]) -> Iterator[pa.Table]:
    """The rows of the files, as batches end: the dataset itself."""
    import ray
    from ray.exceptions import RayError

    # one block for each batch: it is what Ray gives to an actor, and what it runs again
    count = -(-len(files) // pool.batch_files)
    rows = ray.data.from_items(files.select(["input"]).to_pylist(), override_num_blocks=count).map_batches(
        FileWorker, batch_size=None, batch_format="pyarrow", compute=pool.strategy(count),
        num_cpus=pool.num_cpus, num_gpus=pool.num_gpus or None,
        fn_constructor_kwargs={"setup": replace(setup, threads=pool.threads, together=pool.together)},
    )  # fmt: skip
    started()
    try:
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except RayError as error:
        raise BulkFailed(f"The cluster could not go on: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _plan(listing: Listing, book: Manifest, target: Place, summary: BulkSummary, *, overwrite: bool) -> pa.Table:
    """The files that are to be processed. Rows that they have are removed.

    Raises:
        BulkFailed: the manifest is one of other options.
    """
    for about in book.abouts():
        if not overwrite and about.get("options") != book.about["options"]:
            raise BulkFailed(
                f"The manifest {book.place.address} is one of a run with other options: "
                "process everything again with overwrite, or choose another output."
            )
    if overwrite:
        todo = listing.files
    else:
        done = book.done()
        if len(done):
            there = pa.array([found.name for found in target.files()], pa.string())
            done = done.filter(pc.is_in(done["result"], value_set=there))
        todo = without_done(listing.files, done)
    summary.skipped = len(listing.files) - len(todo)
    book.drop(todo["input"].combine_chunks())
    return todo


def _chosen(listing: Listing, dataset: Dataset, place: Place) -> pa.Table:
    """The files of a listing that a dataset names."""
    root = place.address.partition("?")[0].rstrip("/") + "/"
    names = [
        row.removeprefix(root)
        for batch in dataset.select_columns(["path"]).iter_batches(batch_size=None, batch_format="pyarrow")
        for row in batch["path"].to_pylist()
    ]
    return listing.files.filter(pc.is_in(listing.files["input"], value_set=pa.array(names, pa.string())))


def _folder_of(source: str | os.PathLike[str] | Dataset, root: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    if isinstance(source, str | os.PathLike):
        return source
    if root is None:
        raise ValueError("a dataset needs root, the folder of its files")
    return root


def _is_video(files: pa.Table) -> pa.Array:
    names: Sequence[str] = files["input"].to_pylist()
    return pa.array([PurePosixPath(name).suffix.lower() in _VIDEO_ENDINGS for name in names], pa.bool_())


def _described(options: Options) -> dict[str, Any]:
    """The options as text, to compare those of two runs."""
    return {name: str(value) for name, value in asdict(options).items()}
