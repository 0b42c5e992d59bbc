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
