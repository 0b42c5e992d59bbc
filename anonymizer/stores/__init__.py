"""Where files are kept: folders of this machine, or objects of an S3-compatible service."""

from anonymizer.stores.base import ALIASES, Reception, Store, StoredBytes
from anonymizer.stores.choice import store

__all__ = ["ALIASES", "Reception", "Store", "StoredBytes", "store"]
