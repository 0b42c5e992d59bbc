"""The command lines of the image, of compose.yaml and of deploy/kubernetes, run as they stand, on real servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests import s3
from tests.conftest import ROOT, Server, _database_of_its_own, free_port
from tests.deploy import containers
from tests.deploy.containers import Container
from tests.pictures import drawn, encoded
from tests.videos import moving_square

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow, pytest.mark.postgresql, pytest.mark.redis]
READY_S = 280
#: the port of all containers
PORT = "7000"


@dataclass
class Running:
    """A container that was started as a process of this machine."""

    container: Container
    server: Server
    environment: dict[str, str]

    def is_healthy(self) -> bool:
        """What the HEALTHCHECK of the image says."""
        command = [
            word.replace(f":{PORT}/", f":{self.server.url.rpartition(':')[2]}/") for word in containers.image().health
        ]
        assert command != containers.image().health
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0


@contextlib.contextmanager
def started(container: Container, folder: Path, replaced: dict[str, str]) -> Iterator[Running]:
    """Run a container's command line, with a folder in place of /data, and stop it as an engine does.

    Args:
        replaced: addresses and names that a container engine would resolve.
    """
    entry = containers.image().entry
    assert entry[:2] == ["tini", "--"]
    place, port = folder / container.name, free_port()
    place.mkdir()
    given = {
        name: value.replace("/data", str(place)).replace("/models", str(folder / "models"))
        for name, value in {**containers.image().environment, **container.environment}.items()
        if name != "PATH"
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
    environment |= given | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | replaced
    command = [*entry[2:], *container.arguments, *(["--port", str(port)] if "serve" in container.arguments else [])]
    with (place / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield Running(container, Server(f"http://127.0.0.1:{port}", place, process), environment)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(90) == 0 or container.name == "migrate"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def until_ready(running: Running) -> None:
    end = time.monotonic() + READY_S
    while "Ready at" not in running.server.log:
        code = running.server.process.poll()
        assert code is None, f"{running.container.name} ended with {code}:\n{running.server.log}"
        assert time.monotonic() < end, running.server.log
        time.sleep(0.2)
    assert running.is_healthy()


def servers(bucket: s3.S3) -> dict[str, str]:
    """The settings of the files, with the addresses of the servers of this machine."""
    return _database_of_its_own({}) | {
        "STORAGE_URL": f"s3://anonymizer?endpoint={bucket.url}&region=us-east-1&addressing=path",
        "AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret",
        # the models of two more types would only take time
        "ANONYMIZER_OBJECT_TYPES": "face", "ANONYMIZER_MODELS": "face=centerface",
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["compose", "kubernetes"])
def test_containers_share_the_work(engine: str, tmp_path: Path, bucket: s3.S3) -> None:
    names = ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "ANONYMIZER_SECRET_KEY")
    listed = (
        containers.of_compose(dict.fromkeys(names, "x"))
        if engine == "compose"
        else containers.of_kubernetes({"ANONYMIZER_SECRET_KEY": "x"})
    )
    bucket.client.create_bucket(Bucket="anonymizer")
    found = servers(bucket)
    # each setting that is replaced is one that the files name, or that their secret holds
    assert engine == "kubernetes" or listed[0].environment.keys() >= found.keys() - {
        "ANONYMIZER_OBJECT_TYPES", "ANONYMIZER_MODELS",
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for container in [each for each in listed if each.name == "migrate"][:1]:
            with started(container, tmp_path, found) as migrating:
                assert migrating.server.process.wait(READY_S) == 0, migrating.server.log
        running: dict[str, Running] = {}
        for container in [each for each in listed if each.name != "migrate"]:
            running[container.name] = stack.enter_context(started(container, tmp_path, found))
            if container.name == "web":
                # nothing answers yet
                assert not running["web"].is_healthy()
                until_ready(running["web"])
        for each in running.values():
            until_ready(each)
        assert running.keys() == {"web", "images", "videos"}
        _use(running)
    assert not list((tmp_path / "web").rglob("*.upload"))


def _use(running: dict[str, Running]) -> None:
    web = running["web"].server
    folder = web.folder
    video = web.upload_async(moving_square(folder / "clip.mp4", seconds=0.4).read_bytes(), name="clip.mp4")
    answer = web.upload(encoded(drawn(800, 600)))
    assert (answer.status_code, answer.json()["status"]) == (201, "done"), answer.text
    assert web.until(video, "done", "failed", seconds=200)["status"] == "done"
    # one line for each task, as text or as JSON
    assert answer.json()["id"] in running["images"].server.log
    assert video in running["videos"].server.log
    assert web.get("/readyz").json()["status"] == "ready"
    for name in ("images", "videos"):
        ready = running[name].server.get("/readyz")
        assert ready.status_code == 200, ready.text
        # only its own
        assert {worker["queue"] for worker in ready.json()["workers"]} == {name}
        assert running[name].server.get("/metrics").text.count("anonymizer_tasks_ended_total{") == 1
        # a worker takes no uploads
        assert running[name].server.upload(encoded()).status_code == 404
    assert requests.get(f"{web.url}/v1/file/{video}/anonymised", timeout=60).status_code == 200


def test_the_image_alone_serves_with_sqlite(tmp_path: Path) -> None:
    alone = Container("alone", containers.image().arguments)
    nothing = {"DATABASE_URL": "", "BROKER_URL": "", "ANONYMIZER_OBJECT_TYPES": "face", "ANONYMIZER_VIDEO_WORKERS": "0"}
    with started(alone, tmp_path, nothing) as running:
        until_ready(running)
        answer = running.server.upload(encoded(drawn(800, 600)))
        assert (answer.status_code, answer.json()["status"]) == (201, "done"), answer.text
        assert (tmp_path / "alone" / "db.sqlite3").exists()
