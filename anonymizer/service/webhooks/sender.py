"""The process that sends webhooks: it looks for deliveries that are due, and tries several at a time."""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import logging
import os
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import certifi
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, connection

from anonymizer import __version__
from anonymizer.models import Status, Task
from anonymizer.service import reports
from anonymizer.service.queueing.changes import watch
from anonymizer.service.queueing.connections import give_back
from anonymizer.service.queueing.notices import WEBHOOKS
from anonymizer.service.webhooks import deliveries, targets
from anonymizer.service.webhooks.connection import TIMEOUT_S, Answer, Deadline, post, resolve
from anonymizer.service.webhooks.deliveries import Taken

__all__ = ["run", "send_due", "send_one"]

log = logging.getLogger(__name__)
#: tries at the same time, and those of them to the same receiver: one slow receiver leaves room for others
THREADS = 8
THREADS_A_HOST = 3
#: the pause between two looks for deliveries that are due, in seconds
PAUSE_S = 0.2
#: where the database announces deliveries, the next look is when one is due; the longest time until then, in seconds
MOST_PAUSE_S = 3600.0
#: the pause after the database did not answer, in seconds
DATABASE_PAUSE_S = 2.0
#: how often the end of a try is written down, if the database does not answer
WRITES = 5


def run(stop: threading.Event) -> None:
    """Send webhooks until `stop` is set, or until the process that started this one is gone.

    Tries that have begun are ended first, which takes at most ten seconds.
    """
    parent = os.getppid()
    running: dict[Future[None], str] = {}
    database_is_away, look_again_s = False, 0.0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="webhook") as pool, watch(WEBHOOKS) as watched:
        announced = connection.vendor == "postgresql"
        while not stop.is_set() and os.getppid() == parent:
            ended = {future for future in running if future.done()}
            running = {future: host for future, host in running.items() if future not in ended}
            woken = watched.wait(PAUSE_S) if announced else not stop.wait(PAUSE_S)
            if not (woken or ended or time.monotonic() >= look_again_s):
                continue
            try:
                while len(running) < THREADS and (taken := deliveries.take_due(_busy(running))) is not None:
                    running[pool.submit(_try_in_thread, taken)] = taken.delivery.host
                database_is_away = False
                look_again_s = time.monotonic() + deliveries.seconds_until_due(MOST_PAUSE_S) if announced else 0.0
            except DatabaseError:
                # one line, not one for each look
                if not database_is_away:
                    log.exception("The database did not say which webhooks are due. The next look comes soon.")
                database_is_away = True
                connection.close()
                stop.wait(DATABASE_PAUSE_S)


def send_due() -> int:
    """Send all deliveries that are due, one after the other, and return how many tries that took."""
    tries = 0
    while (taken := deliveries.take_due()) is not None:
        send_one(taken)
        tries += 1
    return tries


def send_one(taken: Taken) -> None:
    """Try a delivery once, and write down how that ended."""
    task = Task.objects.prefetch_related("files").filter(pk=taken.delivery.task_id).first()
    if task is None or task.status not in (Status.DONE, Status.FAILED):
        # deleted in this moment, with its delivery
        return
    answer = _send(task, taken)
    if not answer.ok:
        log.warning("The webhook of task %s failed: %s.", task.pk, answer.error or f"status {answer.status}")
    _write_down(taken, answer)


def _busy(running: dict[Future[None], str]) -> list[str]:
    return [host for host, count in Counter(running.values()).items() if count >= THREADS_A_HOST]


def _try_in_thread(taken: Taken) -> None:
    try:
        send_one(taken)
    except Exception:
        # the outer edge of the thread: the delivery is due again when its lease has run out
        log.exception("A try of webhook %s failed.", taken.delivery.pk)
        connection.close()
    finally:
        give_back()


def _send(task: Task, taken: Taken) -> Answer:
    body = DjangoJSONEncoder().encode(reports.report(task)).encode()
    try:
        receiver = targets.parse(task.webhook_url)
        with Deadline(TIMEOUT_S) as deadline:
            addresses = targets.allowed_addresses(
                receiver,
                resolve(receiver, deadline),
                allowed=settings.WEBHOOK_NETWORKS,
                loopback=serves_loopback_only(),
            )
            return post(receiver, addresses, _headers(task, taken, body), body, deadline=deadline, context=_trusted())
    except targets.RefusedTarget as error:
        return Answer(error=f"refused: {error}")
    except OSError as error:
        return Answer(error=f"the receiver was not found ({type(error).__name__})")


def _headers(task: Task, taken: Taken, body: bytes) -> dict[str, str]:
    headers = {"User-Agent": f"anonymizer/{__version__}"}
    # a version before this one let callers name headers that only this server may set
    if task.webhook_header_name and not targets.is_own_header(task.webhook_header_name):
        headers = {name: value for name, value in headers.items() if name.lower() != task.webhook_header_name.lower()}
        headers[task.webhook_header_name] = task.webhook_header_value
    headers |= {
        "Content-Type": "application/json",
        "X-Anonymizer-Event": f"task.{task.status}",
        "X-Anonymizer-Delivery": str(taken.delivery.pk),
    }
    if settings.WEBHOOK_SECRET:
        digest = hmac.new(settings.WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Anonymizer-Signature"] = f"sha256={digest}"
    return headers


def serves_loopback_only() -> bool:
    """Return whether this server listens on this machine's own address, so that only its own users reach it."""
    try:
        return ipaddress.ip_address(settings.HOST).is_loopback
    except ValueError:
        return bool(settings.HOST == "localhost")


@functools.cache
def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    if settings.WEBHOOK_CA_FILE:
        context.load_verify_locations(settings.WEBHOOK_CA_FILE)
    return context


def _write_down(taken: Taken, answer: Answer) -> None:
    """Write down how a try ended. A receiver that answered must not be called again because the database was away."""
    never = threading.Event()
    for left in reversed(range(WRITES)):
        try:
            deliveries.end(taken, answer)
            return
        except DatabaseError:
            connection.close()
            if not left:
                raise
            never.wait(DATABASE_PAUSE_S)
