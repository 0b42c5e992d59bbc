"""`anonymizer models`: list, fetch and verify models, and show where their files are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from tqdm import tqdm

from anonymizer._text import align_columns
from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.download import FetchFailed, NoConnection, fetch
from anonymizer.pipeline.model_zoo.registry import ModelEntry
from anonymizer.pipeline.model_zoo.store import ModelStore


class Command(AnonymizerCommand):
    """Manage models."""

    help = "List, fetch and verify models, and show where their files are."
    examples = """
  anonymizer models list
      show all models, their licences, what is known of their quality, and whether they are installed
  anonymizer models fetch recommended
      download the small models with permissive licences, 22 MB
  anonymizer models fetch egoblur-face-gen2 --mirror /media/usb
      copy one model from a folder, without a network
  anonymizer models verify
      check that the installed files are unchanged
"""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions", metavar="ACTION")
        actions.add_parser(
            "list",
            help="list every model: id, types, profiles, state, size, licence, and what is known of its quality",
        )
        fetching = actions.add_parser("fetch", help="download models and check their SHA-256 sums")
        fetching.add_argument(
            "names", nargs="*", default=["recommended"], metavar="PROFILE|ID",
            help="profiles or models; default: recommended",
        )  # fmt: skip
        fetching.add_argument(
            "--mirror", default=settings.MODEL_MIRROR, metavar="URL|FOLDER",
            help="where to take the files from, by their names; default: ANONYMIZER_MODEL_MIRROR, else the publishers",
        )  # fmt: skip
        fetching.add_argument(
            "--seconds", type=float, metavar="N",
            help="stop after this time, or at once if there is no connection; default: no limit",
        )  # fmt: skip
        actions.add_parser("verify", help="read every installed file and compare its SHA-256 sum")
        actions.add_parser("where", help="print the path of each model")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action.

        Raises:
            CommandError: a model could not be fetched, or a file is damaged.
        """
        try:
            store = ModelStore(settings.MODELS_DIR)
            if options["action"] == "fetch":
                self._fetch(store, options["names"], options["mirror"], options["seconds"])
            else:
                {"list": self._list, "verify": self._verify, "where": self._where}[options["action"]](store)
        except AnonymizerError as error:
            raise CommandError(str(error)) from error

    def _list(self, store: ModelStore) -> None:
        rows = [("id", "types", "profiles", "state", "size", "licence")]
        for entry in store.registry.models.values():
            types = "masks" if entry.makes_masks else ", ".join(entry.object_types)
            profiles = [name for name in store.registry.profiles if entry in store.registry.profile_entries(name)]
            rows.append(
                (entry.id, types, ", ".join(profiles) or "-", _state(store, entry), _size(store, entry), entry.licence)
            )
        for line in align_columns(rows):
            self.stdout.write(line)
        self.stdout.write("\nWhat their authors published of their quality, and what was measured here:")
        for entry in store.registry.models.values():
            self.stdout.write(f"{entry.id}: {entry.description}")
            for line in _quality(entry):
                self.stdout.write(f"  {line}")

    def _where(self, store: ModelStore) -> None:
        for entry in store.registry.models.values():
            path = entry.path(store.folder)
            note = "" if path is not None and path.is_file() else f" (missing: {entry.install_command})"
            self.stdout.write(f"{entry.id}: {path or f'in the package {entry.package}'}{note}")

    def _verify(self, store: ModelStore) -> None:
        entries = [entry for entry in store.registry.models.values() if _is_installed(store, entry)]
        problems = {entry.id: store.file_problem(entry) for entry in entries}
        for name, problem in problems.items():
            if problem is None:
                self.stdout.write(f"{name}: unchanged")
            else:
                install_command = store.registry.models[name].install_command
                self.stderr.write(f"{name}: {problem}. Run `{install_command}`.")
        damaged = [problem for problem in problems.values() if problem is not None]
        self.stdout.write(f"{len(problems) - len(damaged)} of {len(problems)} files are unchanged.")
        if damaged:
            raise CommandError(f"{len(damaged)} file(s) are damaged.")

    def _fetch(self, store: ModelStore, names: Sequence[str], mirror: str | None, seconds: float | None) -> None:
        entries = _find_entries(store, names)
        deadline = None if seconds is None else time.monotonic() + seconds
        failed = 0
        for entry in entries:
            try:
                self.stdout.write(self._fetch_one(store, entry, mirror, deadline))
                for line in _quality(entry):
                    self.stdout.write(f"  {line}")
            except FetchFailed as error:
                failed += 1
                self.stderr.write(str(error))
                if deadline is not None and isinstance(error, NoConnection):
                    raise CommandError("No connection: the other models were not tried.") from error
        if failed:
            raise CommandError(f"{failed} of {len(entries)} model(s) could not be fetched.")

    def _fetch_one(self, store: ModelStore, entry: ModelEntry, mirror: str | None, deadline: float | None) -> str:
        """Fetch one model, and describe the result in one sentence.

        Raises:
            FetchFailed: the model could not be fetched.
        """
        problem = store.file_problem(entry)
        if problem is None:
            return f"{entry.id}: already installed"
        if entry.url is None:
            raise FetchFailed(f"{entry.id} cannot be downloaded ({problem}): run `{entry.install_command}`.")
        with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=entry.id, disable=None, leave=False) as bar:

            def show(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            limits = {} if deadline is None else {"seconds": max(0.1, deadline - time.monotonic()), "retries": 0}
            fetched = fetch(entry, store.folder, mirror=mirror, progress=show, **limits)  # type: ignore[arg-type]
        text = f"{entry.id}: {fetched.path} ({filesizeformat(fetched.path.stat().st_size)})"
        if fetched.recorded is None:
            return f"{text}, its SHA-256 sum is right"
        return (
            f"{text}. Its publisher gives {'an MD5 sum, which is right, but ' if entry.md5 else ''}no SHA-256 sum: "
            f"the sum of this first fetch was recorded and is checked from now on ({fetched.recorded})"
        )


def _find_entries(store: ModelStore, names: Sequence[str]) -> list[ModelEntry]:
    """Find the models of profiles and ids, each once.

    Raises:
        UsageError: there is no profile or model of a name.
    """
    registry = store.registry
    entries: dict[str, ModelEntry] = {}
    for name in names:
        if name in registry.profiles:
            entries |= {entry.id: entry for entry in registry.profile_entries(name)}
        elif name in registry.models:
            entries[name] = registry.models[name]
        else:
            known = f"profiles {', '.join(registry.profiles)}; models {', '.join(registry.models)}"
            raise UsageError(f"There is no profile or model {name!r}. There are: {known}.")
    return list(entries.values())


def _is_installed(store: ModelStore, entry: ModelEntry) -> bool:
    path = entry.path(store.folder)
    return path is not None and path.is_file()


def _quality(entry: ModelEntry) -> list[str]:
    """What is known of a model's quality, and what it still needs, one line each."""
    lines = [
        f"published: {entry.published or 'nothing that can be compared'}",
        f"measured here: {entry.measured or 'nothing yet'}",
    ]
    if entry.missing_package is not None:
        lines.append(f'needs: pip install "anonymizer[{entry.extra}]"')
    return lines


def _state(store: ModelStore, entry: ModelEntry) -> str:
    if not _is_installed(store, entry):
        return "missing"
    if store.file_problem(entry) is not None:
        return "damaged"
    return "installed" if entry.missing_package is None else f"needs {entry.missing_package}"


def _size(store: ModelStore, entry: ModelEntry) -> str:
    path = entry.path(store.folder)
    if path is not None and path.is_file():
        return str(filesizeformat(path.stat().st_size)).replace("\xa0", " ")
    return "?" if entry.size is None else str(filesizeformat(entry.size)).replace("\xa0", " ")
