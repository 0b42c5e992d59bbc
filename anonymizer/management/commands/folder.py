"""`anonymizer folder`: one folder or bucket, with processes of this machine or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from anonymizer.management.base import UsageError
from anonymizer.management.bulk_report import BulkReport, summary_line
from anonymizer.management.commands import anonymize
from anonymizer.management.run_report import printable
from anonymizer.management.stop_signals import exit_code


class Command(anonymize.Command):
    """Anonymise one folder or bucket; without `--ray` it is `anonymizer run`."""

    help = (
        "Anonymise the images and videos of a folder or a bucket. With --ray, actors of a Ray cluster work on them, "
        "and a manifest (Parquet, one row for each file) says what is done: a run that was stopped goes on. Without "
        "--ray it is `anonymizer run`. --ray needs: pip install anonymizer[ray]"
    )
    examples = """
  anonymizer folder --input photos --output out --face
      the same as `anonymizer run photos --output out --face`
  anonymizer folder --input s3://bucket/raw --output s3://bucket/clean --ray auto
      work on the cluster that this machine belongs to; so do gs:// and abfss:// addresses
  anonymizer folder --input photos --output out --ray local --num-cpus 2
      a cluster of this machine alone, with actors of two cores
  anonymizer folder --input s3://bucket/raw --output s3://bucket/clean --ray 10.0.0.1:6379 --num-gpus 0.5
      two actors share each GPU
"""
    exit_codes = (
        "exit codes:\n"
        "  0  every file is done, or already had a result\n"
        "  1  a file failed and has no result, or a folder was not searched, or the cluster could not go on\n"
        "  2  wrong usage, or a model is missing: nothing was processed\n"
        "  130  interrupted by Ctrl-C, 143 by SIGTERM: the next run goes on"
    )
    path_type = str
    usage = "%(prog)s --input FOLDER --output FOLDER [--ray ADDRESS] [options]"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the cluster to those of `run`."""
        super().add_arguments(parser)
        ray = parser.add_argument_group("on a Ray cluster")
        ray.add_argument(
            "--ray", metavar="ADDRESS|local",
            help="address of a cluster: auto, HOST:PORT, or local for one of this machine alone; default: without Ray",
        )  # fmt: skip
        ray.add_argument(
            "--manifest", metavar="FOLDER", help="folder of the manifest; default: _manifest in the output"
        )
        ray.add_argument("--num-cpus", type=float, default=1, metavar="N", help="cores of each actor")
        ray.add_argument("--num-gpus", type=float, default=0, metavar="N", help="GPUs of each actor; default: 0")
        ray.add_argument(
            "--actors", type=int, metavar="N", help="the most actors; default: as many as there is room for"
        )
        ray.add_argument(
            "--batch-files", type=int, default=16, metavar="N", help="images that an actor takes at a time"
        )
        ray.add_argument(
            "--detector-batch", type=int, metavar="N",
            help="images that go through the detectors together; default: 8 on a GPU, 1 on a CPU",
        )  # fmt: skip
        ray.add_argument(
            "--video-cpus", type=float, metavar="N", help="cores of an actor for videos; default: --num-cpus"
        )

    def add_inputs(self, parser: CommandParser) -> None:
        """Add what is to be anonymised."""
        parser.add_argument("--input", required=True, metavar="FOLDER", help="folder or its address; required")

    def check_and_run(self, given: dict[str, Any]) -> None:
        """Run it as `anonymizer run` does, or on a cluster.

        Raises:
            UsageError, CommandError: as `handle`.
        """
        if given["ray"] is not None:
            self._run_on_cluster(given)
            return
        for name in ("input", "output"):
            if "://" in given[name]:
                raise UsageError(f"--{name} {given[name]} is no folder of this machine: such addresses need --ray.")
        local = {"inputs": [Path(given["input"])], "input": [], "output": Path(given["output"])}
        super().check_and_run(given | local)

    def _run_on_cluster(self, given: dict[str, Any]) -> None:
        from anonymizer.bulk.cluster import ActorPool, BulkFailed, require_ray

        try:
            require_ray()
            pool = ActorPool(
                num_cpus=given["num_cpus"], num_gpus=given["num_gpus"], actors=given["actors"],
                batch_files=given["batch_files"], detector_batch=given["detector_batch"],
                video_cpus=given["video_cpus"],
            )  # fmt: skip
        except (BulkFailed, ValueError) as error:
            raise UsageError(str(error)) from error
        make = self.maker(given)
        options = self.checked_options(given, make)
        from anonymizer.bulk.run import anonymise

        with BulkReport(stdout=self.stdout, stderr=self.stderr, as_json=given["json"]) as report:
            try:
                summary = anonymise(
                    given["input"], options, output=given["output"], manifest=given["manifest"], address=given["ray"],
                    pool=pool, overwrite=given["overwrite"], make_anonymizer=make, on_rows=report.add,
                    noise_key=anonymize.read_key(given["noise_key"]),
                )  # fmt: skip
            except BulkFailed as error:
                raise CommandError(str(error), returncode=1) from error
            except (ValueError, OSError) as error:
                raise UsageError(f"--input {given['input']}: {error}.") from error
            except KeyboardInterrupt as error:
                sentence = "Interrupted: the next run goes on where this one stopped."
                raise CommandError(sentence, returncode=exit_code(error)) from None
        for name, reason in summary.unsearched.items():
            self.stderr.write(printable(f"NOT SEARCHED {name}: {reason}"))
        (self.stderr if given["json"] else self.stdout).write(summary_line(summary))
        failures = [f"{summary.failed} file(s) failed and have no result."] if summary.failed else []
        if summary.unsearched:
            failures.append(f"{len(summary.unsearched)} file(s) or folder(s) were not searched.")
        if failures:
            raise CommandError(" ".join(failures), returncode=1)
