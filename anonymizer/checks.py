"""System checks: missing models, folders that cannot be written, settings that do not fit together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.files.storage import FileSystemStorage, storages
from django.db import DatabaseError, connection

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter

__all__ = ["check_defaults", "check_folders", "check_models", "check_profile", "check_threads"]


@register()
def check_models(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """`ANONYMIZER_MODELS` names what there is; each type that is asked for has a working model; each model is whole."""
    from anonymizer.service import engine

    try:
        store = engine.store()
    except DetectorFailed as error:
        return [Error(str(error), id="anonymizer.E001")]
    problems: list[CheckMessage] = [CheckWarning(each, id="anonymizer.W001") for each in store.problems()]
    installed = store.serves()
    for each in OBJECT_TYPES:
        if each not in installed and each in (settings.OBJECT_TYPES or OBJECT_TYPES):
            # no error: the server may start, serve the other types, and answer requests for this one with 503
            problems.append(
                CheckWarning(f"No working model serves {each.words}.", hint=store.remedy(each), id="anonymizer.W002")
            )
    return problems


@register()
def check_folders(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The storages that are folders can be written to."""
    problems: list[CheckMessage] = []
    for alias in ("input", "output"):
        storage = storages[alias]
        if isinstance(storage, FileSystemStorage) and not _writable(storage.location):
            problems.append(
                Error(
                    f"The {alias} folder {storage.location} cannot be written to.",
                    hint=f"Change its owner, or set ANONYMIZER_{alias.upper()}_DIR.",
                    id="anonymizer.E002",
                )
            )
    return problems


@register()
def check_defaults(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The defaults for requests are valid themselves."""
    from anonymizer.pipeline.options.options import Options

    try:
        Options.from_params(settings.DEFAULT_OPTIONS)
    except InvalidParameter as error:
        name = "ANONYMIZER_" + error.name.upper().replace("-", "_")
        return [Error(f"{name}: {error}", id="anonymizer.E003")]
    return []


@register()
def check_threads(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each queue's workers times threads fit the cores: more of them only wait for each other."""
    queues = (
        ("", settings.WORKERS, settings.THREADS),
        ("VIDEO_", settings.VIDEO_WORKERS, settings.VIDEO_THREADS),
    )
    return [
        CheckWarning(
            f"{workers} worker(s) of {threads} thread(s) are more than {settings.CORES} core(s).",
            hint=f"Lower ANONYMIZER_{prefix}WORKERS or ANONYMIZER_{prefix}THREADS.",
            id="anonymizer.W003",
        )
        for prefix, workers, threads in queues
        if workers * threads > settings.CORES
    ]


@register()
def check_profile(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """The active threshold profile was chosen with the models that serve here."""
    from anonymizer.service import profiles

    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).is_file():
        # to ask would make it
        return []
    try:
        profile = profiles.active()
        doubts = [] if profile is None else profiles.doubts_by_default(profile)
    except (DatabaseError, DetectorFailed):
        # tables that are not made yet have no profiles; what is wrong with the models is said above
        return []
    except InvalidParameter as error:
        return [Error(f"The active threshold profile cannot be used: {error}", id="anonymizer.E004")]
    hint = "Choose its thresholds again, or run `python manage.py profile activate --none`."
    return [CheckWarning(each, hint=hint, id="anonymizer.W004") for each in doubts]


def _writable(folder: str | os.PathLike[str]) -> bool:
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
