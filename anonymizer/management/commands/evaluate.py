"""`anonymizer evaluate`: measure what models detect and miss in labelled images, as a table, a report and a profile."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.issues import InvalidDataset, Problems
from anonymizer.evaluation.exchange.results import BrokenResults, read_detections
from anonymizer.evaluation.metrics.average_precision import precision_by_size
from anonymizer.evaluation.metrics.confusion import confusion_matrix
from anonymizer.evaluation.metrics.detection_cache import DetectionCache, default_file
from anonymizer.evaluation.metrics.evaluate import evaluate, evaluate_detections
from anonymizer.evaluation.metrics.predictions import labelled_types
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.label_hints import label_hints
from anonymizer.evaluation.reporting.report import render
from anonymizer.evaluation.reporting.tables import TARGETS, EvaluationReport
from anonymizer.evaluation.thresholds.choose import choose_thresholds
from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.management.bulk_detection import detect_on_cluster
from anonymizer.management.label_options import add_map, read_map
from anonymizer.management.making import make_anonymizer, make_named_anonymizer
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
    """Models that are evaluated.

    Attributes:
        name: how the results call them.
        store: where the models come from.
        types: the object types that are evaluated if they are labelled.
        options: the format of the analysis, and the thresholds in use.
        make: makes an anonymizer with the models, in other processes too.
    """

    name: str
    store: ModelStore
    types: tuple[ObjectType, ...]
    options: Options
    make: Callable[[], Anonymizer]


class Command(AnonymizerCommand):
    """Evaluate models."""

    help = (
        "Measure what models detect and miss in labelled images (COCO, YOLO, Pascal VOC, CVAT, Label Studio). The "
        "detections are kept in a cache, so that the next evaluation of the same images takes seconds."
    )
    examples = """
  anonymizer evaluate --set my-images --report report.html
      evaluate the models of this server, and write a page with plots and the worst misses
  anonymizer evaluate --set labels.json --model embedded --model recommended
      compare two choices of models
  anonymizer evaluate --set labels.json --detections results.json --map visage=face
      evaluate the detections of another program, without running a model
  anonymizer evaluate --set my-images --types face --target 0.98 --profile-name street
      choose a threshold that finds 98 % of the faces, and save it as street.json
