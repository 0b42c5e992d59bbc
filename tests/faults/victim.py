"""A process that does one thing of the service, and ends itself with SIGKILL at a chosen step of it.

    python -m tests.faults.victim DATABASE

Each line of its input is an order in JSON; for each it forks a process, and answers with the number of that process and
how it ended. So Django and the pipeline are loaded once. No code of the service knows of this.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Step", "Victim"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Step:
    """Where the process ends itself.

    Attributes:
        place: a module and a name in it.
        when: `before` or `after` the call; `half`: in the middle of the bytes that it yields.
        call: at which call, counted from 1.
    """

    place: str
    when: str = "after"
    call: int = 1


class Victim:
    """The launcher, as a test sees it.

    Args:
        database: the path of the database.
        secret_key: the one of the test's own process, which reads what is in the queue.
        folder: for what the settings want to store.
    """

    def __init__(self, database: str, secret_key: str, folder: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
        env |= {"ANONYMIZER_DATA_DIR": str(folder), "ANONYMIZER_SECRET_KEY": secret_key, "ANONYMIZER_HOST": "127.0.0.1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim", database], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=env,
        )  # fmt: skip

    def dies(self, action: str, *args: str, step: Step, media: Path, **how: Any) -> int:
        """Have a process do something until it is killed, and return its number.

        Args:
            action: one of `ACTIONS`.
            args: of the action.
            step: where it is killed. An action that does not come to it is an error.
            media: the folder with the storages; temporary files go to `tmp` in it.
            how: settings of Django, and `Q_CLUSTER_NAME`.
        """
        (media / "tmp").mkdir(exist_ok=True)
        order = {"action": action, "args": args, "step": vars(step), "media": str(media), "how": how}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid, code = json.loads(self._process.stdout.readline())
        assert code == -signal.SIGKILL, f"{action} did not come to {step}: it ended with code {code}"
        return int(pid)

    def end(self) -> None:
        """End the launcher."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _upload(content: str, query: str, key: str) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client

    file = SimpleUploadedFile("a.jpg", bytes.fromhex(content))
    headers = {"x-is-async": "1", "Idempotency-Key": key}
    Client(SERVER_NAME="localhost").post(f"/v1/file?{query}", {"fileobject": file}, headers=headers)


def _work(task_id: str) -> None:
    from anonymizer.service import work

    work.process(task_id)


def _send() -> None:
    from anonymizer.service.webhooks import sender

    sender.send_due()


def _delete(task_id: str) -> None:
    from django.test import Client

    Client(SERVER_NAME="localhost").delete(f"/v1/task/{task_id}")


def _again(task_id: str) -> None:
    from anonymizer.models import Task
    from anonymizer.service import submit

    submit.run_again(Task.objects.get(pk=task_id))


def _clip(task_id: str) -> None:
    from anonymizer.service.previews import jobs

    jobs.make_clip(task_id, "0")


ACTIONS: dict[str, Callable[..., None]] = {
    "upload": _upload, "work": _work, "send": _send, "delete": _delete, "again": _again, "clip": _clip,
}  # fmt: skip


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(step: Step) -> None:
    """Replace a function by one that kills this process."""
    module, _, name = step.place.partition(":")
    *owners, last = name.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original, calls = getattr(owner, last), 0

    @functools.wraps(original)
    def armed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != step.call:
            return original(*args, **kwargs)
        if step.when == "half":
            return _half(original(*args, **kwargs))
        if step.when == "after":
            original(*args, **kwargs)
        _die()
        return None

    setattr(owner, last, armed)


def _half(parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield part[: len(part) // 2]
        # whoever wrote the half asks for more
        _die()


def _prepare(media: Path, how: dict[str, Any]) -> None:
    """Use the folders of the test, and a detector that costs nothing."""
    from django.conf import settings
    from django.test import override_settings

    from anonymizer.pipeline.anonymizer import Anonymizer
    from anonymizer.pipeline.images.io import check_header
    from anonymizer.pipeline.video.io.reader import check_video
    from anonymizer.service import engine, submit
    from tests.fakes import FakeDetector, FakeStore

    os.environ["Q_CLUSTER_NAME"] = how.pop("Q_CLUSTER_NAME", "images")
    tempfile.tempdir = str(media / "tmp")
    files = "django.core.files.storage.FileSystemStorage"
    places = {name: {"BACKEND": files, "OPTIONS": {"location": str(media / name)}} for name in ("input", "output")}
    override_settings(STORAGES=settings.STORAGES | places, **how).enable()
    store = FakeStore(FakeDetector())
    anonymizer = Anonymizer(store=store, noise_key=b"key")
    engine.store, engine.anonymizer = (lambda: store), (lambda: anonymizer)  # type: ignore[assignment]
    # the check needs no process of its own here: the upload is a good file
    checks: Any = submit
    checks.inspect_picture, checks.inspect_video = check_header, check_video


def _obey(order: dict[str, Any]) -> None:
    """Do what is ordered, in a process that was made for it."""
    try:
        _prepare(Path(order["media"]), order["how"])
        _arm(Step(**order["step"]))
        ACTIONS[order["action"]](*order["args"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def main() -> None:
    """Run as a program."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "celantur_site.settings"
    from celantur_site import settings

    settings.DATABASES["default"]["NAME"] = sys.argv[1]
    import django

    django.setup()
    importlib.import_module("anonymizer.service.work")
    importlib.import_module("anonymizer.service.webhooks.sender")
    importlib.import_module("celantur_site.urls")
    importlib.import_module("tests.fakes")
    answers = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), write_through=True)
    # what the service prints is no answer
    os.dup2(2, 1)
    for line in sys.stdin:
        if not (pid := os.fork()):
            _obey(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), file=answers, flush=True)


if __name__ == "__main__":
    main()
