"""An S3 server for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3.S3]:
    with s3.running() as running:
        yield running
