"""`POST /v1/task/{id}/webhook`: send the webhook of a task again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anonymizer.api import schema
from anonymizer.api.authentication import own_tasks
from anonymizer.api.exceptions import Deleted, NotFound, NotReady
from anonymizer.models import Status
from anonymizer.service.reports import report
from anonymizer.service.webhooks import deliveries

__all__ = ["WebhookView"]

HEADER_VALUE = "web-auth-header-value"


class WebhookView(APIView):
    """`POST /v1/task/{id}/webhook`: send the webhook of a task again."""

    parser_classes = (MultiPartParser, FormParser)

    @extend_schema(
        operation_id="send_webhook_again",
        summary="Send the webhook of a task again",
        parameters=[
            OpenApiParameter(
                HEADER_VALUE,
                OpenApiTypes.STR,
                OpenApiParameter.QUERY,
                description="value of the header of the upload, which the server forgot after the last try",
            )
        ],
        request=None,
        responses={202: schema.TaskObject, **schema.error_answers(400, 404, 409, 410)},
    )
    def post(self, request: Request, task_id: uuid.UUID) -> Response:
        """Send the webhook of a task that has ended once more, with up to six tries.

        The header `X-Anonymizer-Delivery` is the same as before.
        """
        task = own_tasks(request).filter(pk=task_id).first()
        if task is None:
            raise NotFound(f"There is no task {task_id}.")
        if task.status == Status.DELETED:
            raise Deleted(f"Task {task_id} was deleted, and with it the address of its webhook.")
        if task.status not in deliveries.ENDED:
            raise NotReady(f"Task {task_id} is {task.status}. Its webhook is sent when it ends.")
        # without a body and its type, the data are a plain dict
        data = cast("Mapping[str, object]", request.data)
        given = dict(data.items()) | request.query_params.dict()
        value = str(given.get(HEADER_VALUE) or given.get(HEADER_VALUE.replace("-", "_")) or "").strip()
        deliveries.send_again(task, value or None)
        return Response(report(own_tasks(request).prefetch_related("files").get(pk=task_id)), status=202)
