"""Review a result: correct it, approve it, list its versions, and see what else was found.

The docstrings of the methods are the descriptions in the OpenAPI schema.
"""

from __future__ import annotations

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anonymizer.api import schema
from anonymizer.api.exceptions import Deleted, LengthRequired, NoSuchResult, NotReady
from anonymizer.api.reviewing import schema as review_schema
from anonymizer.api.reviewing.access import HasTokenOrReviewer, check_reviewer, check_served, find_task, reviewer
from anonymizer.models import AuditAction, FileKind, Kind, Status
from anonymizer.pipeline.errors import InvalidParameter, TooLarge
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service.accounting import audit
from anonymizer.service.reports import report
from anonymizer.service.reviewing import versions
from anonymizer.service.reviewing.kept import KeptImage, KeptTracks

__all__ = ["CandidatesView", "ReviewView", "VersionsView"]

#: the most bytes of a review: polygons of many corners are long
MOST_BYTES = 16 * 2**20


class ReviewView(APIView):
    """`POST /v1/task/{id}/review`: correct and approve a result."""

    parser_classes = (JSONParser,)
    permission_classes = (HasTokenOrReviewer,)
    is_for_reviewers = True

    @extend_schema(
        operation_id="review_task",
        summary="Correct a result, approve it, or bring an earlier version back",
        request=review_schema.REVIEW,
        responses={200: schema.TaskObject, 202: schema.TaskObject, **schema.error_answers(404, 409, 410, 411, 413)},
    )
    def post(self, request: Request, task_id: uuid.UUID) -> Response:
        """Review the current version of a result. Ids are those of its metadata; all parts are optional.

        Where something changes, a worker renders a new version without detecting again, and the answer is 202. Until
        it is there, the current version is served, and `review_status` of the task is `rendering`.
        """
        task = find_task(request, task_id)
        check_reviewer(request, task)
        _check_size(request)
        rendering = versions.review(task, parse_review(_body(request)), reviewer(request))
        return Response(report(find_task(request, task_id)), status=202 if rendering else 200)


class VersionsView(APIView):
    """`GET /v1/task/{id}/versions`: the versions of a result."""

    permission_classes = (HasTokenOrReviewer,)

    @extend_schema(
        operation_id="list_versions",
        summary="List the versions of a result, newest first",
        responses={200: review_schema.VersionObject(many=True), **schema.error_answers(404, 410)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> Response:
        """List all versions: who made each of them when, what was changed, and which one is served."""
        task = find_task(request, task_id)
        if task.status == Status.DELETED:
            raise Deleted(f"Task {task_id} was deleted.")
        return Response(versions.listing(task))


class CandidatesView(APIView):
    """`GET /v1/file/{id}/candidates`: everything that the detectors suspected."""

    permission_classes = (HasTokenOrReviewer,)

    @extend_schema(
        operation_id="list_candidates",
        summary="List what was found below the thresholds, too",
        parameters=review_schema.REVIEW_PARAMETERS,
        responses={200: review_schema.CANDIDATES, **schema.error_answers(404, 409, 410)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> Response:
        """List the kept detections of an image by falling score. Of a video, list what is not redacted.

        `detection` is the id in the metadata of the current version; null if the candidate is not in it. Videos have
        `track_id` instead, and the boxes of the candidate by number of the frame. `take` of a review redacts them.
        """
        task = find_task(request, task_id)
        if task.status == Status.DELETED:
            raise Deleted(f"The files of task {task_id} were deleted.")
        check_served(request, task)
        if task.file(FileKind.METADATA) is None:
            if task.status in (Status.DONE, Status.FAILED):
                raise NoSuchResult(f"Task {task_id} is {task.status} and keeps no candidates.")
            raise NotReady(f"Task {task_id} is {task.status} and has no result yet. Try again later.")
        audit.record_access(AuditAction.DOWNLOADED, task.pk, reviewer(request), "candidates")
        kept = KeptTracks.of(task) if task.kind == Kind.VIDEO else KeptImage.of(task)
        return Response(kept.candidates(ReviewState.from_json(versions.state_of(task))))


def _body(request: Request) -> object:
    try:
        return request.data
    except UnsupportedMediaType:
        raise InvalidParameter("Content-Type", request.content_type, "application/json") from None


def _check_size(request: Request) -> None:
    try:
        size = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise LengthRequired("The request does not tell its length.") from None
    if size > MOST_BYTES:
        raise TooLarge(f"The review has more than the {MOST_BYTES} bytes that this server accepts.")
