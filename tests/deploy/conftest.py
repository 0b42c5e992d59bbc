"""An S3 server for all tests of a module."""

from tests.stores.conftest import bucket as bucket
