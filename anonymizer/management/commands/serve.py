"""`anonymizer serve`: the web server and the workers, until they are stopped."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from anonymizer.api.authentication import is_loopback_host
from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.management.supervisor import (
    PARTS,
    Stopped,
    Supervisor,
    child_command,
    child_environment,
    with_this_process,
)
from anonymizer.models import Kind
from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.registry import AUTO
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.options import parameters
from anonymizer.service import profiles
from anonymizer.service.clients import tokens
from anonymizer.service.monitoring import shared_counters
from anonymizer.service.queueing.queue import QUEUES

#: after a start that could not fetch the recommended models, the next one tries again after this time
RETRY_FETCH_S = 3600
#: what fetching may take besides its own limit
FETCH_GRACE_S = 5

#: addresses that stand for all of this machine
ANY_ADDRESS = ("0.0.0.0", "::", "")

#: the options that only set the environment variable of this name, which the settings read
VARIABLES = {
    "host": "ANONYMIZER_HOST",
    "api_endpoint": "ANONYMIZER_API_ENDPOINT",
    "input": "ANONYMIZER_INPUT_DIR",
    "output": "ANONYMIZER_OUTPUT_DIR",
    "save_mask": "ANONYMIZER_SAVE_MASK",
    "mask_scale": "ANONYMIZER_MASK_SCALE",
    "format": "ANONYMIZER_FORMAT",
    "device": "ANONYMIZER_DEVICE",
    "devices": "ANONYMIZER_DEVICES",
    "runtime": "ANONYMIZER_RUNTIME",
    "models": "ANONYMIZER_MODELS",
    "workers": "ANONYMIZER_WORKERS",
    "video_workers": "ANONYMIZER_VIDEO_WORKERS",
    "video_encoder": "ANONYMIZER_VIDEO_ENCODER",
    "allow_anonymous": "ANONYMIZER_ALLOW_ANONYMOUS",
}


class Command(AnonymizerCommand):
    """Start the service."""

    help = (
        "Start the web server and the workers. The options are the start options of the Celantur Container. "
        "Environment variables set the same and more; an option wins over its variable."
    )
    examples = """
  anonymizer serve
      serve all installed object types on http://127.0.0.1:7000
  anonymizer serve -a face -a license-plate --port 8080
      serve faces and license plates only, on another port
  anonymizer serve --format thorough --workers 2
      analyse large images closely everywhere, and two images at a time
  anonymizer serve --video-workers 0
      accept no videos, which needs half the memory
  anonymizer serve --only web --no-migrate
      only the web server, as one of several containers; others run --only images and --only videos
