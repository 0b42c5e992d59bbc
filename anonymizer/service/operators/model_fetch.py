"""Fetch models for the admin: one at a time, onto the machine of the web process.

A fetch that was stopped goes on where it ended when somebody starts it again.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from dataclasses import dataclass

from django.conf import settings

from anonymizer.pipeline.model_zoo.registry import ModelEntry
from anonymizer.service import engine

__all__ = ["ModelRow", "rows", "start"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model of the registry, as a page shows it.

    Attributes:
        entry: its entry in the registry.
        state: `installed`, `missing`, `damaged`, `needs PACKAGE`, `fetching`, or why a fetch failed.
        serves: the object types that it serves on this server.
        can_fetch: whether a fetch makes sense.
    """

    entry: ModelEntry
    state: str
    serves: tuple[str, ...]
    can_fetch: bool


class _Fetches:
    """What this process fetches, and how earlier fetches ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: str | None = None
        self.states: dict[str, str] = {}

    def begin(self, entry: ModelEntry) -> bool:
        """Note that a fetch begins; False if another one runs."""
        with self._lock:
            if self._running is not None:
                return False
            self._running = entry.id
            self.states[entry.id] = "fetching"
            return True

    def end(self, entry: ModelEntry, state: str) -> None:
        """Note how a fetch ended; an empty state: the files say it."""
        with self._lock:
            self._running = None
            self.states[entry.id] = state

    def is_running(self, entry: ModelEntry) -> bool:
        return self._running == entry.id


_fetches = _Fetches()


def rows() -> list[ModelRow]:
    """All models of the registry."""
    store = engine.store()
    serving = store.serves()
    found = []
    for entry in store.registry.models.values():
        noted = _fetches.states.get(entry.id, "")
        state = noted or _state(entry)
        serves = tuple(object_type.words for object_type, ids in serving.items() if entry.id in ids)
        can_fetch = entry.url is not None and state != "installed" and not _fetches.is_running(entry)
        found.append(ModelRow(entry, state, serves, can_fetch))
    return found


def start(model_id: str) -> str:
    """Start to fetch one model.

    Args:
        model_id: of a model in the registry that has an address.

    Returns:
        A sentence that says what happens now.

    Raises:
        KeyError: there is no such model.
    """
    entry = engine.store().registry.models[model_id]
    if entry.url is None:
        return f"{entry.id} cannot be downloaded: {entry.install_command}."
    if not _fetches.begin(entry):
        return "Another model is being fetched. Try again when it has ended."
    threading.Thread(target=_fetch, args=(entry,), name=f"fetch {entry.id}", daemon=True).start()
    return f"{entry.id} is being fetched. Workers use it after their next start."


def _fetch(entry: ModelEntry) -> None:
    """Run the command that fetches a model: nothing else in this project downloads."""
    state = "failed: see the log of the server"
    try:
        command = [sys.executable, "-m", "anonymizer", "models", "fetch", entry.id]
        if settings.MODEL_MIRROR:
            command += ["--mirror", settings.MODEL_MIRROR]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        said = ran.stderr.strip().splitlines()
        state = "" if ran.returncode == 0 else f"failed: {said[0] if said else f'exit code {ran.returncode}'}"
    finally:
        if state:
            log.warning("Model %s could not be fetched: %s", entry.id, state)
        _fetches.end(entry, state)


def _state(entry: ModelEntry) -> str:
    store = engine.store()
    path = entry.path(store.folder)
    if path is None or not path.is_file():
        return "missing"
    if store.file_problem(entry) is not None:
        return "damaged"
    return "installed" if entry.missing_package is None else f"needs {entry.missing_package}"
