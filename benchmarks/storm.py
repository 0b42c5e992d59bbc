"""A storm: processes and servers are killed at random while clients upload, and nothing may be lost, doubled or left.

`benchmarks.load --table storm` starts it. Two services share PostgreSQL, Redis and a bucket of S3.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks import cluster_servers
from tests import s3
from tests.conftest import ROOT, Server, serving
from tests.faults.conftest import PARTS, of_service
from tests.pictures import drawn, encoded
from tests.service.webhooks.receivers import Receiver, answer

__all__ = ["Findings", "Hosts", "Storm", "hosts"]

CLIENTS = 8
#: how long work on one picture takes at least, so that kills meet it
WORK_S = 0.3
#: how long S3 is away, and how long PostgreSQL and Redis are at most
S3_AWAY_S, SERVER_AWAY_S = 30.0, 4.0
#: the pause after a kill
PAUSES_S = (0.5, 3.0)
#: each so many tasks, a client waits for the result; each so many, it deletes the task at once
SYNC_EACH, DELETE_EACH = 7, 20
#: how often each is killed in a hundred kills
TARGETS = {
    "worker": 32, "pusher": 12, "monitor": 8, "guard": 6, "web process": 10, "gunicorn": 6, "webhooks": 8,
    "PostgreSQL": 8, "Redis": 7, "S3": 3,
}  # fmt: skip
#: what the clean-up and the database say in the end
LOOK = """
import json, django; django.setup()
from datetime import timedelta
from anonymizer.models import DeletionReceipt, File, IdempotencyKey, Task, WebhookDelivery
from anonymizer.service.cleanup import cleanup
report = cleanup(None, orphan_age=timedelta(0))
print("LOOK", json.dumps({
    "swept": report.orphans, "lost files": report.lost, "unconfirmed": report.unconfirmed,
    "tasks": {str(pk): [status, leases, cause, hook] for pk, status, leases, cause, hook in
              Task.objects.values_list("pk", "status", "leases", "failure_cause", "webhook_status")},
    "files": [[str(file.task_id), file.kind, f"{file.storage_alias}/{file.key}", file.sha256]
              for file in File.objects.all()],
    "webhooks that wait": WebhookDelivery.objects.exclude(next_try=None).count(),
    "keys": IdempotencyKey.objects.count(),
}))
"""


@dataclass
class Hosts:
    """Two services, and the servers that they share."""

    services: list[Server]
    postgres: cluster_servers.Postgres
    redis: cluster_servers.Redis
    bucket: s3.S3
    environment: dict[str, str]

    def look(self) -> dict[str, Any]:
        """Clean up, and return what the database holds then."""
        env = os.environ | self.environment | {"ANONYMIZER_DATA_DIR": str(self.services[0].folder)}
        done = subprocess.run(
            [sys.executable, "-c", LOOK], cwd=ROOT, env=env, check=True, text=True, stdout=subprocess.PIPE
        )
        found: dict[str, Any] = json.loads(done.stdout.rpartition("LOOK ")[2])
        return found


@contextlib.contextmanager
def hosts(settings: dict[str, str]) -> Iterator[Hosts]:
    """Two services that share a database, a broker and a bucket, with three workers in all."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres, redis = stack.enter_context(cluster_servers.running())
        bucket = stack.enter_context(s3.running())
        shared = settings | s3.KEYS | {
            "DATABASE_URL": postgres.create("storm"), "BROKER_URL": redis.url, "STORAGE_URL": bucket.storage_url(),
            "STAND_IN_SECONDS": str(WORK_S), "ANONYMIZER_LOG_LEVEL": "DEBUG",
            "ANONYMIZER_WEBHOOK_WAITS": "2s,4s,8s,15s,30s",
        }  # fmt: skip
        services = []
        for name, workers in (("one", 2), ("two", 1)):
            (folder / name).mkdir()
            context = serving(folder / name, "-a", "face", "--workers", str(workers), ready_s=280, **shared)
            services.append(stack.enter_context(context))
        yield Hosts(services, postgres, redis, bucket, shared)


@dataclass
class Findings:
    """What clients and the storm saw."""

    #: by upload, the id of its task
    ids: dict[int, str] = field(default_factory=dict)
    #: uploads whose repetition with the same key gave another task
    doubled: list[int] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    #: how often a client had to try again
    retries: collections.Counter[str] = field(default_factory=collections.Counter)
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)


