"""`anonymizer run`, `manage.py anonymize`: images, videos and whole folders, without a server or a database."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.management.making import make_anonymizer
from anonymizer.management.run_report import RunReport
from anonymizer.management.stop_signals import exit_code, raise_stop_signals
from anonymizer.pipeline import folders
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.converters import boolean
from anonymizer.pipeline.options.options import Options, parameters
from anonymizer.pipeline.options.parameter import Parameter, Topic
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import engine

#: bytes that the secret of the noise has at least
LEAST_KEY_BYTES = 16


class Command(AnonymizerCommand):
    """Anonymise files and folders."""

    help = (
        "Anonymise images, videos and folders of them. The results get the same names in the output folder, and "
        "sub-folders are kept. Files that already have a result are skipped."
    )
    examples = """
  anonymizer run photo.jpg --output out --face --license-plate
      blur the faces and license plates of one image
  anonymizer run photos videos/clip.mp4 --output out --method blacken
      blacken all installed object types in a folder and in a video
  anonymizer run photos --output out --format thorough --strict
      analyse large images closely everywhere; fail if an image is not fully analysed
  anonymizer run photos --output out --method detect --save-mask none --json > report.jsonl
      only report what is detected, with one JSON line for each file
  anonymizer run photos --output out --workers 4 --profile street.json
      use four processes and the thresholds of a profile