"""
    exit_codes = "exit codes: 0 stopped by a signal, 1 could not start or a process failed, 2 wrong usage"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options by topic."""
        detection = parser.add_argument_group("what to detect")
        detection.add_argument(
            "-a", "--anonymise", dest="object_types", action="append", choices=[each.value for each in OBJECT_TYPES],
            help="an object type to serve; repeat it for several types; default: every type with an installed model",
        )  # fmt: skip
        detection.add_argument(
            "--models", metavar="CHOICE",
            help="auto, a profile (`anonymizer models list`), TYPE=ID+ID separated by commas, or both; default: auto",
        )  # fmt: skip
        detection.add_argument(
            "--fetch-seconds", type=float, metavar="N",
            help="how long to try to fetch missing recommended models; 0: never; default: 5",
        )  # fmt: skip
        address = parser.add_argument_group("address")
        address.add_argument("--host", default="127.0.0.1", help="address to listen on")
        address.add_argument("--port", type=int, default=7000, help="port to listen on")
        address.add_argument(
            "--api-endpoint", metavar="URL",
            help="what the addresses in answers begin with; default: the host of the request",
        )  # fmt: skip
        address.add_argument(
            "--allow-anonymous", action="store_const", const="true",
            help="answer other machines although there is no token; default: answer this machine only",
        )  # fmt: skip
        requests = parser.add_argument_group("defaults of requests")
        requests.add_argument("--format", help=parameters()["format"].help)
        requests.add_argument("--save-mask", help="all, binary, instance or none; default: all")
        requests.add_argument("--mask-scale", metavar="PERCENT", help="size of the masks; default: 100")
        requests.add_argument("--video-encoder", metavar="NAME", help="auto, libx264, h264_nvenc ...; default: auto")
        working = parser.add_argument_group("how to work")
        working.add_argument(
            "--input", metavar="FOLDER", help="folder of uploads; default: `input` in ANONYMIZER_DATA_DIR"
        )
        working.add_argument(
            "--output", metavar="FOLDER", help="folder of results; default: `output` in ANONYMIZER_DATA_DIR"
        )
        device = working.add_mutually_exclusive_group()
        device.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: auto")
        device.add_argument(
            "--devices", metavar="LIST",
            help="such as cuda:0,cuda:1: a worker of each kind for each device; default: all workers on --device",
        )  # fmt: skip
        working.add_argument(
            "--runtime", metavar="NAME",
            help="what runs the networks on a CPU: auto, torch, openvino or onnxruntime; default: auto (OpenVINO)",
        )  # fmt: skip
        working.add_argument("--workers", type=int, metavar="N", help="worker processes for images; default: 1")
        working.add_argument(
            "--video-workers", type=int, metavar="N", help="worker processes for videos; 0: no videos; default: 1"
        )
        working.add_argument(
            "--only", choices=list(PARTS), default="",
            help="a part of the service: the web server, or the workers of a queue; default: all",
        )  # fmt: skip
        working.add_argument(
            "--no-migrate", action="store_true",
            help="do not change the tables of the database; the start fails if migrations are missing",
        )  # fmt: skip
        working.add_argument("--web-threads", type=int, default=64, metavar="N", help="requests handled at once")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the models and the database, start all processes, and supervise them until a signal is received.

        Raises:
            CommandError: the service cannot start.
        """
        counters = shared_counters.begin(settings.DATA_DIR)
        # where there is no web server, this process tells what its workers count
        os.environ |= counters
        environment = child_environment(_variables(options) | counters)
        self._answers_all = settings.ALLOW_ANONYMOUS or options["allow_anonymous"] is not None
        self._is_public = not is_loopback_host(options["host"])
        given = options["host"] not in ANY_ADDRESS or options["api_endpoint"] is not None
        self._has_names = given or set(settings.ALLOWED_HOSTS) != set(settings.LOOPBACK_HOSTS)
        seconds = settings.FETCH_SECONDS if options["fetch_seconds"] is None else options["fetch_seconds"]
        devices = settings.DEVICES if options["devices"] is None else options["devices"].split(",")
        # each worker checks its own
        device = options["device"] or (devices[0] if devices else settings.DEVICE)
        try:
            store = ModelStore(
                settings.MODELS_DIR,
                device=device,
                models=options["models"] or settings.MODELS,
                runtime=options["runtime"] or settings.RUNTIME,
            )
        except AnonymizerError as error:
            raise UsageError(str(error)) from error
        if not _fetch_recommended(store, seconds, environment):
            self.stdout.write("The recommended models could not be fetched. A start after an hour tries again.")
        # the settings were read before the options were known: all else runs in processes with the new settings
        self._manage(environment, "check")
        if options["no_migrate"]:
            missing = "The database lacks migrations, and --no-migrate is given: run `anonymizer manage migrate` first."
            self._manage(environment, "migrate", "--check", "--skip-checks", failure=missing)
        else:
            self._manage(environment, "migrate", "--verbosity", "0", "--skip-checks")
        videos = settings.VIDEO_WORKERS if options["video_workers"] is None else options["video_workers"]
        if options["only"] == "videos" and not videos:
            raise UsageError("--only videos needs a worker for videos, but --video-workers is 0.")
        supervisor = Supervisor(
            environment, options["host"], options["port"], options["web_threads"],
            with_videos=videos > 0, only=options["only"],
        )  # fmt: skip
        try:
            supervisor.start()
            self._print_ready(supervisor.url, supervisor.wait_until_ready(), store, options["only"])
            supervisor.supervise()
        except Stopped:
            self.stdout.write("stopping: work in progress is finished first")
        finally:
            supervisor.stop()
        self.stdout.write("stopped")

    def _manage(self, environment: dict[str, str], *command: str, failure: str = "") -> None:
        done = subprocess.run(
            child_command("manage", *command), env=environment, check=False, preexec_fn=with_this_process()
        )
        if done.returncode:
            raise CommandError(failure or f"`anonymizer manage {command[0]}` failed; nothing was started.")

    def _print_ready(self, url: str, ready: dict[str, Any], store: ModelStore, only: str) -> None:
        kind = Kind.VIDEO if only == "videos" else Kind.IMAGE
        for loaded in [worker for worker in ready["workers"] if worker["queue"] == QUEUES[kind]][:1]:
            self.stdout.write(_models_line(loaded, store))
        if profile := profiles.active():
            self.stdout.write(f"Threshold profile: {profile.name} is active ({profiles.thresholds(profile)})")
        if ready["checks"]["models"] != "ok":
            self.stdout.write(f"  Requests for other types are answered with 503: {ready['checks']['models']}")
        if only in ("images", "videos"):
            self.stdout.write(f"Ready at {url}/readyz: workers for {only}, and no web server")
            self.stdout.flush()
            return
        self._print_who_is_answered()
        self.stdout.write(f"Ready at {url} (page), {url}/docs (API), {url}/admin. Try:")
        self.stdout.write(f"  curl -F fileobject=@photo.jpg '{url}/v1/file'")
        self.stdout.flush()

    def _print_who_is_answered(self) -> None:
        if tokens.exist():
            self.stdout.write("Every request needs a token (`anonymizer token list`)")
        elif self._answers_all:
            self.stdout.write("Everybody who reaches this server is answered, because --allow-anonymous is on")
        elif self._is_public:
            self.stdout.write(
                "Only this machine is answered: `anonymizer token create NAME` makes a token for others, and "
                "--allow-anonymous answers everybody"
            )
        if self._is_public and not self._has_names:
            self.stdout.write("Only loopback names are answered: ANONYMIZER_ALLOWED_HOSTS adds names and addresses")


def _variables(options: dict[str, Any]) -> dict[str, str]:
    """The given options as the environment variables that the settings read."""
    given = {variable: str(options[name]) for name, variable in VARIABLES.items() if options[name] is not None}
    if options["object_types"]:
        given["ANONYMIZER_OBJECT_TYPES"] = ",".join(options["object_types"])
    if options["host"] not in ANY_ADDRESS:
        # an address that the server is told to listen on is one of its names
        named = f"[{options['host']}]" if ":" in options["host"] else options["host"]
        given["ANONYMIZER_ALLOWED_HOSTS"] = ",".join(filter(None, [os.environ.get("ANONYMIZER_ALLOWED_HOSTS"), named]))
    return given


def _fetch_recommended(store: ModelStore, seconds: float, environment: dict[str, str]) -> bool:
    """Try for a few seconds to fetch the recommended models, if they would serve and some are missing.

    A failed try is remembered for a while, so that a start without a network does not wait each time.

    Returns:
        Whether all went well, or there was nothing to do.
    """
    stamp = store.folder / ".fetch-failed"
    failed_recently = stamp.exists() and time.time() - stamp.stat().st_mtime < RETRY_FETCH_S
    wanted = store.choice.profile in (AUTO, "recommended") and store.incomplete_models("recommended")
    if seconds <= 0 or failed_recently or not wanted or not os.access(store.folder, os.W_OK):
        return True
    command = child_command("models", "fetch", "recommended", "--seconds", str(seconds))
    try:
        # a process of its own: a name look-up has no time limit and can only be killed
        code = subprocess.run(
            command, env=environment, check=False, timeout=seconds + FETCH_GRACE_S, preexec_fn=with_this_process()
        ).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        stamp.touch()
    else:
        stamp.unlink(missing_ok=True)
    return code == 0


def _models_line(worker: dict[str, Any], store: ModelStore) -> str:
    """Which model serves which type, and which command fetches better ones."""
    served = {name.replace("-", " "): "+".join(ids) for name, ids in worker["models"].items()}
    detectors = {model_id for ids in worker["models"].values() for model_id in ids}
    if masks := [model_id for model_id in worker["loaded"] if model_id not in detectors]:
        served["masks"] = "+".join(masks)
    hint = ""
    unusable = store.unusable_models("recommended") if store.choice.profile == AUTO else []
    if unusable and store.incomplete_models("recommended"):
        hint = "; embedded models; `anonymizer models fetch recommended` fetches better ones"
    elif unusable:
        hint = f'; {" and ".join(entry.id for entry in unusable)} would need `pip install "anonymizer[models]"`'
    elif store.choice.profile == AUTO and worker["device"].startswith("cuda") and store.unusable_models("quality"):
        hint = "; `anonymizer models fetch quality` fetches better ones"
    names = ", ".join(f"{name} {ids}" for name, ids in served.items()) or "none"
    return f"Models: {names} (on {worker['device']}{hint})"
