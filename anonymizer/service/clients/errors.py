"""What a client may be refused for, with the status and the code of the contract."""

from __future__ import annotations

from anonymizer.pipeline.errors import AnonymizerError

__all__ = ["Forbidden", "InvalidToken", "KeyReused", "NoRoom", "QueueFull", "QuotaExceeded", "RateLimited", "Refused"]


class Refused(AnonymizerError):
    """The request was refused because of who sends it, or because there is no room.

    Args:
        sentence: what is wrong, and what to do.
        retry_after: seconds after which the same request may be answered. None: it never will be.
    """

    status = 403

    def __init__(self, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class InvalidToken(Refused):
    """The request has no token, or none that is valid."""

    status = 401
    code = "invalid_token"


class Forbidden(Refused):
    """The client may not do this."""

    status = 403
    code = "forbidden"


class RateLimited(Refused):
    """The client sends requests too fast."""

    status = 429
    code = "rate_limited"


class QuotaExceeded(Refused):
    """The client uploaded as much today as it may."""

    status = 429
    code = "quota_exceeded"


class KeyReused(Refused):
    """The idempotency key was used for another upload."""

    status = 409
    code = "key_reused"


class QueueFull(Refused):
    """Too many files wait already."""

    status = 503
    code = "queue_full"


class NoRoom(Refused):
    """The disk has too little room for the upload."""

    status = 507
    code = "no_room"
