"""`python manage.py evaluate`: what models find and miss in labelled pictures, as a table, a report, and a profile."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.issues import BadSet, Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache, default_file
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.predictions import types_of
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.report import render
from anonymizer.evaluation.reporting.tables import TARGETS, Results
from anonymizer.evaluation.thresholds.choose import choose_thresholds
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.named_models import named_models
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.converters import profile_name
from anonymizer.pipeline.options.options import Options, parameters
from anonymizer.service import engine, profiles

THUMBNAILS = 24


@dataclass(frozen=True)
class Candidate:
    """Models that are to be judged.

    Attributes:
        types: what they are judged by, where it is labelled.
        options: how pictures are looked at, and the thresholds in use.
    """

    name: str
    store: ModelStore
    types: tuple[ObjectType, ...]
    options: Options


class Command(BaseCommand):
    help = (
        "Measure what models find and miss in labelled pictures (COCO, YOLO, Pascal VOC). What was found is kept, so "
        "that the next question about the same pictures is answered at once."
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        types = ", ".join(OBJECT_TYPES)
        parser.add_argument("--set", required=True, type=Path, metavar="FOLDER|FILE", help="labelled pictures")
        parser.add_argument(
            "--model", action="append", default=[], dest="models", metavar="ID|PROFILE|TYPE=ID+ID",
            help="what to judge: a model alone, a profile, or models for types, as ANONYMIZER_MODELS takes them; what "
            "the server uses without. Several times: the first is compared with the others",
        )  # fmt: skip
        parser.add_argument("--types", help=f"judge these only, with commas between: {types}")
        parser.add_argument("--labelled", help="types of which every object is labelled, where the labels do not say")
        parser.add_argument("--source", nargs="+", help="pictures of these sources only (COCO: `source`)")
        parser.add_argument("--limit", type=int, metavar="N", help="the first so many pictures of each source")
        parser.add_argument("--format", help=parameters()["format"].help + "; the server's without")
        parser.add_argument("--segment", action="store_true", help="judge persons and vehicles by outlines (slow)")
        parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page for people")
        parser.add_argument("--no-thumbnails", action="store_true", help="a report without pictures of anybody")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
        parser.add_argument(
            "--target", nargs="+", type=float, default=TARGETS, metavar="SHARE", dest="targets",
            help=f"shares of the objects to be found, for which thresholds are chosen ({', '.join(map(str, TARGETS))})",
        )  # fmt: skip
        parser.add_argument(
            "--profile-name", metavar="NAME",
            help="save the thresholds of the first models for the highest target as NAME.json, beside the report",
        )  # fmt: skip
        parser.add_argument("--cache", type=Path, metavar="FILE", help="where what was found is kept (~/.cache)")
        parser.add_argument("--device", default=settings.DEVICE, help="auto, cpu, cuda or cuda:N")
        parser.add_argument("--strict", action="store_true", help="stop at the first problem of the set")

    def handle(self, *args: Any, **given: Any) -> None:
        try:
            _check(given)
            labelled = _read(given)
            candidates = _candidates(labelled, given)
            results, seconds = self._judge(candidates, labelled, _cache(given["cache"]), given)
        except (AnonymizerError, BadSet) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(results.table())
        try:
            self._write(results, seconds, given)
        except (AnonymizerError, OSError) as error:
            raise CommandError(str(error)) from error
        finally:
            self._tell(results.problems)

    def _judge(
        self, candidates: Sequence[Candidate], labelled: LabelledSet, cache: DetectionCache, given: dict[str, Any]
    ) -> tuple[Results, dict[str, float]]:
        """What comes of all models that there is something to judge by, and how long each took.

        Raises:
            CommandError: there is nothing to judge any of them by.
        """
        found: list[EvaluationResult] = []
        seconds = {}
        for each in candidates:
            if len(candidates) > 1:
                self.stderr.write(f"{each.name}:")
            started = time.perf_counter()
            try:
                found.append(
                    evaluate(
                        labelled, Anonymizer(store=each.store, limits=engine.limits()), name=each.name,
                        object_types=[kind for kind in each.types if kind in types_of(labelled.images)] or each.types,
                        options=each.options, cache=cache, segment=given["segment"],
                        strict=given["strict"], progress=given["verbosity"] > 0,
                    )
                )  # fmt: skip
            except BadSet as error:
                if given["strict"]:
                    raise
                self.stderr.write(f"{each.name}: {error}")
            seconds[each.name] = time.perf_counter() - started
        if not any(of.pictures for each in found for of in each.types.values()):
            self._tell(found[0].problems if found else labelled.problems)
            raise CommandError(f"--set {given['set']}: nothing could be judged.")
        return Results.of(found, targets=given["targets"]), seconds

    def _tell(self, problems: Problems) -> None:
        if problems:
            self.stderr.write(f"{len(problems)} problem(s):\n{problems.summary()}")

    def _write(self, results: Results, seconds: dict[str, float], given: dict[str, Any]) -> None:
        if given["report"]:
            page = render(results, shown=0 if given["no_thumbnails"] else THUMBNAILS, seconds=seconds)
            given["report"].write_text(page, encoding="utf-8")
            bare = "" if given["no_thumbnails"] else " (it holds pictures that are not anonymised)"
            self.stdout.write(f"{given['report']}: written{bare}")
        if given["json"]:
            text = json.dumps(results.to_dict(), indent=2, allow_nan=False)
            given["json"].write_text(f"{text}\n", encoding="utf-8")
            self.stdout.write(f"{given['json']}: written")
        if given["profile_name"]:
            chosen = choose_thresholds(results.findings[0], max(given["targets"]))
            file = (given["report"].parent if given["report"] else Path()) / f"{given['profile_name']}.json"
            chosen.profile(given["profile_name"]).save(file)
            self.stdout.write(f"{chosen}\n{file}: written; `python manage.py profile create` takes it")


def _check(given: dict[str, Any]) -> None:
    """Say what is wrong with the options before hours of looking, and not after.

    Raises:
        CommandError, InvalidParameter: a value is not allowed.
    """
    for target in given["targets"]:
        if not 0 < target < 1:
            raise CommandError(f"--target is {target}, but must be a number between 0 and 1.")
    if given["limit"] is not None and given["limit"] < 1:
        raise CommandError(f"--limit is {given['limit']}, but must be 1 or more.")
    if given["profile_name"] is not None:
        given["profile_name"] = profile_name("--profile-name", given["profile_name"])
        if not given["profile_name"]:
            raise CommandError("--profile-name is none, which asks for no profile: take another name.")
    for name in ("report", "json"):
        if given[name] is not None and not given[name].parent.is_dir():
            raise CommandError(f"--{name} {given[name]}: there is no folder {given[name].parent}.")


def _cache(file: Path | None) -> DetectionCache:
    try:
        return DetectionCache(file)
    except (OSError, sqlite3.Error) as error:
        raise CommandError(
            f"--cache {file or default_file()}: what was found cannot be kept there: {error}."
        ) from error


def _read(given: dict[str, Any]) -> LabelledSet:
    """The labelled set, or what is asked for of it.

    Raises:
        CommandError: there is no such set.
        BadSet: it has a problem, and `--strict`.
    """
    try:
        whole = LabelledSet.read(given["set"], labelled=_types(given, "labelled"), strict=given["strict"])
    except BadSet:
        raise
    except (OSError, ValueError) as error:
        raise CommandError(f"--set: {error}") from error
    sources = {image.source for image in whole.images}
    if unknown := set(given["source"] or ()) - sources:
        raise CommandError(f"--source {' '.join(sorted(unknown))}: there are {', '.join(sorted(sources)) or 'none'}.")
    return whole.subset(whole.of(given["source"] or sorted(sources), given["limit"]))


def _candidates(labelled: LabelledSet, given: dict[str, Any]) -> list[Candidate]:
    """What is to be judged: the models that are named, or those of the server.

    Raises:
        CommandError: models serve none of `--types`.
        DetectorFailed, InvalidParameter: there is no such model or format.
        ModelMissing: a file is not there.
    """
    asked = _types(given, "types") or OBJECT_TYPES
    how = {"format": given["format"]} if given["format"] else {}
    names = dict.fromkeys(given["models"])
    candidates = [_named(each, how, given["device"]) for each in names] or [_server(how, given["device"])]
    chosen = []
    for each in candidates:
        types = tuple(kind for kind in each.types if kind in asked)
        if not types:
            raise CommandError(f"{each.name} serves {', '.join(each.types)}, and none of --types {', '.join(asked)}.")
        each.store.require([kind for kind in types if kind in types_of(labelled.images)])
        chosen.append(replace(each, types=types))
    return chosen


def _server(how: dict[str, object], device: str) -> Candidate:
    """What this server would do: its models, and the thresholds of the active profile where there is one."""
    try:
        active = profiles.active()
    except DatabaseError:
        # no database: nobody has activated any
        active = None
    options, _ = Options.from_params(how, defaults=settings.DEFAULT_OPTIONS | (active.options() if active else {}))
    store = ModelStore(settings.MODELS_DIR, device=device, models=settings.MODELS)
    types = tuple(each for each in OBJECT_TYPES if each in (settings.OBJECT_TYPES or OBJECT_TYPES))
    return Candidate(f"server ({settings.MODELS}{f', {active.name}' if active else ''})", store, types, options)


def _named(text: str, how: dict[str, object], device: str) -> Candidate:
    options, _ = Options.from_params(how, defaults=settings.DEFAULT_OPTIONS)
    return Candidate(text, *named_models(text, settings.MODELS_DIR, device=device), options)


def _types(given: dict[str, Any], name: str) -> tuple[ObjectType, ...] | None:
    """The object types of an option; None where it is not given."""
    if given[name] is None:
        return None
    try:
        return tuple(ObjectType(each.strip().replace("_", "-")) for each in given[name].split(","))
    except ValueError as error:
        allowed = ", ".join(OBJECT_TYPES)
        raise CommandError(
            f"--{name} is {given[name]!r}, but must be some of {allowed}, with commas between."
        ) from error
