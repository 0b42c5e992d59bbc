"""Anonymizer: detects faces, license plates, persons and vehicles in images and videos, and redacts them.

Examples:
    >>> from anonymizer import Anonymizer, Options
    >>> Anonymizer().image("street.jpg", Options(face=True)).save("out.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anonymizer import _moved
from anonymizer._lazy import lazy_exports

if TYPE_CHECKING:
    from anonymizer.pipeline.anonymizer import Anonymizer
    from anonymizer.pipeline.detections import Detections, ObjectType
    from anonymizer.pipeline.images.io import load_image
    from anonymizer.pipeline.options.options import Options
    from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
    from anonymizer.pipeline.outputs.show import show

#: the only place that has it: pyproject.toml reads it from here
__version__ = "0.3.0"

__all__ = ["Anonymizer", "Detections", "ObjectType", "Options", "ThresholdProfile", "load_image", "show"]

_MODULES = {
    "Anonymizer": "anonymizer.pipeline.anonymizer",
    "Detections": "anonymizer.pipeline.detections",
    "ObjectType": "anonymizer.pipeline.detections",
    "Options": "anonymizer.pipeline.options.options",
    "ThresholdProfile": "anonymizer.pipeline.options.threshold_profile",
    "load_image": "anonymizer.pipeline.images.io",
    "show": "anonymizer.pipeline.outputs.show",
}

__getattr__ = lazy_exports(__name__, _MODULES)

_moved.install()
