"""A bulk run on a cluster: its results, its manifest, and what happens when files, nodes and drivers fail."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from anonymizer import Options
from anonymizer.bulk import ActorPool, BulkFailed, BulkSummary, anonymise
from anonymizer.bulk.attempts import MOST_ATTEMPTS, start_ledger
from anonymizer.bulk.local_cluster import LocalCluster
from anonymizer.bulk.places import Place
from anonymizer.bulk.worker import FileWorker, WorkerSetup
from anonymizer.pipeline.folders import list_jobs, run_jobs
from tests.bulk.conftest import make_fast, make_slow, tree
from tests.pictures import drawn, encoded
from tests.videos import moving_square

pytestmark = [
    pytest.mark.slow,
    # Ray sets its own deprecated settings when it copies them
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]
KEY = b"a secret of the noise"


def put(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02d}.jpg").write_bytes(encoded(drawn(seed=number)))
    return folder


def without_durations(files: dict[str, bytes]) -> dict[str, object]:
    """Metadata without how long the work took."""

    def stable(content: bytes) -> object:
        read = json.loads(content)
        return {name: value for name, value in read.items() if name != "duration"} if isinstance(read, dict) else read

    return {name: stable(content) if name.endswith(".json") else content for name, content in files.items()}


def test_results_are_those_of_the_local_command_byte_for_byte(
    cluster: LocalCluster, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    originals = tmp_path / "in"
    (originals / "sub").mkdir(parents=True)
    for name, source in (("portrait.jpg", "portrait.jpg"), ("sub/kitchen.png", "kitchen.png")):
        with Image.open(data / "images" / source) as picture:
            picture.thumbnail((480, 480))
            picture.save(originals / name)
    (originals / "broken.jpg").write_bytes(encoded()[:900])
    (originals / "notes.txt").write_text("text")
    moving_square(originals / "clip.mp4", seconds=0.2, size_wh=(160, 120))
    key = tmp_path / "key"
    key.write_bytes(KEY)
    given = {"noise_key": key, "face": "true", "license_plate": "true", "save_mask": "binary"}
    with pytest.raises(CommandError, match=r"1 file\(s\) failed"):
        call_command("anonymize", str(originals), output=tmp_path / "local", **given)
    with pytest.raises(CommandError, match=r"1 file\(s\) failed") as failed:
        call_command("folder", input=str(originals), output=str(tmp_path / "bulk"), ray="auto", **given)
    assert failed.value.returncode == 1
    bulk, local = without_durations(tree(tmp_path / "bulk")), without_durations(tree(tmp_path / "local"))
    assert bulk.keys() == local.keys() and len(bulk) == 9
    # the Matroska file of a video's mask has a random id
    assert [name for name in bulk if bulk[name] != local[name]] == ["clip.mp4.binary-mask.mkv"]
    assert "3 done, 0 skipped (have a result), 1 failed, 1 other file(s) left alone" in capsys.readouterr().out

    rows = pd.read_parquet(tmp_path / "bulk" / "_manifest").set_index("input")
    assert sorted(rows.index) == ["broken.jpg", "clip.mp4", "portrait.jpg", "sub/kitchen.png"]
    for name, row in rows.drop("broken.jpg").iterrows():
        assert row["sum"] == hashlib.sha256((originals / str(name)).read_bytes()).hexdigest()
        assert row.result == name and pd.isna(row.error) and row.seconds > 0 and len(row.models)
        assert row.result_sum == hashlib.sha256((tmp_path / "bulk" / row.result).read_bytes()).hexdigest()
    assert dict(rows.loc["portrait.jpg"].counts)["face"] == 1
    assert pd.isna(rows.loc["broken.jpg"].result) and "Corrupt JPEG data" in rows.loc["broken.jpg"].error

    # only the repaired file is processed again, and it keeps one row
    (originals / "broken.jpg").write_bytes(encoded())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "bulk").rglob("*.*g")}
    call_command("folder", input=str(originals), output=str(tmp_path / "bulk"), ray="auto", **given)
    assert "1 done, 3 skipped (have a result), 0 failed" in capsys.readouterr().out
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "bulk").rglob("*.*g")}.items()
    again = pd.read_parquet(tmp_path / "bulk" / "_manifest").set_index("input")
    assert sorted(again.index) == sorted(rows.index) and again.loc["broken.jpg"].result == "broken.jpg"
    with pytest.raises(CommandError, match="other options"):
        call_command("folder", input=str(originals), output=str(tmp_path / "bulk"), ray="auto", face="true")


def test_a_run_that_has_nothing_to_do_says_so(cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    given: dict[str, Any] = {"output": tmp_path / "out", "make_anonymizer": make_fast}
    nothing = anonymise(tmp_path / "empty", **given)
    assert (nothing.done, nothing.skipped, nothing.failed) == (0, 0, 0)
    originals = put(tmp_path / "in", 2)
    assert anonymise(originals, **given).done == 2
    again = anonymise(originals, **given)
    assert (again.done, again.skipped, again.failed) == (0, 2, 0)


def test_a_killed_node_and_a_stopped_driver_lose_no_file(cluster: LocalCluster, tmp_path: Path) -> None:
    cluster.add_node()
    originals, out = put(tmp_path / "in", 24), tmp_path / "out"
    seen: list[str] = []

    def kill_then_stop(rows: Any, summary: BulkSummary) -> None:
        if not seen:
            cluster.kill_node()
        seen.extend(rows["input"].to_pylist())
        if len(seen) > 12:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"output": out, "pool": ActorPool(batch_files=2), "make_anonymizer": make_slow}
    with pytest.raises(KeyboardInterrupt):
        anonymise(originals, on_rows=kill_then_stop, **given)
    stopped = len(pd.read_parquet(out / "_manifest"))
    assert len(seen) == len(set(seen)) == stopped > 12
    # which files are done by then depends on what the killed node had in its hands
    gone = seen[0]
    (out / gone).unlink()
    rest = anonymise(originals, on_rows=lambda rows, _: seen.extend(rows["input"].to_pylist()), **given)
    assert (rest.done, rest.skipped, rest.failed) == (24 - stopped + 1, stopped - 1, 0)
    assert sorted(seen) == sorted([*(path.name for path in originals.iterdir()), gone])
    rows = pd.read_parquet(out / "_manifest")
    assert sorted(rows.input) == sorted(path.name for path in originals.iterdir())
    assert not list(out.rglob("*.part"))


def test_a_bucket_to_a_bucket(cluster: LocalCluster, s3: str, tmp_path: Path) -> None:
    import ray

    originals = put(tmp_path / "in", 3)
    (originals / "sub").mkdir()
    (originals / "sub" / "b").write_bytes(encoded(drawn(seed=9), "PNG"))
    (originals / "sub" / ".hidden.jpg").write_bytes(encoded())
    (originals / "notes.txt").write_text("text")
    (originals / "broken.jpg").write_bytes(b"")
    source, target = Place.of(f"s3://raw/a{s3}"), Place.of(f"s3://clean/out{s3}")
    for name, content in tree(originals).items():
        source._open()[0].create_dir("raw")
        source.deliver(originals / name, name)
        assert source.head(name, 100) == content[:100]
    target._open()[0].create_dir("clean")
    given: dict[str, Any] = {"output": target.address, "make_anonymizer": make_fast, "noise_key": KEY}
    summary = anonymise(source.address, Options(), **given)
    assert (summary.done, summary.failed, summary.left_alone) == (4, 1, 2)
    list(run_jobs(list_jobs(originals, tmp_path / "local")[0], Options(), make_anonymizer=lambda: make_fast(KEY)))
    (tmp_path / "fetched").mkdir()
    names = sorted(found.name for found in target.files() if not found.name.startswith("_manifest/"))
    assert names == sorted(tree(tmp_path / "local"))
    for name in (name for name in names if not name.endswith(".json")):
        target.fetch(name, tmp_path / "fetched" / "file")
        assert (tmp_path / "fetched" / "file").read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    # only the failed one is tried again; of a dataset, only what it names
    named = ray.data.from_items([{"path": f"s3://raw/a/{name}"} for name in ("00.jpg", "broken.jpg")])
    again = anonymise(named, Options(), root=source.address, **given)
    assert (again.total, again.skipped, again.failed) == (2, 1, 1)
    with pytest.raises(ValueError, match="originals"):
        anonymise(source.address, output=source.address, make_anonymizer=make_fast)


def test_a_file_that_kills_its_process_again_and_again_fails(cluster: LocalCluster, tmp_path: Path) -> None:
    import ray

    originals = put(tmp_path / "in", 2)
    ledger = start_ledger()
    for _ in range(MOST_ATTEMPTS):
        ledger.begin.remote(["00.jpg"])
    places = Place.of(originals), Place.of(tmp_path / "out")
    worker = FileWorker(WorkerSetup(*places, Options(), make_fast, 1, 1, ledger))
    rows = worker(ray.data.from_items([{"input": "00.jpg"}, {"input": "01.jpg"}]).take_batch(batch_format="pyarrow"))
    assert [error and error.split(",")[0] for error in rows["error"].to_pylist()] == [
        "The process that worked on it died 3 times", None,
    ]  # fmt: skip
    assert ray.get(ledger.begin.remote(["00.jpg", "01.jpg"])) == [0, 0]


def test_a_cluster_without_room_is_told(cluster: LocalCluster, tmp_path: Path) -> None:
    with pytest.raises(BulkFailed, match=r"An actor needs 64 CPU\(s\)"):
        anonymise(
            put(tmp_path / "in", 1), output=tmp_path / "out", pool=ActorPool(num_cpus=64), make_anonymizer=make_fast
        )
