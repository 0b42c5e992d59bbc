"""`python manage.py serve`: web and workers, until it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

import requests
from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.model_zoo.registry import AUTO
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.service import claims, profiles, workers
from anonymizer.service.queue import QUEUES

START_S = 180
#: after a start that could not fetch the recommended models, until the next one tries
TRY_AGAIN_S = 3600
#: what fetching takes besides the seconds it is given
FETCH_GRACE_S = 5
#: the processes that have workers, in the order of `QUEUES`
WORKERS = ("workers", "video workers")
#: Ctrl-C, an operator, a terminal that was closed
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Command(BaseCommand):
    help = "Start web and workers; with the start options of the container that clients know."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "-a", "--anonymise", dest="object_types", action="append", choices=[each.value for each in OBJECT_TYPES],
            help="an object type to serve, once for each; without, every type for which a detector is installed",
        )  # fmt: skip
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
        parser.add_argument("--port", type=int, default=7000, help="port to listen on (7000)")
        parser.add_argument("--api-endpoint", help="what the addresses in answers begin with; the asked host without")
        parser.add_argument("--input", help="folder for uploads (media/input)")
        parser.add_argument("--output", help="folder for results (media/output)")
        parser.add_argument("--save-mask", help="default of save-mask: all, binary, instance, none")
        parser.add_argument("--mask-scale", help="default of mask-scale, percent")
        parser.add_argument("--format", help="default of format: whole, auto, pano:WIDTH or JSON tiling")
        parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
        parser.add_argument("--models", help="auto, a profile (see `models list`), TYPE=ID+ID with commas, or both")
        parser.add_argument(
            "--fetch-seconds", type=float, metavar="N",
            help="how long to try to bring the recommended models, where they are not all there (5); 0: never",
        )  # fmt: skip
        parser.add_argument("--workers", type=int, help="worker processes for images (1)")
        parser.add_argument("--video-workers", type=int, help="worker processes for videos (1); 0: take no videos")
        parser.add_argument("--video-encoder", help="default of video-encoder: auto, libx264, h264_nvenc ...")
        parser.add_argument("--web-threads", type=int, default=64, help="requests served at once (64)")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = os.environ | _environment(options)
        seconds = settings.FETCH_SECONDS if options["fetch_seconds"] is None else options["fetch_seconds"]
        try:
            store = ModelStore(
                settings.MODELS_DIR,
                device=options["device"] or settings.DEVICE,
                models=options["models"] or settings.MODELS,
            )
        except AnonymizerError as error:
            raise CommandError(str(error)) from error
        if not _bring_better(store, seconds, environment):
            self.stdout.write("The recommended models could not be fetched now; a start in an hour tries again.")
        # settings were read before the options were known: everything below runs in processes with the new ones
        self._manage(environment, "check")
        self._manage(environment, "migrate", "--verbosity", "0", "--skip-checks")
        videos = settings.VIDEO_WORKERS if options["video_workers"] is None else options["video_workers"]
        supervisor = _Supervisor(
            environment, options["host"], options["port"], options["web_threads"], with_videos=videos > 0
        )
        try:
            supervisor.start()
            url = f"http://{'127.0.0.1' if options['host'] in ('0.0.0.0', '::') else options['host']}:{options['port']}"
            self._say(url, supervisor.until_ready(url), store)
            supervisor.watch()
        except _Stopped:
            self.stdout.write("stopping: work in progress is finished first")
        finally:
            supervisor.stop()
        self.stdout.write("stopped")

    def _manage(self, environment: dict[str, str], *command: str) -> None:
        done = subprocess.run([sys.executable, sys.argv[0], *command], env=environment, check=False)
        if done.returncode:
            raise CommandError(f"`manage.py {command[0]}` failed; nothing was started.")

    def _say(self, url: str, ready: dict[str, Any], store: ModelStore) -> None:
        self.stdout.write(_models_line(ready["workers"][0], store))
        if profile := profiles.active():
            self.stdout.write(f"Threshold profile: {profile.name} is active ({profiles.thresholds(profile)})")
        if ready["checks"]["models"] != "ok":
            self.stdout.write(f"  Requests for other types are answered with 503: {ready['checks']['models']}")
        self.stdout.write(f"Ready at {url} (page), {url}/docs (API), {url}/admin. Try:")
        self.stdout.write(f"  curl -F fileobject=@photo.jpg '{url}/v1/file'")
        self.stdout.flush()


def _environment(options: dict[str, Any]) -> dict[str, str]:
    """The options as the environment variables that the settings read."""
    names = {
        "api_endpoint": "API_ENDPOINT",
        "input": "INPUT_DIR",
        "output": "OUTPUT_DIR",
        "save_mask": "SAVE_MASK",
        "mask_scale": "MASK_SCALE",
        "format": "FORMAT",
        "device": "DEVICE",
        "models": "MODELS",
        "workers": "WORKERS",
        "video_workers": "VIDEO_WORKERS",
        "video_encoder": "VIDEO_ENCODER",
    }
    given = {f"ANONYMIZER_{name}": str(options[key]) for key, name in names.items() if options[key] is not None}
    if options["object_types"]:
        given["ANONYMIZER_OBJECT_TYPES"] = ",".join(options["object_types"])
    return given


def _bring_better(store: ModelStore, seconds: float, environment: dict[str, str]) -> bool:
    """Try for a few seconds to fetch the recommended models, where they could serve and are not all there.

    A try that failed is remembered for a while, so that no start without a network waits for it again.

    Returns:
        Whether there was nothing to do, or it was done.
    """
    stamp = store.folder / ".fetch-failed"
    recently = stamp.exists() and time.time() - stamp.stat().st_mtime < TRY_AGAIN_S
    wanted = store.choice.profile in (AUTO, "recommended") and store.lacking("recommended")
    if seconds <= 0 or recently or not wanted or not os.access(store.folder, os.W_OK):
        return True
    command = [sys.executable, sys.argv[0], "models", "fetch", "recommended", "--seconds", str(seconds)]
    try:
        # of its own: a look-up of a name takes as long as it likes, and can only be killed
        code = subprocess.run(command, env=environment, check=False, timeout=seconds + FETCH_GRACE_S).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        stamp.touch()
    else:
        stamp.unlink(missing_ok=True)
    return code == 0


def _models_line(worker: dict[str, Any], store: ModelStore) -> str:
    """Which model serves which type, and what would bring better ones."""
    served = {name.replace("-", " "): "+".join(ids) for name, ids in worker["models"].items()}
    detectors = {each for ids in worker["models"].values() for each in ids}
    if masks := [each for each in worker["loaded"] if each not in detectors]:
        served["masks"] = "+".join(masks)
    hint = ""
    if store.choice.profile == AUTO and store.lacking("recommended"):
        hint = "; embedded: `python manage.py models fetch recommended` brings better ones"
    elif store.choice.profile == AUTO and worker["device"].startswith("cuda") and store.lacking("quality"):
        hint = "; `python manage.py models fetch quality` brings better ones"
    names = ", ".join(f"{name} {ids}" for name, ids in served.items()) or "none"
    return f"Models: {names} (on {worker['device']}{hint})"


class _Stopped(Exception):
    """One of `STOPPING` came."""


class _Supervisor:
    """Starts web and worker clusters, starts them again when they die, and stops them."""

    def __init__(self, environment: dict[str, str], host: str, port: int, threads: int, *, with_videos: bool) -> None:
        self._environment = environment
        # before it is handed back
        self._grace_s = settings.STOP_TIMEOUT.total_seconds()
        self._started = timezone.now().isoformat()
        self._kinds = dict(zip(WORKERS, QUEUES, strict=True))
        cluster = [sys.executable, sys.argv[0], "qcluster", "--skip-checks"]
        self._commands = {
            **dict.fromkeys(WORKERS if with_videos else WORKERS[:1], cluster),
            "web": [
                sys.executable, "-m", "gunicorn", "celantur_site.wsgi", "--bind", f"{host}:{port}",
                "--worker-class", "gthread", "--threads", str(threads), "--timeout", "0",
                "--graceful-timeout", str(round(self._grace_s)), "--log-level", "warning", "--no-control-socket",
                # `ignores` and `format` are in the query string
                "--limit-request-line", "8190",
            ],
        }  # fmt: skip
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for number in STOPPING:
            signal.signal(number, self._told_to_stop)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        raise _Stopped

    def start(self) -> None:
        for name in self._commands:
            self._spawn(name)

    def _spawn(self, name: str) -> None:
        # a session of its own: Ctrl-C reaches only this process, which then stops the others in their order
        environment = dict(self._environment)
        if name in self._kinds:
            environment["Q_CLUSTER_NAME"] = QUEUES[self._kinds[name]]
            # threads that wait sleep: by default they spin, and two busy workers slow each other down tenfold
            environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._running[name] = subprocess.Popen(self._commands[name], env=environment, start_new_session=True)

    def until_ready(self, url: str) -> dict[str, Any]:
        """Wait until `/readyz` is green, or only a model is missing, with a worker of this start; what it says.

        Raises:
            CommandError: it is not green in time, a worker cannot work, or a process died.
        """
        until = time.monotonic() + START_S
        last = "nothing answers"
        while time.monotonic() < until:
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise CommandError(f"The {name} process ended with code {process.returncode}.")
            try:
                answer = requests.get(f"{url}/readyz", timeout=5)
                ready = dict(answer.json())
                last = str(ready["checks"])
                # those of an earlier start are shown until they were not heard of for a while
                mine = [each for each in ready["workers"] if each["started"] >= self._started]
                problems = [each["problem"] for each in mine if each["problem"]]
                if problems:
                    raise CommandError(f"The worker cannot work: {problems[0]}")
                queues = {QUEUES[kind] for name, kind in self._kinds.items() if name in self._running}
                there = queues <= {each["queue"] for each in mine}
                if there and all(each == "ok" for name, each in ready["checks"].items() if name != "models"):
                    return ready | {"workers": mine}
            except requests.RequestException:
                pass
            time.sleep(0.1)
        raise CommandError(f"Not ready after {START_S} s: {last}")

    def watch(self) -> None:
        """Until a signal comes: start again what died."""
        while True:
            for name, process in self._running.items():
                if process.poll() is not None:
                    sys.stderr.write(f"{name} ended with code {process.returncode}; starting again\n")
                    self._spawn(name)
            time.sleep(1)

    def stop(self) -> None:
        """Web first, so that nothing new comes in; then the workers, which finish what they have."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        for names in (("web",), WORKERS):
            until = time.monotonic() + self._grace_s
            ending = {name: self._running[name] for name in names if name in self._running}
            for process in ending.values():
                process.terminate()
            for name, process in ending.items():
                self._wait(name, process, until)

    def _wait(self, name: str, process: subprocess.Popen[bytes], until: float) -> None:
        """Until a process has ended; one that takes longer is killed, and its tasks wait for the next start."""
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            working = workers.of_group(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if handed := claims.hand_back(working):
                sys.stderr.write(f"{name}: {handed} task(s) were not finished and wait for the next start\n")
