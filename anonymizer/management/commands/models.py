"""`python manage.py models`: what models there are, bring them, check them, and where they lie."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from tqdm import tqdm

from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.download import FetchFailed, NoConnection, fetch
from anonymizer.pipeline.model_zoo.registry import ModelEntry
from anonymizer.pipeline.model_zoo.store import ModelStore


class Command(BaseCommand):
    help = "List, fetch and verify models, and say where their files are."
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list | fetch | verify | where")
        actions.add_parser("list", help="every model: id, types, profiles, whether it is there, size, licence")
        fetching = actions.add_parser("fetch", help="download models and check their sums")
        fetching.add_argument("names", nargs="*", default=["recommended"], metavar="PROFILE|ID", help="(recommended)")
        fetching.add_argument(
            "--mirror", default=settings.MODEL_MIRROR,
            help="a URL or a folder in which the files are looked for by their names (ANONYMIZER_MODEL_MIRROR)",
        )  # fmt: skip
        fetching.add_argument("--seconds", type=float, help="give up after so long, and at once without a connection")
        actions.add_parser("verify", help="read every file that is there again and compare its sum")
        actions.add_parser("where", help="the path of each model")

    def handle(self, *args: Any, **options: Any) -> None:
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
        for each in store.registry.models.values():
            types = "masks" if each.makes_masks else ", ".join(each.object_types)
            profiles = [name for name in store.registry.profiles if each in store.registry.of_profile(name)]
            rows.append(
                (each.id, types, ", ".join(profiles) or "-", _state(store, each), _size(store, each), each.licence)
            )
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _where(self, store: ModelStore) -> None:
        for each in store.registry.models.values():
            path = each.path(store.folder)
            note = "" if path is not None and path.is_file() else f" (missing: {each.remedy})"
            self.stdout.write(f"{each.id}: {path or f'in the package {each.package}'}{note}")

    def _verify(self, store: ModelStore) -> None:
        problems = {each.id: store.problem(each) for each in store.registry.models.values() if _is_there(store, each)}
        for name, problem in problems.items():
            if problem is None:
                self.stdout.write(f"{name}: whole")
            else:
                remedy = store.registry.models[name].remedy
                self.stderr.write(f"{name}: {problem}. Run `{remedy}`.")
        damaged = [each for each in problems.values() if each is not None]
        self.stdout.write(f"{len(problems) - len(damaged)} of {len(problems)} files are whole.")
        if damaged:
            raise CommandError(f"{len(damaged)} file(s) are damaged.")

    def _fetch(self, store: ModelStore, names: Sequence[str], mirror: str | None, seconds: float | None) -> None:
        entries = _named(store, names)
        until = None if seconds is None else time.monotonic() + seconds
        failed = 0
        for entry in entries:
            try:
                self.stdout.write(self._bring(store, entry, mirror, until))
            except FetchFailed as error:
                failed += 1
                self.stderr.write(str(error))
                if until is not None and isinstance(error, NoConnection):
                    raise CommandError("No connection: nothing more was tried.") from error
        if failed:
            raise CommandError(f"{failed} of {len(entries)} model(s) could not be fetched.")

    def _bring(self, store: ModelStore, entry: ModelEntry, mirror: str | None, until: float | None) -> str:
        """Fetch one model; what came of it.

        Raises:
            FetchFailed: it is not there.
        """
        problem = store.problem(entry)
        if problem is None:
            return f"{entry.id}: is there"
        if entry.url is None:
            raise FetchFailed(f"{entry.id} is not downloaded ({problem}): run `{entry.remedy}`.")
        with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=entry.id, disable=None, leave=False) as bar:

            def show(done: int, total: int | None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            limits = {} if until is None else {"seconds": max(0.1, until - time.monotonic()), "retries": 0}
            fetched = fetch(entry, store.folder, mirror=mirror, progress=show, **limits)  # type: ignore[arg-type]
        text = f"{entry.id}: {fetched.path} ({filesizeformat(fetched.path.stat().st_size)})"
        if fetched.recorded is None:
            return f"{text}, its sum is right"
        return (
            f"{text}. Its publisher gives no sum: that of this first fetch was recorded and is checked from now on "
            f"(sha256 {fetched.recorded})"
        )


def _named(store: ModelStore, names: Sequence[str]) -> list[ModelEntry]:
    """The models that profiles and ids name, each once.

    Raises:
        CommandError: there is none of a name.
    """
    registry = store.registry
    entries: dict[str, ModelEntry] = {}
    for name in names:
        if name in registry.profiles:
            entries |= {each.id: each for each in registry.of_profile(name)}
        elif name in registry.models:
            entries[name] = registry.models[name]
        else:
            known = f"profiles {', '.join(registry.profiles)}; models {', '.join(registry.models)}"
            raise CommandError(f"There is no profile or model {name!r}. There are: {known}.")
    return list(entries.values())


def _is_there(store: ModelStore, entry: ModelEntry) -> bool:
    path = entry.path(store.folder)
    return path is not None and path.is_file()


def _state(store: ModelStore, entry: ModelEntry) -> str:
    if not _is_there(store, entry):
        return "missing"
    return "installed" if store.problem(entry) is None else "damaged"


def _size(store: ModelStore, entry: ModelEntry) -> str:
    path = entry.path(store.folder)
    if path is not None and path.is_file():
        return str(filesizeformat(path.stat().st_size)).replace("\xa0", " ")
    return "?" if entry.size is None else str(filesizeformat(entry.size)).replace("\xa0", " ")
