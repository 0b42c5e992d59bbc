"""Why a review cannot be made now, or at all."""

from __future__ import annotations

from anonymizer.pipeline.errors import AnonymizerError

__all__ = ["NoOriginal", "NotReviewable", "ReviewNeeded", "VersionConflict"]


class NoOriginal(AnonymizerError):
    """What a new version is rendered from is not kept."""

    status = 409
    code = "no_original"


class NotReviewable(AnonymizerError):
    """The task has no result yet, or a review of it is being rendered."""

    status = 409
    code = "not_ready"
    retry_after = 1


class VersionConflict(AnonymizerError):
    """The review is of another version than the current one."""

    status = 409
    code = "version_conflict"


class ReviewNeeded(AnonymizerError):
    """The result is served only when a person has approved it."""

    status = 409
    code = "needs_review"
