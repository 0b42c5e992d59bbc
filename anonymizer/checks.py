"""System checks: missing models, folders that are not writable, settings that do not fit together."""

from __future__ import annotations

import os
import ssl
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
from celantur_site import secret_key

__all__ = [
    "check_cluster",
    "check_defaults",
    "check_folders",
    "check_models",
    "check_profile",
    "check_receipt_key",
    "check_secrets",
    "check_threads",
    "check_webhooks",
]


@register()
def check_models(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that `ANONYMIZER_MODELS` names known models, that no model is broken, and that each type has a model."""
    from anonymizer.service import engine

    try:
        store = engine.store()
    except (DetectorFailed, InvalidParameter) as error:
        return [Error(str(error), id="anonymizer.E001")]
    problems: list[CheckMessage] = [CheckWarning(problem, id="anonymizer.W001") for problem in store.problems()]
    installed = store.serves()
    for object_type in OBJECT_TYPES:
        if object_type not in installed and object_type in (settings.OBJECT_TYPES or OBJECT_TYPES):
            # a warning: the server may start and serve the other types; requests for this type get 503
            message, hint = f"No working model serves {object_type.words}.", store.install_hint(object_type)
            problems.append(CheckWarning(message, hint=hint, id="anonymizer.W002"))
    return problems


@register()
def check_secrets(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the secret key was never public, and that other users of this machine cannot read the data."""
    problems: list[CheckMessage] = []
    if secret_key.is_public(settings.SECRET_KEY):
        given = "ANONYMIZER_SECRET_KEY" in os.environ
        place = "the variable ANONYMIZER_SECRET_KEY" if given else f"the file {settings.DATA_DIR / 'secret_key'}"
        problems.append(
            Error(
                "The secret key is public: an early version of this project contained it.",
                hint=f"Delete {place}. The next start makes a new key, and everybody has to log in again.",
                id="anonymizer.E005",
            )
        )
    folder = Path(settings.DATA_DIR)
    if folder.is_dir() and folder.stat().st_mode & 0o077:
        problems.append(
            CheckWarning(
                f"Other users of this machine may enter the data folder {folder}.",
                hint=f"Run `chmod 700 {folder}`.",
                id="anonymizer.W005",
            )
        )
    return problems


@register()
def check_folders(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the folders of the storages are writable."""
    problems: list[CheckMessage] = []
    for alias in ("input", "output"):
        storage = storages[alias]
        if isinstance(storage, FileSystemStorage) and not _writable(storage.location):
            problems.append(
                Error(
                    f"The {alias} folder {storage.location} is not writable.",
                    hint=f"Change its permissions, or set ANONYMIZER_{alias.upper()}_DIR to another folder.",
                    id="anonymizer.E002",
                )
            )
    return problems


@register()
def check_defaults(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the default options of requests are valid."""
    from anonymizer.pipeline.options.options import Options

    try:
        Options.from_params(settings.DEFAULT_OPTIONS)
    except InvalidParameter as error:
        name = "ANONYMIZER_" + error.name.upper().replace("-", "_")
        return [Error(f"{name}: {error}", id="anonymizer.E003")]
    return []


@register()
def check_receipt_key(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that `ANONYMIZER_RECEIPT_KEY` names a key that only its owner can read."""
    from anonymizer.service import receipts

    try:
        receipts.signing_key()
    except InvalidParameter as error:
        return [Error(str(error), hint="`anonymizer receipt-key FILE` makes a key.", id="anonymizer.E006")]
    return []


@register()
def check_threads(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the threads of all workers of a queue fit the cores. More threads only wait for each other."""
    queues = (
        ("", settings.WORKERS, settings.THREADS),
        ("VIDEO_", settings.VIDEO_WORKERS, settings.VIDEO_THREADS),
    )
    return [
        CheckWarning(
            f"{workers} worker(s) with {threads} thread(s) each use more than {settings.CORES} core(s).",
            hint=f"Lower ANONYMIZER_{prefix}WORKERS or ANONYMIZER_{prefix}THREADS.",
            id="anonymizer.W003",
        )
        for prefix, workers, threads in queues
        if workers * threads > settings.CORES
    ]


@register()
def check_profile(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the active threshold profile was chosen with the models of this server."""
    from anonymizer.service import profiles

    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).is_file():
        # a query would create the database
        return []
    try:
        profile = profiles.active()
        mismatches = [] if profile is None else profiles.default_mismatches(profile)
    except (DatabaseError, DetectorFailed):
        # without tables there are no profiles; other checks report what is wrong with the models
        return []
    except InvalidParameter as error:
        return [Error(f"The active threshold profile cannot be used: {error}", id="anonymizer.E004")]
    hint = "Choose the thresholds again, or run `anonymizer profile activate --none`."
    return [CheckWarning(mismatch, hint=hint, id="anonymizer.W004") for mismatch in mismatches]


@register()
def check_cluster(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that hosts that share a database share their secret key, with which notifications are signed."""
    shared = connection.vendor == "postgresql" or settings.BROKER_URL
    if not shared or {"ANONYMIZER_SECRET_KEY", "ANONYMIZER_SECRET_KEY_FILE"} & os.environ.keys():
        return []
    return [
        CheckWarning(
            "The secret key is in the data folder of this host. Other hosts would not read its notifications.",
            hint="Set ANONYMIZER_SECRET_KEY to the same value on all hosts.",
            id="anonymizer.W006",
        )
    ]


@register()
def check_webhooks(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the certificates for webhooks can be read."""
    file = settings.WEBHOOK_CA_FILE
    try:
        if file:
            ssl.create_default_context().load_verify_locations(file)
    except OSError as error:
        # an SSLError is an OSError
        sentence = f"ANONYMIZER_WEBHOOK_CA_FILE is {file!r}, but must be a file of certificates in PEM format"
        return [Error(f"{sentence} ({error.strerror or error}).", id="anonymizer.E010")]
    return []


def _writable(folder: str | os.PathLike[str]) -> bool:
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
