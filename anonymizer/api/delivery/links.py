"""`POST /v1/file/{id}/link`: an address of one file that works for some minutes without a token."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anonymizer.api import parameters, schema
from anonymizer.api.authentication import LINK, link_address, owner
from anonymizer.api.exceptions import Deleted
from anonymizer.api.reviewing.access import HasTokenOrReviewer, find_task, wants_review
from anonymizer.api.reviewing.schema import VERSION_PARAMETERS
from anonymizer.models import FileKind, Status
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service.clients import links

__all__ = ["LinkView"]

_RESULTS = (FileKind.ANONYMISED, FileKind.METADATA, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK)
FILES = (
    *(kind.value for kind in (*_RESULTS, FileKind.ORIGINAL, FileKind.RECEIPT)),
    *(f"video/{kind}" for kind in _RESULTS),
)


class LinkObject(serializers.Serializer[Any]):
    """An address that needs no token."""

    url = serializers.CharField()
    expires = serializers.DateTimeField(allow_null=True, help_text="null: the address needs no token at all.")


class LinkView(APIView):
    """`POST /v1/file/{id}/link`: an address of one file, for a player or an image of a page."""

    parser_classes = (MultiPartParser, FormParser)
    permission_classes = (HasTokenOrReviewer,)
    is_for_reviewers = True

    @extend_schema(
        operation_id="make_link",
        summary="Make an address of one file that works for ten minutes without the token",
        parameters=[
            OpenApiParameter(
                "file", {"type": "string", "enum": list(FILES)}, OpenApiParameter.QUERY, required=True,
                description="which file, as the addresses below /v1/file/{id}/ name it",
            ),
            *VERSION_PARAMETERS,
        ],
        request=None,
        responses={200: OpenApiResponse(LinkObject), **schema.error_answers(404, 410)},
    )  # fmt: skip
    def post(self, request: Request, task_id: uuid.UUID) -> Response:
        """Make an address for an element of a page, such as a video: these send no token, and ask for ranges.

        It is for reading this one file. It ends after ten minutes, and when the token ends.
        """
        task = find_task(request, task_id)
        if task.status == Status.DELETED:
            raise Deleted(f"The files of task {task_id} were deleted.")
        file = request.query_params.get("file", "")
        if file not in FILES:
            raise InvalidParameter("file", file, f"one of {', '.join(FILES)}")
        number, client = parameters.version(request), owner(request)
        more = {} if number is None else {"version": str(number)}
        more |= {"review": "1"} if wants_review(request) else {}
        path = f"/v1/file/{task_id}/{file}"
        expires = None
        if client is not None:
            more[LINK] = links.sign(client, link_address(path, more))
            expires = timezone.now() + timedelta(seconds=links.LINK_SECONDS)
        query = f"?{urlencode(more)}" if more else ""
        answer = Response({"url": f"{parameters.endpoint(request)}{path}{query}", "expires": expires})
        answer["Cache-Control"] = "no-store"
        return answer