class Storm:
    """Kill parts of services at random, and serve clients meanwhile.

    Args:
        hosts: the services.
        tasks: how many uploads.
        kills: how many kills.
        seed: of the random choices.
    """

    def __init__(self, hosts: Hosts, tasks: int, kills: int, seed: int) -> None:
        self._hosts, self._tasks, self._random = hosts, tasks, random.Random(seed)
        names, weights = zip(*TARGETS.items(), strict=True)
        # each target at least once, where there are enough kills
        chosen = [*names, *self._random.choices(names, weights, k=max(0, kills - len(names)))][:kills]
        self._random.shuffle(chosen)
        self._targets = chosen
        self._over = threading.Event()
        self.found = Findings()

    def run(self) -> Findings:
        """Upload all, evenly over the storm, and return when the last task has ended or has not for long."""
        receiver = Receiver(answer(200))
        spread = len(self._targets) * (sum(PAUSES_S) / 2 + 1.5) / self._tasks * CLIENTS
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            uploads = [
                pool.submit(self._client, range(number, self._tasks, CLIENTS), receiver.url, spread)
                for number in range(CLIENTS)
            ]
            self._kill_all()
            self._over.set()
            for each in uploads:
                each.result()
        self._wait_for_the_end()
        self._wait_for_webhooks(receiver)
        receiver.stop()
        return self.found

    # --- kills

    def _kill_all(self) -> None:
        for number, name in enumerate(self._targets):
            self._kill(name)
            self.found.kills[name] += 1
            print(f"\r{number + 1} kills, {len(self.found.ids)} uploads ", end="", file=sys.stderr, flush=True)
            time.sleep(self._random.uniform(*PAUSES_S))

    def _kill(self, name: str) -> None:
        if name == "S3":
            with self._hosts.bucket.gate.closed():
                time.sleep(S3_AWAY_S)
        elif name in ("PostgreSQL", "Redis"):
            server: Any = self._hosts.postgres if name == "PostgreSQL" else self._hosts.redis
            server.stop()
            time.sleep(self._random.uniform(0, SERVER_AWAY_S))
            server.start()
        else:
            service = self._random.choice(self._hosts.services)
            end = time.monotonic() + 60
            while not (found := processes(service, name)):
                if time.monotonic() > end:
                    self.found.problems.append(f"no {name} for a minute")
                    return
                time.sleep(0.2)
            with contextlib.suppress(psutil.NoSuchProcess):
                self._random.choice(found).send_signal(signal.SIGKILL)

    # --- clients

    def _client(self, numbers: range, webhook: str, pause_s: float) -> None:
        chance = random.Random(numbers.start)
        for number in numbers:
            if not self._over.is_set():
                time.sleep(chance.uniform(0, 2 * pause_s))
            self._upload(number, webhook, chance)

    def _upload(self, number: int, webhook: str, chance: random.Random) -> None:
        content = encoded(drawn(seed=number))
        waits = number % SYNC_EACH == 0

        def post() -> requests.Response:
            headers = {"Idempotency-Key": f"upload {number}"} | ({} if waits else {"x-is-async": "true"})
            return requests.post(
                f"{self._url(chance)}/v1/file?face=1&webhook={webhook}", files={"fileobject": ("a.jpg", content)},
                headers=headers, timeout=120,
            )  # fmt: skip

        task_id = str(self._insist(post, (201, 202)).json()["id"])
        self.found.ids[number] = task_id
        if number % DELETE_EACH == 7:
            self._insist(lambda: requests.delete(f"{self._url(chance)}/v1/task/{task_id}", timeout=60), (200,))
            self.found.deleted.add(task_id)
        elif number % 5 == 0:
            # a client that did not get the answer
            again = str(self._insist(post, (201, 202)).json()["id"])
            if again != task_id:
                self.found.doubled.append(number)

    def _url(self, chance: random.Random) -> str:
        return chance.choice(self._hosts.services).url

    def _insist(self, send: Callable[[], requests.Response], good: tuple[int, ...]) -> requests.Response:
        """Try again as a client does, until the service answers."""
        for _ in range(300):
            try:
                response = send()
            except requests.RequestException as error:
                self.found.retries[type(error).__name__] += 1
            else:
                if response.status_code in good:
                    return response
                self.found.retries[str(response.status_code)] += 1
                if response.status_code not in (502, 503):
                    self.found.problems.append(f"{response.status_code}: {response.text[:300]}")
            time.sleep(0.5)
        raise AssertionError("a client got no answer in 300 tries")

    # --- the end

    def _wait_for_the_end(self, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        service = self._hosts.services[0]
        left = -1
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError, KeyError):
                left = sum(
                    service.get(f"/v1/task/list?status={each}&page_size=1").json()["count"]
                    for each in ("new", "queued", "processing")
                )
                if left == 0:
                    return
            time.sleep(1)
        self.found.problems.append(f"{left} tasks have not ended after {seconds:.0f} s")

    def _wait_for_webhooks(self, receiver: Receiver, seconds: float = 150) -> None:
        wanted = set(self.found.ids.values()) - self.found.deleted
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            got = deliveries(receiver)
            if wanted <= got.keys():
                break
            time.sleep(1)
        # let the last tries be written down
        time.sleep(3)
        got = deliveries(receiver)
        if missing := wanted - got.keys():
            self.found.problems.append(f"{len(missing)} webhooks did not come")
        self.found.retries["webhook that came again"] += sum(sum(ids.values()) - 1 for ids in got.values())
        if twice := [task_id for task_id, ids in got.items() if len(ids) > 1]:
            self.found.problems.append(f"{len(twice)} tasks had webhooks with several ids")


