"""Bulk: folders and buckets of millions of files, on a Ray cluster.

Examples:
    >>> from anonymizer import Options
    >>> from anonymizer.bulk import anonymise
    >>> summary = anonymise("s3://bucket/raw", Options(face=True), output="s3://bucket/clean", address="auto")

It needs `pip install "anonymizer[ray]"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anonymizer._lazy import lazy_exports

if TYPE_CHECKING:
    from anonymizer.bulk.cluster import ActorPool, BulkFailed
    from anonymizer.bulk.run import anonymise
    from anonymizer.bulk.summary import BulkSummary

__all__ = ["ActorPool", "BulkFailed", "BulkSummary", "anonymise"]

_MODULES = {
    "ActorPool": "anonymizer.bulk.cluster",
    "BulkFailed": "anonymizer.bulk.cluster",
    "BulkSummary": "anonymizer.bulk.summary",
    "anonymise": "anonymizer.bulk.run",
}

__getattr__ = lazy_exports(__name__, _MODULES)
