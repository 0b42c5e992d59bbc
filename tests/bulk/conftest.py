"""What the tests of bulk runs share: one Ray cluster of two nodes on this machine, and an S3 server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anonymizer import Anonymizer
from anonymizer.bulk.local_cluster import LocalCluster
from tests.conftest import free_port
from tests.fakes import FakeDetector, FakeStore

#: seconds for an image of the slow detector
SLOW_S = 0.3


class SlowDetector(FakeDetector):
    """Takes some time for each image, so that a node can be killed in the middle."""

    def __init__(self) -> None:
        super().__init__(during=lambda: time.sleep(SLOW_S))


def make_fast(noise_key: bytes | None = None) -> Anonymizer:
    return Anonymizer(store=FakeStore(FakeDetector()), noise_key=noise_key)


def make_slow(noise_key: bytes | None = None) -> Anonymizer:
    return Anonymizer(store=FakeStore(SlowDetector()), noise_key=noise_key)


@pytest.fixture(scope="session")
def cluster(s3: str) -> Iterator[LocalCluster]:
    """A Ray cluster of one node with one core, with the credentials of the S3 server; this process is its driver."""
    with LocalCluster(nodes=1) as running:
        yield running


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server of moto over HTTP; what addresses of its buckets have behind the question mark."""
    from moto.server import ThreadedMotoServer

    port = free_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    # moto takes the marks between the pieces of an upload for its content
    os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"?scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1&allow_bucket_creation=true"
    server.stop()


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without the manifest."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_manifest" not in path.parts
    }