def deliveries(receiver: Receiver) -> dict[str, collections.Counter[str]]:
    """By task, how often each delivery came."""
    found: dict[str, collections.Counter[str]] = {}
    for number in range(len(receiver.requests)):
        with contextlib.suppress(ValueError):
            task_id = str(json.loads(receiver.body(number))["id"])
            found.setdefault(task_id, collections.Counter())[str(receiver.header("X-Anonymizer-Delivery", number))] += 1
    return found


def processes(service: Server, name: str) -> list[psutil.Process]:
    """The living processes of a service that do one thing."""
    children = psutil.Process(service.process.pid).children()
    with contextlib.suppress(psutil.Error):
        if name in ("gunicorn", "web process"):
            masters = [each for each in children if "gunicorn" in each.cmdline()]
            return masters if name == "gunicorn" else [child for each in masters for child in each.children()]
        if name == "webhooks":
            return [each for each in children if "webhooks" in each.cmdline()]
        guards = [each for each in children if "cluster" in each.cmdline() and "webhooks" not in each.cmdline()]
        if name == "guard":
            return guards
        pids = {int(pid) for pid in re.findall(rf"{PARTS[name]} at (\d+)", service.log)}
        return [child for each in guards for child in each.children() if child.pid in pids]
    return []


def check(running: Hosts, found: Findings) -> dict[str, str]:
    """Compare what clients saw with the database and the bucket. Then delete all, and look what is left."""
    seen = running.look()
    tasks, done = seen["tasks"], [pk for pk, row in seen["tasks"].items() if row[0] == "done"]
    keys = {place for _, _, place, _ in seen["files"]}
    results = collections.Counter(task for task, kind, _, _ in seen["files"] if kind == "anonymised")
    states = collections.Counter(row[0] for row in tasks.values())
    causes = collections.Counter(row[2] for row in tasks.values() if row[0] == "failed")
    wrong = [pk for pk in done if not _is_whole(running.services[1], pk)]
    rows = {
        "uploads, tasks of them, rows": f"{len(found.ids)}, {len(set(found.ids.values()))}, {len(tasks)}",
        "ended": f"{dict(states)} {dict(causes) or ''}",
        "lost": str(len(set(found.ids.values()) - set(tasks))),
        "tasks that a client did not ask for": str(len(set(tasks) - set(found.ids.values()))),
        "twice for a client": str(len(found.doubled)),
        "results that cannot be fetched whole": str(len(wrong)),
        "done with other than one result": str(sum(results[pk] != 1 for pk in done)),
        "taken up again": str(sum(row[1] > 1 for row in tasks.values())),
        "files that the clean-up removed": str(seen["swept"]),
        "files without a row, rows without a file": _differences(running.bucket, keys),
        "webhooks that wait": str(seen["webhooks that wait"]),
        "notifications in Redis": str(_notifications(running)),
        "multipart uploads that did not end": str(running.bucket.unfinished()),
    }
    requests.delete(f"{running.services[0].url}/v1/task/lists", timeout=300)
    after = running.look()
    left = [path for service in running.services for path in _scratch(service.folder)]
    rows["after all were deleted"] = (
        f"{len(running.bucket.objects())} objects, {len(after['files'])} rows of files, {len(left)} temporary files, "
        f"{after['unconfirmed']} open receipts"
    )
    return rows


def _scratch(folder: Path) -> list[Path]:
    return [path for path in (folder / "scratch").rglob("*") if path.is_file() and path.suffix != ".lock"]


def _notifications(running: Hosts) -> int:
    import redis

    return int(redis.Redis.from_url(running.redis.url).llen("anonymizer:images"))


def _differences(bucket: s3.S3, keys: set[str]) -> str:
    objects = set(bucket.objects())
    return f"{len(objects - keys)}, {len(keys - objects)}"


def _is_whole(service: Server, task_id: str) -> bool:
    import hashlib

    got = service.get(f"/v1/file/{task_id}/anonymised")
    return got.status_code == 200 and got.headers["ETag"] == f'"{hashlib.sha256(got.content).hexdigest()}"'


def left_processes(running: Hosts) -> int:
    """How many processes of the services live besides those of `serve`."""
    own = set()
    for service in running.services:
        parent = psutil.Process(service.process.pid)
        own |= {parent.pid, *(each.pid for each in parent.children(recursive=True))}
    return sum(each.pid not in own for service in running.services for each in of_service(service.folder))
