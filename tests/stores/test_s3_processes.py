"""A real web server and real workers, with their files in S3: also while S3 is away."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import requests

from tests import s3
from tests.conftest import serving
from tests.pictures import drawn, encoded
from tests.videos import moving_square


def test_a_service_keeps_its_files_in_the_bucket_and_waits_for_it(bucket: s3.S3, tmp_path: Path) -> None:
    clip = moving_square(tmp_path / "clip.mp4", seconds=0.4).read_bytes()
    # larger than what is received on this machine, and than a part
    padded = clip + (40 * 2**20 + 8).to_bytes(4, "big") + b"free" + bytes(40 * 2**20)
    far = s3.KEYS | {"STORAGE_URL": bucket.storage_url("service"), "ANONYMIZER_PRESIGNED": "1m"}
    with serving(tmp_path, "-a", "face", **far) as server:
        assert server.get("/readyz").json()["checks"]["storage"] == "ok"
        bucket.gate.close()
        refused = server.upload(encoded(drawn()))
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert refused.headers["Retry-After"]
        refused = server.upload(padded)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        bucket.gate.open()
        picture, video = server.upload_async(encoded(drawn())), server.upload_async(padded, name="a.mp4")
        # the workers have their tasks, or are about to take them
        with bucket.gate.closed():
            server.until(video, "processing", "done")
            time.sleep(2)
        assert server.until(picture, "done", "failed", seconds=120)["status"] == "done"
        assert server.until(video, "done", "failed", seconds=120)["status"] == "done"
        path = f"/v1/file/{video}/video/anonymised"
        sent = server.get(path, allow_redirects=False)
        assert sent.status_code == 302
        whole = requests.get(sent.headers["Location"], timeout=60)
        assert f'"{hashlib.sha256(whole.content).hexdigest()}"' == sent.headers["ETag"]
        from_here = {"Sec-Fetch-Mode": "cors", "Range": "bytes=4-99"}
        assert server.get(path, headers=from_here).content == whole.content[4:100]
        assert bucket.unfinished() == 0
        for task in (picture, video):
            assert server.delete(task).status_code == 200
        assert bucket.objects("service") == {}
    # nothing of the files is left on the disk either
    assert not [file for file in (tmp_path / "scratch").rglob("*") if file.is_file()]
    assert not (tmp_path / "input").exists()


def test_nothing_is_lost_while_s3_is_away_for_half_a_minute(bucket: s3.S3, tmp_path: Path) -> None:
    clip = moving_square(tmp_path / "clip.mp4", seconds=0.4).read_bytes()
    far = s3.KEYS | {"STORAGE_URL": bucket.storage_url("away"), "ANONYMIZER_MODELS": "face=centerface"}
    with serving(tmp_path, "-a", "face", **far) as server:
        workers = {queue: server.workers(queue) for queue in ("images", "videos")}
        ids = [server.upload_async(encoded(drawn(1500, 1000, seed=number))) for number in range(6)]
        ids.append(server.upload_async(clip, name="a.mp4"))
        with bucket.gate.closed():
            began = time.monotonic()
            while time.monotonic() - began < 30:
                assert server.get("/healthz").status_code == 200
                assert server.get("/v1/task/list").json()["count"] == len(ids)
                refused = server.upload(encoded(drawn()), headers={"x-is-async": "1"})
                assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
                time.sleep(2)
        for task_id in ids:
            assert server.until(task_id, "done", "failed", seconds=200)["status"] == "done"
        # each task has one result, and the refused uploads left nothing
        results = [key for key in bucket.objects("away/output/") if "/anonymised" in key]
        assert sorted(key.split("/")[2] for key in results) == sorted(ids)
        assert len(bucket.objects("away/input/")) == len(ids)
        assert bucket.unfinished() == 0
        assert {queue: server.workers(queue) for queue in ("images", "videos")} == workers
        assert server.upload(encoded(drawn())).status_code == 201
        assert requests.delete(f"{server.url}/v1/task/list", timeout=60).json() == {"deleted": len(ids) + 1}
        assert bucket.objects("away") == {}
