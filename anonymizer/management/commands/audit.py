"""`anonymizer audit`: look for what is still recognisable in any folder of images and videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.management.commands.anonymize import add_parameter, complete_flags
from anonymizer.management.stop_signals import exit_code, raise_stop_signals
from anonymizer.pipeline import folders
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.audit.folder import AuditedFile, audit_file
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.options import Options, parameters
from anonymizer.service import engine

#: the parameters of requests that an audit takes
PARAMETERS = (
    "face", "license-plate", "person", "vehicle", "face-threshold", "license-plate-threshold", "person-threshold",
    "vehicle-threshold", "format",
)  # fmt: skip

#: how the masks of a result are called; they show no objects
MASKS = tuple(f".{kind}-mask{ending}" for kind in ("binary", "instance") for ending in (".png", ".mkv"))


class Command(AnonymizerCommand):
    """Audit folders."""

    help = (
        "Look for faces, license plates, persons and vehicles that are still recognisable in finished images and "
        "videos, whoever made them. Detectors run with half the thresholds. Nothing is written."
    )
    examples = """
  anonymizer audit out --face --license-plate
      list what is still recognisable, the worst first
  anonymizer audit out --against originals --json > audit.jsonl
      compare with the originals of the same names, and print one JSON line for each file
"""
    exit_codes = (
        "exit codes:\n"
        "  0  nothing was found\n"
        "  1  something is still recognisable, and every file was audited\n"
        "  2  wrong usage, a model is missing, or a file or folder could not be audited\n"
        "  130  interrupted by Ctrl-C, 143 by SIGTERM"
    )
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make the parser, with a usage of one line."""
        kwargs.setdefault("usage", "%(prog)s FOLDER [--against ORIGINALS] [options]")
        return super().create_parser(prog_name, subcommand, **kwargs)

    def parse_arguments(self, parser: CommandParser, arguments: Any) -> Any:
        """Parse the arguments; a flag needs no value."""
        return parser.parse_args(complete_flags(arguments))

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the folders and the options."""
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder, image or video")
        parser.add_argument(
            "--against", type=Path, metavar="ORIGINALS", help="folder of the originals, with the same names; or a file"
        )
        parser.add_argument(
            "--frames", type=int, default=24, metavar="N", help="how many frames of each video are looked at"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON line for each file, and nothing else")
        parser.add_argument("--device", default=settings.DEVICE, help="auto, cpu, cuda or cuda:N")
        for name in PARAMETERS:
            add_parameter(parser, name, parameters()[name])

    def handle(self, *args: Any, **given: Any) -> None:
        """Audit every file.

        Raises:
            UsageError: an argument is wrong, or a model is missing.
            CommandError: something was found, or a file could not be audited.
        """
        with raise_stop_signals():
            try:
                self._audit(given)
            except KeyboardInterrupt as error:
                raise CommandError("Interrupted.", returncode=exit_code(error)) from None

    def _audit(self, given: dict[str, Any]) -> None:
        folder, against = given["folder"], given["against"]
        for path in filter(None, (folder, against)):
            if not path.exists():
                raise UsageError(f"{path} does not exist.")
        if given["frames"] < 1:
            raise UsageError(f"--frames is {given['frames']}, but must be 1 or more.")
        names = {name.replace("-", "_"): given[name.replace("-", "_")] for name in PARAMETERS}
        try:
            options, _ = Options.from_params({name: value for name, value in names.items() if value is not None})
            store = ModelStore(settings.MODELS_DIR, device=given["device"], models=settings.MODELS)
            store.require(options.object_types(tuple(store.serves())))
            anonymizer = Anonymizer(store=store, limits=engine.limits())
        except AnonymizerError as error:
            raise UsageError(str(error)) from error
        unsearched: dict[Path, str] = {}
        # the target is never written; jobs are only listed
        jobs, _ = folders.list_jobs(folder, Path("/nonexistent"), on_unsearched=unsearched.__setitem__)
        audited = []
        jobs = [job for job in jobs if not _is_mask(job.source)]
        for job in tqdm(jobs, unit="file", disable=True if given["json"] else None):
            original = _original(job.source, folder, against)
            if against is not None and original is None:
                outcome = AuditedFile(job.source, error=f"There is no original of this name in {against}.")
            else:
                outcome = audit_file(anonymizer.engine, job.source, options, original=original, frames=given["frames"])
            audited.append(outcome)
            if given["json"]:
                self._print_json(outcome)
        if not given["json"]:
            self._print(audited)
        self._end(audited, unsearched)

    def _print_json(self, outcome: AuditedFile) -> None:
        line = {
            "file": str(outcome.path),
            "state": "error" if outcome.error else "findings" if outcome.findings else "clean",
            "findings": [finding.as_json() for finding in outcome.findings],
            "redacted": outcome.redacted,
            "frames": outcome.frames,
            "error": outcome.error or None,
            "seconds": round(outcome.seconds, 3),
        }
        self.stdout.write(json.dumps(line))
        self.stdout.flush()

    def _print(self, audited: list[AuditedFile]) -> None:
        """Print all findings of all files, the worst first."""
        rows = [(finding, outcome.path) for outcome in audited for finding in outcome.findings]
        for finding, path in sorted(rows, key=lambda row: row[0].order):
            where = "" if finding.time_s is None else f" at {finding.time_s:.2f} s"
            left = "" if finding.left is None else f", keeps {finding.left:.0%} of its detail"
            x1, y1, x2, y2 = finding.box
            line = (
                f"{finding.grade} {path}{where}: {finding.object_type.words}, score {finding.score:.2f}, "
                f"{x2 - x1} x {y2 - y1} pixels at x {x1}, y {y1}{left}"
            )
            self.stdout.write(line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))

    def _end(self, audited: list[AuditedFile], unsearched: dict[Path, str]) -> None:
        errors = [f"{outcome.path}: {outcome.error}" for outcome in audited if outcome.error]
        errors += [f"{path}: {reason}" for path, reason in unsearched.items()]
        if not audited and not errors:
            errors.append("There is no image or video to audit.")
        findings = sum(len(outcome.findings) for outcome in audited)
        files = sum(bool(outcome.findings) for outcome in audited)
        redacted = sum(outcome.redacted for outcome in audited)
        summary = (
            f"{len(audited)} file(s) audited, {findings} finding(s) in {files} file(s), "
            f"{redacted} find(s) count as redacted."
        )
        self.stderr.write(summary)
        if errors:
            raise CommandError("\n".join(errors), returncode=2)
        if findings:
            raise CommandError("Something is still recognisable.", returncode=1)


def _original(path: Path, folder: Path, against: Path | None) -> Path | None:
    """The original of a file: that of the same name, or of the same name with another ending."""
    if against is None or against.is_file():
        return against
    place = against / (path.name if folder.is_file() else path.relative_to(folder))
    if place.is_file():
        return place
    # a result may have got another ending, or one more: clip.avi.mp4 of clip.avi
    names = {place.stem, place.name}
    others = [other for other in place.parent.glob("*") if other.is_file() and {other.stem, other.name} & names]
    return others[0] if len(others) == 1 else None


def _is_mask(path: Path) -> bool:
    """Whether a file is the mask of a result beside it."""
    for ending in MASKS:
        if path.name.endswith(ending):
            return path.with_name(path.name.removesuffix(ending)).is_file()
    return False