"""
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make the parser, with a usage of one line."""
        kwargs.setdefault("usage", "%(prog)s --set FOLDER|FILE [options]")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options by topic."""
        images = parser.add_argument_group("what to evaluate on")
        images.add_argument(
            "--set", required=True, type=Path, metavar="FOLDER|FILE", help="labelled images; required"
        )  # fmt: skip
        images.add_argument(
            "--types", help=f"evaluate only these, separated by commas: {', '.join(OBJECT_TYPES)}; default: all"
        )
        images.add_argument(
            "--labelled", metavar="TYPES",
            help="types of which every object is labelled; default: as the labels say",
        )  # fmt: skip
        images.add_argument(
            "--source", nargs="+", help="only images of these sources (`source` in COCO files); default: all"
        )
        images.add_argument(
            "--limit", type=int, metavar="N", help="only the first N images of each source; default: all"
        )
        add_map(images)
        images.add_argument("--strict", action="store_true", help="stop at the first problem of the labelled images")
        models = parser.add_argument_group("what to evaluate")
        models.add_argument(
            "--model", action="append", default=[], dest="models", metavar="ID|PROFILE|TYPE=ID+ID",
            help="a model, a profile, or models by type as in ANONYMIZER_MODELS; repeat it to compare the first with "
            "the others; default: the models of the server",
        )  # fmt: skip
        models.add_argument(
            "--detections", action="append", default=[], type=Path, metavar="FILE.json",
            help="detections of any model as COCO results; repeat it to compare files; default: run models",
        )  # fmt: skip
        models.add_argument("--format", help=f"{parameters()['format'].help}; default: the format of the server")
        models.add_argument(
            "--segment", action="store_true", help="evaluate persons and vehicles by their outlines (slow)"
        )
        models.add_argument(
            "--target", nargs="+", type=float, default=TARGETS, metavar="SHARE", dest="targets",
            help="shares of the objects that must be found, for which thresholds are chosen; "
            f"default: {' '.join(map(str, TARGETS))}",
        )  # fmt: skip
        writing = parser.add_argument_group("what to write")
        writing.add_argument("--report", type=Path, metavar="FILE.html", help="write a page with plots and images")
        writing.add_argument("--no-thumbnails", action="store_true", help="write a report without images of people")
        writing.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
        writing.add_argument(
            "--profile-name", metavar="NAME",
            help="save the thresholds of the first models for the highest target as NAME.json, beside the report",
        )  # fmt: skip
        working = parser.add_argument_group("how to work")
        working.add_argument(
            "--cache", type=Path, metavar="FILE", help="file that keeps the detections; default: in ~/.cache/anonymizer"
        )
        working.add_argument("--device", default=settings.DEVICE, help="auto, cpu, cuda or cuda:N")
        working.add_argument(
            "--runtime", default=settings.RUNTIME, metavar="NAME",
            help="what runs the networks on a CPU: auto, torch, openvino or onnxruntime; default: auto (OpenVINO)",
        )  # fmt: skip

        working.add_argument(
            "--ray", metavar="ADDRESS|local",
            help="detect on a Ray cluster whose nodes see the same files: auto, HOST:PORT, or local; default: without",
        )  # fmt: skip
        working.add_argument("--num-cpus", type=float, default=1, metavar="N", help="cores of each actor of --ray")
        working.add_argument("--num-gpus", type=float, default=0, metavar="N", help="GPUs of each actor; default: 0")

    def handle(self, *args: Any, **given: Any) -> None:
        """Evaluate all models, print a table, and write what is asked for.

        Raises:
            CommandError: an option is wrong, a model is missing, or there is nothing to evaluate.
        """
        try:
            _check(given)
            labelled = _read_labels(given)
            candidates = [] if given["detections"] else _list_candidates(labelled, given)
            cache = _open_cache(given["cache"])
        except AnonymizerError as error:
            raise UsageError(str(error)) from error
        except InvalidDataset as error:
            raise CommandError(str(error)) from error
        try:
            if given["detections"]:
                seconds: dict[str, float] = {}
                report = _evaluate_files(labelled, cache, given)
            else:
                report, seconds = self._evaluate(candidates, labelled, cache, given)
        except (AnonymizerError, InvalidDataset) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(report.table())
        for result in report.results:
            self._print_details(result)
        try:
            self._write(report, seconds, given)
        except (AnonymizerError, OSError) as error:
            raise CommandError(str(error)) from error
        finally:
            self.stderr.write(labelled.summary())
            self._print_problems(report.problems)

    def _evaluate(
        self, candidates: Sequence[Candidate], labelled: LabelledSet, cache: DetectionCache, given: dict[str, Any]
    ) -> tuple[EvaluationReport, dict[str, float]]:
        """Evaluate all candidates.

        Returns:
            The report, and the seconds that each candidate took.

        Raises:
            CommandError: no image has labels for any of them.
        """
        results: list[EvaluationResult] = []
        seconds = {}
        for candidate in candidates:
            if len(candidates) > 1:
                self.stderr.write(f"{candidate.name}:")
            types = labelled_types(labelled.images)
            started = time.perf_counter()
            if given["ray"] is not None:
                detect_on_cluster(
                    labelled.images, candidate.make, [kind for kind in candidate.types if kind in types],
                    candidate.options.image_format, cache, address=given["ray"], num_cpus=given["num_cpus"],
                    num_gpus=given["num_gpus"],
                )  # fmt: skip
            try:
                results.append(
                    evaluate(
                        labelled, Anonymizer(store=candidate.store, limits=engine.limits()), name=candidate.name,
                        object_types=[kind for kind in candidate.types if kind in types] or candidate.types,
                        options=candidate.options, cache=cache, segment=given["segment"],
                        strict=given["strict"], progress=given["verbosity"] > 0,
                    )
                )  # fmt: skip
            except InvalidDataset as error:
                if given["strict"]:
                    raise
                self.stderr.write(f"{candidate.name}: {error}")
            seconds[candidate.name] = time.perf_counter() - started
        if not any(of_type.pictures for result in results for of_type in result.types.values()):
            self._print_problems(results[0].problems if results else labelled.problems)
            raise CommandError(f"--set {given['set']}: there is nothing to evaluate.")
        return EvaluationReport.of(results, targets=given["targets"]), seconds

    def _print_details(self, result: EvaluationResult) -> None:
        """Print the confusion matrix and average precision by size, and hints of incomplete labels."""
        self.stdout.write(f"\n{result.name}\n\n{confusion_matrix(result)}\n\n{precision_by_size(result)}")
        for hint in label_hints(result):
            self.stderr.write(hint)

    def _print_problems(self, problems: Problems) -> None:
        if problems:
            self.stderr.write(f"{len(problems)} problem(s):\n{problems.summary()}")

    def _write(self, report: EvaluationReport, seconds: dict[str, float], given: dict[str, Any]) -> None:
        if given["report"]:
            page = render(report, shown=0 if given["no_thumbnails"] else THUMBNAILS, seconds=seconds)
            given["report"].write_text(page, encoding="utf-8")
            warning = "" if given["no_thumbnails"] else " (it shows images that are not anonymised)"
            self.stdout.write(f"{given['report']}: written{warning}")
        if given["json"]:
            text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
            given["json"].write_text(f"{text}\n", encoding="utf-8")
            self.stdout.write(f"{given['json']}: written")
        if given["profile_name"]:
            chosen = choose_thresholds(report.results[0], max(given["targets"]))
            file = (given["report"].parent if given["report"] else Path()) / f"{given['profile_name']}.json"
            chosen.profile(given["profile_name"]).save(file)
            for target in sorted(set(given["targets"])):
                self.stdout.write(str(choose_thresholds(report.results[0], target)))
            self.stdout.write(
                f"{file}: written for {max(given['targets']):.0%}; `anonymizer profile create --from` reads it"
            )


def _check(given: dict[str, Any]) -> None:
    """Check the options before hours of analysis, not after.

    Raises:
        UsageError, InvalidParameter: a value is not allowed.
    """
    if given["detections"] and (given["models"] or given["format"] or given["segment"]):
        raise UsageError("--detections runs no model, so --model, --format and --segment have no meaning with it.")
    for target in given["targets"]:
        if not 0 < target < 1:
            raise UsageError(f"--target is {target}, but must be a number between 0 and 1.")
    if given["limit"] is not None and given["limit"] < 1:
        raise UsageError(f"--limit is {given['limit']}, but must be 1 or more.")
    if given["profile_name"] is not None:
        given["profile_name"] = profile_name("--profile-name", given["profile_name"])
        if not given["profile_name"]:
            raise UsageError("--profile-name is none, which means no profile: choose another name.")
    for name in ("report", "json"):
        if given[name] is not None and not given[name].parent.is_dir():
            raise UsageError(f"--{name} {given[name]}: there is no folder {given[name].parent}.")


def _evaluate_files(labelled: LabelledSet, cache: DetectionCache, given: dict[str, Any]) -> EvaluationReport:
    """Evaluate the detections of `--detections`.

    Raises:
        UsageError: a file cannot be used.
        InvalidDataset: there is nothing to evaluate.
    """
    options, _ = Options.from_params({}, defaults=settings.DEFAULT_OPTIONS)
    results = []
    for file in dict.fromkeys(given["detections"]):
        try:
            detections = read_detections(file, labelled, names=read_map(given["map"]))
        except (OSError, BrokenResults) as error:
            raise UsageError(f"--detections: {error}.") from error
        results.append(
            evaluate_detections(
                labelled, detections, name=file.stem, object_types=_parse_types(given, "types"), options=options,
                cache=cache, progress=given["verbosity"] > 0,
            )
        )  # fmt: skip
    return EvaluationReport.of(results, targets=given["targets"])


def _open_cache(file: Path | None) -> DetectionCache:
    try:
        return DetectionCache(file)
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"--cache {file or default_file()}: it cannot keep the detections: {error}.") from error


def _read_labels(given: dict[str, Any]) -> LabelledSet:
    """Read the labelled images, or the part that is asked for.

    Raises:
        UsageError: there are no such images.
        InvalidDataset: there is a problem, and `--strict` is given.
    """
    try:
        whole = LabelledSet.read(
            given["set"], labelled=_parse_types(given, "labelled"), names=read_map(given["map"]), strict=given["strict"]
        )
    except InvalidDataset:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"--set: {error}") from error
    sources = {image.source for image in whole.images}
    if unknown := set(given["source"] or ()) - sources:
        raise UsageError(f"--source {' '.join(sorted(unknown))}: there are {', '.join(sorted(sources)) or 'none'}.")
    return whole.subset(whole.of(given["source"] or sorted(sources), given["limit"]))


def _list_candidates(labelled: LabelledSet, given: dict[str, Any]) -> list[Candidate]:
    """List what is evaluated: the named models, or those of the server.

    Raises:
        UsageError: models serve none of `--types`.
        DetectorFailed, InvalidParameter: there is no such model or format.
        ModelMissing: the file of a model is missing.
    """
    asked = _parse_types(given, "types") or OBJECT_TYPES
    params = {"format": given["format"]} if given["format"] else {}
    names = dict.fromkeys(given["models"])
    target = {"device": given["device"], "runtime": given["runtime"]}
    chosen = []
    for candidate in [_named_candidate(name, params, target) for name in names] or [_server_candidate(params, target)]:
        types = tuple(kind for kind in candidate.types if kind in asked)
        if not types:
            served = ", ".join(candidate.types)
            raise UsageError(f"{candidate.name} serves {served}, and none of --types {', '.join(asked)}.")
        candidate.store.require([kind for kind in types if kind in labelled_types(labelled.images)])
        chosen.append(replace(candidate, types=types))
    return chosen


def _server_candidate(params: dict[str, object], target: dict[str, str]) -> Candidate:
    """What this server uses: its models, and the thresholds of the active profile if there is one."""
    try:
        active = profiles.active()
    except DatabaseError:
        # without a database, no profile is active
        active = None
    options, _ = Options.from_params(params, defaults=settings.DEFAULT_OPTIONS | (active.options() if active else {}))
    store = ModelStore(settings.MODELS_DIR, models=settings.MODELS, **target)
    types = tuple(kind for kind in OBJECT_TYPES if kind in (settings.OBJECT_TYPES or OBJECT_TYPES))
    name = f"server ({settings.MODELS}{f', {active.name}' if active else ''})"
    names = target["device"], target["runtime"]
    make = partial(make_anonymizer, names, settings.MODELS_DIR, settings.MODELS, engine.limits())
    return Candidate(name, store, types, options, make)


def _named_candidate(text: str, params: dict[str, object], target: dict[str, str]) -> Candidate:
    options, _ = Options.from_params(params, defaults=settings.DEFAULT_OPTIONS)
    names = target["device"], target["runtime"]
    make = partial(make_named_anonymizer, text, names, settings.MODELS_DIR, engine.limits())
    return Candidate(text, *named_models(text, settings.MODELS_DIR, **target), options, make)


def _parse_types(given: dict[str, Any], name: str) -> tuple[ObjectType, ...] | None:
    """The object types of an option; None if it is not given."""
    if given[name] is None:
        return None
    try:
        return tuple(ObjectType(part.strip().replace("_", "-")) for part in given[name].split(","))
    except ValueError as error:
        allowed = ", ".join(OBJECT_TYPES)
        raise UsageError(f"--{name} is {given[name]!r}, but must be some of {allowed}, separated by commas.") from error
