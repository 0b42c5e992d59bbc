"""Segmentation: masks of objects in their boxes."""

from __future__ import annotations

from anonymizer._lazy import lazy_exports
from anonymizer._moved import names_of

# this package was a module once: its names go on working
__getattr__ = lazy_exports(__name__, names_of(__name__))
