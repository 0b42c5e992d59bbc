"""A PostgreSQL and a Redis of this machine, which a benchmark may kill and start again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis

from tests.conftest import free_port

__all__ = ["Postgres", "Redis", "running"]

START_S = 60.0


class Postgres:
    """A server that loses what it had in memory when it is killed, and nothing that was committed."""

    def __init__(self, folder: Path) -> None:
        self.port, self._data, self._log = free_port(), folder / "data", folder / "postgresql.log"
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._call("initdb", "-D", str(self._data), "-U", "anonymizer", "--auth=trust", "-E", "UTF8",
                   "--locale=C.UTF-8")  # fmt: skip
        self._options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        self.start()

    def _call(self, program: str, *words: str) -> None:
        # PostgreSQL does not run as root
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run([*user, str(self._bin / program), *words], check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._call(
            "pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(self._log), "-o", self._options, "start"
        )

    def stop(self) -> None:
        """Kill it with all its processes, as when the machine loses its power."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def url(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgres://anonymizer@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Make an empty database, and return its address."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        return self.url(name)


class Redis:
    """A server that keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir",
                   str(self._folder)]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end, client = time.monotonic() + START_S, redis.Redis.from_url(self.url)
        while time.monotonic() < end:
            with contextlib.suppress(redis.RedisError):
                if client.ping():
                    return
            time.sleep(0.05)
        raise TimeoutError("Redis does not start.")

    def stop(self) -> None:
        """Kill it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running() -> Iterator[tuple[Postgres, Redis]]:
    """Run both while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="servers-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = Postgres(folder)
        stack.callback(postgres.stop)
        broker = Redis(folder)
        stack.callback(broker.stop)
        yield postgres, broker
