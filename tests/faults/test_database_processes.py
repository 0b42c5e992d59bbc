"""The database is locked for longer than any query waits: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator

from tests.conftest import Server
from tests.faults.conftest import guard, part
from tests.pictures import drawn, encoded

#: queries wait 30 s for a lock, and give up then
LOCKED_S = 36.0


@contextlib.contextmanager
def locked(server: Server) -> Iterator[None]:
    """Keep all others from writing until the block ends."""
    database = sqlite3.connect(server.folder / "db.sqlite3", timeout=30, isolation_level=None, check_same_thread=False)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


def test_a_locked_database_is_waited_for(own: Server) -> None:
    parts = {part(own, name).pid for name in ("worker", "monitor", "pusher")} | {guard(own).pid}
    ids = [own.upload_async(encoded(drawn(2400, 1800), quality=85), "format=auto") for _ in range(3)]
    own.until(ids[0], "processing", "done")
    lines = len(own.log.splitlines())
    refused: list[int] = []
    with locked(own):
        began = time.monotonic()
        late = threading.Thread(target=lambda: refused.append(own.upload(encoded(), "face=1").status_code))
        late.start()
        time.sleep(3)
        assert own.get("/healthz").status_code == 200
        assert own.get("/v1/task/list").status_code == 200
        time.sleep(max(0.0, LOCKED_S - (time.monotonic() - began)))
    late.join()
    assert refused == [503]
    for task_id in ids:
        assert own.until(task_id, "done", "failed", seconds=60)["status"] == "done"
        # one attempt, and no file of another
        assert len(list((own.folder / "output" / task_id).iterdir())) == 1
    assert {part(own, name).pid for name in ("worker", "monitor", "pusher")} | {guard(own).pid} == parts
    assert len(own.log.splitlines()) - lines < 60, own.log
    assert own.upload(encoded(), "face=1").status_code == 201
