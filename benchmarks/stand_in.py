"""Settings of a service whose detector is a stand-in: it costs nothing, and finds the same boxes in every picture.

Give their name to `DJANGO_SETTINGS_MODULE`. Only `benchmarks.load` does: it measures the service, and not detectors.
`STAND_IN_SECONDS` is how long it works on a picture, so that a kill meets the work.
"""

from __future__ import annotations

import os
import time

from django.apps import AppConfig

from celantur_site.settings import *  # noqa: F403
from celantur_site.settings import INSTALLED_APPS as _INSTALLED_APPS

__all__ = ["INSTALLED_APPS", "StandIn"]

INSTALLED_APPS = [*_INSTALLED_APPS, "benchmarks.stand_in.StandIn"]


class StandIn(AppConfig):
    """Puts the stand-in where the service takes its models from."""

    name = "benchmarks"
    label = "stand_in"

    def ready(self) -> None:
        """Replace the store of models of this process."""
        from anonymizer.service import engine
        from tests.fakes import FakeDetector, FakeStore

        seconds = float(os.environ.get("STAND_IN_SECONDS", "0"))
        store = FakeStore(FakeDetector(during=lambda: time.sleep(seconds)))
        engine.store = lambda: store  # type: ignore[assignment]
