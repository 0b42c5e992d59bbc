"""Count the requests of a client: with Redis all web processes count together, without it each counts for itself."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import BaseCache, caches

from anonymizer.service.queueing.outages import Outage

__all__ = ["count"]

_outage = Outage("The common count of requests", "Redis")


def count(key: str, period_s: int) -> int:
    """Count one request.

    Args:
        key: of the client and the period.
        period_s: how long the period is, in seconds.

    Returns:
        The number of requests of this period, this one included. While Redis is away, those of this process.
    """
    if not settings.BROKER_URL:
        return _count(caches["default"], key, period_s)
    import redis

    try:
        number = _count(caches["default"], key, period_s)
    except redis.RedisError as error:
        _outage.note(error)
        return _count(caches["local"], key, period_s)
    _outage.end()
    return number


def _count(cache: BaseCache, key: str, period_s: int) -> int:
    # longer than the period, so that the counter cannot end between the two calls
    cache.add(key, 0, 2 * period_s)
    return int(cache.incr(key))
