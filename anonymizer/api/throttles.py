"""How many requests a client may send."""

from __future__ import annotations

from typing import Any, cast

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from anonymizer.api.authentication import owner
from anonymizer.service.clients import rates
from anonymizer.service.clients.errors import RateLimited

__all__ = ["ClientRateThrottle"]


class ClientRateThrottle(SimpleRateThrottle):
    """Count the requests of a client in each period of its rate. Clients without a rate are not counted.

    Django REST framework keeps the time of every request, and two requests at the same time may both be the last one.
    A counter in the cache is smaller and exact.
    """

    scope = "client"

    def __init__(self) -> None:
        # the rate is known with the client
        pass

    def allow_request(self, request: Request, view: Any) -> bool:
        """Return True, and count the request.

        Raises:
            RateLimited: the client sent as many requests in this period as it may.
        """
        token = owner(request)
        if token is None or not token.rate:
            return True
        most, period_s = cast("tuple[int, int]", self.parse_rate(token.rate))
        now = self.timer()
        number = int(now // period_s)
        key = self.cache_format % {"scope": self.scope, "ident": f"{token.pk}_{number}"}
        if rates.count(key, period_s) > most:
            left_s = (number + 1) * period_s - now
            raise RateLimited(f"This client may send {token.rate} requests.", retry_after=int(left_s) + 1)
        return True
