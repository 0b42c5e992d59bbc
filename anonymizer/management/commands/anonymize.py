"""`python manage.py anonymize`: whole folders, without a server or a database."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from anonymizer.pipeline import folders
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.options import Options, parameters
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import engine

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress


class Command(BaseCommand):
    help = "Anonymise a picture, a video or a folder of them. Takes the parameters of the API as options."
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--input", required=True, type=Path, help="a picture, a video, or a folder of them")
        parser.add_argument("--output", required=True, type=Path, help="a folder; sub-folders of the input are kept")
        parser.add_argument("--overwrite", action="store_true", help="redo what has a result")
        parser.add_argument("--workers", type=int, default=1, help="processes (1)")
        parser.add_argument("--device", default=settings.DEVICE, help="auto, cpu, cuda or cuda:N")
        parser.add_argument("--profile", metavar="NAME|FILE.json", help="threshold profile of the database, or a file")
        for name, each in parameters().items():
            if name == "profile":
                continue
            parser.add_argument(
                f"--{name}", nargs="?", const="true", metavar="VALUE", help=each.help.replace("%", "%%")
            )

    def handle(self, *args: Any, **given: Any) -> None:
        names = [name.replace("-", "_") for name in parameters() if name != "profile"]
        make = partial(
            _anonymizer, given["device"], settings.MODELS_DIR, settings.MODELS, engine.limits(),
            legacy_masks=settings.LEGACY_INSTANCE_MASK,
        )  # fmt: skip
        try:
            profile = _profile(given["profile"]) if given["profile"] else None
            options, _ = Options.from_params(
                {name: given[name] for name in names if given[name] is not None},
                defaults=_defaults() | (profile.options() if profile else {}),
            )
            store = make().store
            types = options.object_types(tuple(store.serves()))
            store.require(types)
            for doubt in profile.doubts(options, store.keys(types)) if profile else ():
                self.stderr.write(doubt)
        except AnonymizerError as error:
            raise CommandError(str(error)) from error
        if given["workers"] < 1:
            raise CommandError(f"--workers is {given['workers']}, but must be 1 or more.")
        if not given["input"].exists():
            raise CommandError(f"--input {given['input']} does not exist.")
        try:
            todo, others = folders.jobs(given["input"], given["output"])
        except ValueError as error:
            raise CommandError(f"--output {given['output']}: {error}.") from error
        self._run(todo, others, options, given, make)

    def _run(self, todo: list[folders.Job], others: int, options: Options, given: dict[str, Any], make: Any) -> None:
        started = time.monotonic()
        states: Counter[str] = Counter()
        objects: Counter[str] = Counter()
        with tqdm(total=len(todo), unit="file", disable=None) as bar:

            def shown(job: folders.Job, now: VideoProgress) -> None:
                left = "" if now.seconds_left is None else f", {now.seconds_left:.0f} s left"
                bar.set_postfix_str(f"{job.source.name}: frame {now.frames} of {now.total or '?'}{left}")

            for outcome in folders.run(
                todo, options, workers=given["workers"], overwrite=given["overwrite"], make=make, shown=shown
            ):
                bar.set_postfix_str("")
                states[outcome.state] += 1
                objects.update(outcome.counts)
                if outcome.state is folders.State.FAILED:
                    bar.write(f"FAILED {outcome.job.source}: {outcome.detail}")
                bar.update()
        seconds = time.monotonic() - started
        found = ", ".join(f"{n} {name}" for name, n in objects.items()) or "nothing"
        self.stdout.write(
            f"{states['done']} done, {states['skipped']} skipped (have a result), {states['failed']} failed, "
            f"{others} other file(s) left alone, in {seconds:.1f} s; found: {found}"
        )
        if states["failed"]:
            raise CommandError(f"{states['failed']} file(s) failed and have no result.", returncode=1)


def _defaults() -> dict[str, object]:
    """What the environment says of how this machine works; what is made is for the options to say."""
    return {name: value for name, value in settings.DEFAULT_OPTIONS.items() if name == "video_encoder"}


def _profile(value: str) -> ThresholdProfile | None:
    """The profile of a file, or the one of a name in the database, which nothing else here needs.

    Raises:
        CommandError: the file cannot be read, or there is no database.
        InvalidParameter: it holds no profile, or there is none of this name.
    """
    # here: worker processes import this module too, and have no Django apps
    from anonymizer.service import profiles

    try:
        if value.lower().endswith(".json") or Path(value).name != value:
            return ThresholdProfile.load(value)
        return profiles.named(value)
    except OSError as error:
        raise CommandError(f"--profile {value} cannot be read: {error.strerror}.") from error
    except DatabaseError as error:
        raise CommandError(f"--profile {value}: there is no database of profiles here; name a file.") from error


def _anonymizer(device: str, folder: Path, models: str, limits: Limits, *, legacy_masks: bool) -> Anonymizer:
    return Anonymizer(store=ModelStore(folder, device=device, models=models), limits=limits, legacy_masks=legacy_masks)
