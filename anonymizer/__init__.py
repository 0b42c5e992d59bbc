"""Anonymizer: finds faces, license plates, persons and vehicles in pictures and redacts them.

from anonymizer import Anonymizer, Options
Anonymizer().image("street.jpg", Options(face=True)).save("out.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anonymizer.pipeline.anonymizer import Anonymizer
    from anonymizer.pipeline.image_io import load_image
    from anonymizer.pipeline.objects import Detections, ObjectType
    from anonymizer.pipeline.options import Options
    from anonymizer.pipeline.profile import ThresholdProfile
    from anonymizer.pipeline.show import show

__all__ = ["Anonymizer", "Detections", "ObjectType", "Options", "ThresholdProfile", "load_image", "show"]

_HOMES = {
    "Anonymizer": "anonymizer",
    "Detections": "objects",
    "ObjectType": "objects",
    "Options": "options",
    "ThresholdProfile": "profile",
    "load_image": "image_io",
    "show": "show",
}


def __getattr__(name: str) -> Any:
    # at first use: Django imports this package as an app, and must not pay for torch or OpenCV
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"anonymizer.pipeline.{_HOMES[name]}"), name)