"""
    exit_codes = (
        "exit codes:\n"
        "  0  every file is done, or already had a result\n"
        "  1  a file failed and has no result; with --strict also if it was not fully analysed;\n"
        "     or a folder was not searched, because it is a link or cannot be read\n"
        "  2  wrong usage, or a model is missing: nothing was processed\n"
        "  130  interrupted by Ctrl-C, 143 by SIGTERM: files in work have no result"
    )
    requires_system_checks = []
    #: what `--output` is read as
    path_type: Callable[[str], Any] = Path
    usage = "%(prog)s INPUT [INPUT ...] --output FOLDER [options]"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make the parser, with a usage of one line: there are more than forty options."""
        kwargs.setdefault("usage", self.usage)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def parse_arguments(self, parser: CommandParser, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; inputs may stand before, between and after the options."""
        return parser.parse_intermixed_args(complete_flags(arguments))

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the inputs, the options of the command, and the parameters of the API by their topics."""
        self.add_inputs(parser)
        groups = {topic: parser.add_argument_group(topic.value) for topic in Topic}
        groups[Topic.DETECTION].add_argument(
            "--profile",
            metavar="NAME|FILE.json",
            help="threshold profile: a name in the database, or a file; default: none",
        )
        groups[Topic.OUTPUT].add_argument(
            "--output", required=True, type=self.path_type, metavar="FOLDER", help="folder of the results; required"
        )
        groups[Topic.OUTPUT].add_argument(
            "--overwrite", action="store_true", help="process files again that already have a result"
        )
        for name, parameter in parameters().items():
            if name != "profile":
                add_parameter(groups[parameter.topic], name, parameter)
        working = parser.add_argument_group("how to work")
        working.add_argument("--json", action="store_true", help="print one JSON line for each file, and nothing else")
        working.add_argument("--workers", type=int, default=1, metavar="N", help="number of processes")
        working.add_argument("--device", default=settings.DEVICE, help="auto, cpu, cuda or cuda:N")
        working.add_argument(
            "--runtime", default=settings.RUNTIME, metavar="NAME",
            help="what runs the networks on a CPU: auto, torch, openvino or onnxruntime; default: auto (OpenVINO)",
        )  # fmt: skip

        working.add_argument(
            "--noise-key", type=Path, metavar="FILE",
            help="file with a secret of 16 bytes or more, from which the noise of blur and pixelate is made: the same "
            "file makes the same results; default: a random secret",
        )  # fmt: skip

    def add_inputs(self, parser: CommandParser) -> None:
        """Add what is to be anonymised."""
        parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="image, video, or folder of them")
        # of `manage.py anonymize`, which had no positional inputs once
        parser.add_argument("--input", action="append", default=[], type=Path, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **given: Any) -> None:
        """Check everything first, then process every file.

        Raises:
            UsageError: an argument is wrong, or a model is missing.
            CommandError: a file failed, or the command was interrupted.
        """
        with raise_stop_signals():
            try:
                self.check_and_run(given)
            except KeyboardInterrupt as error:
                raise CommandError("Interrupted: no file was processed.", returncode=exit_code(error)) from None

    def check_and_run(self, given: dict[str, Any]) -> None:
        """Check the arguments, and process the files.

        Raises:
            UsageError, CommandError: as `handle`.
        """
        if given["workers"] < 1:
            raise UsageError(f"--workers is {given['workers']}, but must be 1 or more.")
        make = self.maker(given)
        options = self.checked_options(given, make)
        listed = _list_jobs([*given["inputs"], *given["input"]], given["output"])
        failures = self._run(listed, options, given, make)
        if listed.unsearched:
            failures.append(f"{len(listed.unsearched)} folder(s) were not searched.")
        if failures:
            raise CommandError(" ".join(failures), returncode=1)

    def maker(self, given: dict[str, Any]) -> Callable[..., Anonymizer]:
        """What makes the anonymizer of each process.

        Raises:
            UsageError: the file of the noise key cannot be read.
        """
        return partial(
            make_anonymizer, (given["device"], given["runtime"]), settings.MODELS_DIR, settings.MODELS,
            engine.limits(), legacy_masks=settings.LEGACY_INSTANCE_MASK, noise_key=read_key(given["noise_key"]),
        )  # fmt: skip

    def checked_options(self, given: dict[str, Any], make: Callable[..., Anonymizer]) -> Options:
        """Read the options, and make sure that models serve them.

        Raises:
            UsageError: a value is not allowed, or a model is missing.
        """
        try:
            return self._read_options(given, make().store)
        except AnonymizerError as error:
            raise UsageError(str(error)) from error

    def _read_options(self, given: dict[str, Any], store: ModelStore) -> Options:
        """Read the options of the request, make sure that models serve it, and warn about the profile."""
        names = [name.replace("-", "_") for name in parameters() if name != "profile"]
        profile = _load_profile(given["profile"]) if given["profile"] else None
        options, warnings = Options.from_params(
            {name: given[name] for name in names if given[name] is not None},
            defaults=_defaults() | (profile.options() if profile else {}),
        )
        object_types = options.object_types(tuple(store.serves()))
        store.require(object_types)
        for warning in [*warnings, *(profile.mismatches(options, store.keys(object_types)) if profile else ())]:
            self.stderr.write(warning)
        return options

    def _run(
        self, listed: _Listed, options: Options, given: dict[str, Any], make_anonymizer: Callable[[], Anonymizer]
    ) -> list[str]:
        """Process the files, and return a sentence if some failed.

        Raises:
            CommandError: the run was interrupted, or no worker process can be started.
        """
        jobs = list(listed.jobs.values())
        with RunReport(len(jobs), stdout=self.stdout, stderr=self.stderr, as_json=given["json"]) as report:
            report.add_unsearched(listed.unsearched)
            report.add_left_alone(listed.left_alone)
            end: KeyboardInterrupt | folders.NoWorker | None = None
            try:
                with closing(
                    folders.run_jobs(
                        jobs, options, workers=given["workers"], overwrite=given["overwrite"],
                        make_anonymizer=make_anonymizer, on_progress=report.show_progress,
                    )
                ) as outcomes:  # fmt: skip
                    for outcome in outcomes:
                        report.add(outcome)
            except (KeyboardInterrupt, folders.NoWorker) as error:
                end = error
        (self.stderr if given["json"] else self.stdout).write(report.summary())
        if end is not None:
            what = "Interrupted" if isinstance(end, KeyboardInterrupt) else str(end).rstrip(".")
            left = len(jobs) - sum(report.states.values())
            sentence = f"{what}: {left} of {len(jobs)} file(s) were not processed."
            raise CommandError(sentence, returncode=exit_code(end) if isinstance(end, KeyboardInterrupt) else 1)
        failed = report.states[folders.State.FAILED]
        return [f"{failed} file(s) failed and have no result."] if failed else []


