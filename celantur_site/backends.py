"""Which database, broker and cache serve, from the variables `DATABASE_URL` and `BROKER_URL`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from celantur_site import env

__all__ = ["POSTGRESQL", "broker_url", "caches", "database"]

POSTGRESQL = "django.db.backends.postgresql"
SQLITE = "django.db.backends.sqlite3"
DATABASE_SCHEMES = {"postgres": POSTGRESQL, "postgresql": POSTGRESQL, "sqlite": SQLITE}
#: Valkey speaks the protocol of Redis
BROKER_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
#: how long a process waits for a connection of its pool, in seconds: requests must be answered while the server is away
POOL_WAIT_S = 10.0
#: after a failed try to connect, the pool tries for so long, in seconds; the next query tries again
RECONNECT_S = 2.0
#: how long the broker and its cache may take, in seconds: an upload does not wait for them
REDIS_CONNECT_S, REDIS_ANSWER_S = 1.0, 3.0


def database(data_dir: Path) -> dict[str, Any]:
    """Return Django's setting of the default database.

    Args:
        data_dir: the folder of the SQLite database, which serves where `DATABASE_URL` is not set.

    Raises:
        ImproperlyConfigured: `DATABASE_URL` is wrong, or a package is missing. Its password is never shown.
    """
    wait_s = env.duration("ANONYMIZER_DATABASE_TIMEOUT", "30s").total_seconds()
    most = env.integer("ANONYMIZER_DATABASE_CONNECTIONS", 20, low=2)
    allowed = "postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH"
    default: dict[str, Any] = {"ENGINE": SQLITE, "NAME": ""}
    found = env.read("DATABASE_URL", default, _parse_database, allowed, secret=True)
    if found["ENGINE"] == SQLITE:
        return _sqlite(Path(found["NAME"] or data_dir / "db.sqlite3"), wait_s)
    _require("DATABASE_URL", "psycopg", "psycopg_pool")
    # what the address says wins
    found["OPTIONS"] = {
        "connect_timeout": 5, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
        "application_name": "anonymizer", "options": f"-c TimeZone=UTC -c lock_timeout={round(wait_s * 1000)}",
        **found.get("OPTIONS", {}),
        "pool": {"min_size": 0, "max_size": most, "timeout": POOL_WAIT_S, "reconnect_timeout": RECONNECT_S},
    }  # fmt: skip
    return {**found, "CONN_HEALTH_CHECKS": True}


def _sqlite(file: Path, wait_s: float) -> dict[str, Any]:
    return {
        "ENGINE": SQLITE,
        "NAME": file,
        # the broker sends a query every few milliseconds: opening a connection for each would cost more than the query
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # how long a query waits for a lock of SQLite, in seconds
            "timeout": wait_s,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;",
        },
        "TEST": {"NAME": file.with_name("test.sqlite3")},
    }


def _parse_database(text: str) -> dict[str, Any]:
    engine = DATABASE_SCHEMES[urlsplit(text).scheme]
    found: dict[str, Any] = environ.Env.db_url_config(text, engine=engine)
    if not found["NAME"] or found["NAME"] == ":memory:":
        raise ValueError("no name")
    return found


def broker_url() -> str:
    """Return the address of the Redis that carries the notifications; empty for the database.

    Raises:
        ImproperlyConfigured: `BROKER_URL` is wrong, or a package is missing. Its password is never shown.
    """
    allowed = "redis://HOST:PORT/NUMBER, rediss://HOST:PORT/NUMBER or valkey://HOST:PORT/NUMBER"
    url = env.read("BROKER_URL", "", _parse_broker, allowed, secret=True)
    if url:
        _require("BROKER_URL", "redis")
    return url


def _parse_broker(text: str) -> str:
    parts = urlsplit(text)
    number = parts.path.strip("/") or "0"
    if not parts.hostname or parts.port == 0 or not number.isdigit():
        raise ValueError("no host or no number")
    return parts._replace(scheme=BROKER_SCHEMES[parts.scheme]).geturl()


def caches(broker: str) -> dict[str, Any]:
    """Return Django's setting of caches: `default` counts the requests of clients with a rate.

    Args:
        broker: the address of Redis, with which all web processes count together. Without it, each counts for itself.
    """
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}
    if not broker:
        return {"default": local, "local": local}
    times = {"socket_connect_timeout": REDIS_CONNECT_S, "socket_timeout": REDIS_ANSWER_S}
    shared = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": broker, "KEY_PREFIX": "anonymizer",
        "OPTIONS": times,
    }  # fmt: skip
    return {"default": shared, "local": local}


def _require(variable: str, *packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ImproperlyConfigured(
            f'{variable} needs the package {missing[0]}: run `pip install "anonymizer[cluster]"`.'
        )