def complete_flags(arguments: Sequence[str]) -> list[str]:
    """Write `--face photo.jpg` as `--face=true photo.jpg`: only true or false after a flag is its value."""
    flags = {f"--{name}" for name, parameter in parameters().items() if parameter.is_flag}
    return [
        f"{word}=true" if word in flags and not _is_boolean(following) else word
        for word, following in pairwise([*arguments, ""])
    ]


def _is_boolean(word: str) -> bool:
    try:
        boolean("", word)
    except InvalidParameter:
        return False
    return True


def add_parameter(group: Any, name: str, parameter: Parameter) -> None:
    text = parameter.help.removeprefix(f"{Topic.VIDEOS}: ")
    if "default:" not in text:
        text = f"{text}; default: {parameter.default_text or 'none'}"
    group.add_argument(
        f"--{name}", metavar="true|false" if parameter.is_flag else "VALUE", help=text.replace("%", "%%"),
        **({"nargs": "?", "const": "true"} if parameter.is_flag else {}),
    )  # fmt: skip


@dataclass
class _Listed:
    """What the inputs hold.

    Attributes:
        jobs: by the path of the result.
        unsearched: the folders that were not searched, and why.
        left_alone: the files that are neither images nor videos, hidden ones among them.
    """

    jobs: dict[Path, folders.Job] = field(default_factory=dict)
    unsearched: dict[Path, str] = field(default_factory=dict)
    left_alone: list[Path] = field(default_factory=list)


def _list_jobs(inputs: list[Path], output: Path) -> _Listed:
    """List the files of all inputs.

    Raises:
        UsageError: an input does not exist, results would replace originals, or two files would have the same result.
    """
    if not inputs:
        raise UsageError("Name at least one image, video or folder.")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file, but must be a folder.")
    listed = _Listed()
    for path in inputs:
        if not path.exists():
            raise UsageError(f"The input {path} does not exist.")
        if not path.is_file() and not path.is_dir():
            raise UsageError(f"The input {path} is neither a file nor a folder.")
        try:
            found, _ = folders.list_jobs(
                path,
                output,
                on_unsearched=listed.unsearched.__setitem__,
                on_left_alone=listed.left_alone.append,
            )
        except ValueError as error:
            raise UsageError(f"--output {output}: {error}.") from error
        for job in found:
            other = listed.jobs.setdefault(job.target, job)
            if other.source.resolve() != job.source.resolve():
                raise UsageError(
                    f"{other.source} and {job.source} would have the same result {job.target}: "
                    "process them with different --output folders."
                )
    try:
        folders.refuse_originals(listed.jobs.values())
    except ValueError as error:
        raise UsageError(f"--output {output}: {error}.") from error
    return listed


def _defaults() -> dict[str, object]:
    """What the environment says about this machine. The options alone decide what is made."""
    return {name: value for name, value in settings.DEFAULT_OPTIONS.items() if name == "video_encoder"}


def read_key(file: Path | None) -> bytes | None:
    """Read the secret of `--noise-key`; None if there is none.

    Raises:
        UsageError: the file cannot be read, or is too short.
    """
    if file is None:
        return None
    try:
        key = file.read_bytes()
    except OSError as error:
        raise UsageError(f"--noise-key {file} cannot be read: {error.strerror}.") from error
    if len(key) < LEAST_KEY_BYTES:
        raise UsageError(f"--noise-key {file} has {len(key)} bytes, but must have {LEAST_KEY_BYTES} or more.")
    return key


def _load_profile(value: str) -> ThresholdProfile | None:
    """Load a profile from a file, or by its name from the database. Nothing else here needs a database.

    Raises:
        UsageError: the file cannot be read, or there is no database.
        InvalidParameter: the file holds no profile, or there is no profile of this name.
    """
    # imported here: worker processes import this module too, and have no Django apps
    from anonymizer.service import profiles

    try:
        if value.lower().endswith(".json") or Path(value).name != value:
            return ThresholdProfile.load(value)
        return profiles.load_named(value)
    except OSError as error:
        raise UsageError(f"--profile {value} cannot be read: {error.strerror}.") from error
    except DatabaseError as error:
        raise UsageError(f"--profile {value}: there is no database of profiles here; name a file.") from error
