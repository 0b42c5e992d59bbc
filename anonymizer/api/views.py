"""The views of the API: each parses the request, calls one function of the service, and answers.

The docstrings of the methods are the descriptions in the OpenAPI schema.
"""

from __future__ import annotations

import io
import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anonymizer.api import masks, parameters, ranges, schema
from anonymizer.api.authentication import actor, own_tasks, owner
from anonymizer.api.exceptions import (
    Deleted,
    ExtraFile,
    FailedTask,
    NoSuchResult,
    NotFound,
    NotReady,
    TaskFailed,
    Unavailable,
)
from anonymizer.api.http_layer import MULTIPART_OVERHEAD, most_bytes
from anonymizer.api.pagination import TaskPagination
from anonymizer.api.reviewing.access import (
    HasTokenOrReviewer,
    check_original,
    check_served,
    find_task,
    is_of_another,
    may_review,
    reviewer,
    waiting_tasks,
    wants_review,
)
from anonymizer.api.reviewing.schema import REVIEW_PARAMETERS, VERSION_PARAMETERS
from anonymizer.models import AuditAction, File, FileKind, Kind, Status, Task, Token
from anonymizer.pipeline.errors import MissingFile, TooLarge
from anonymizer.pipeline.options.options import Options
from anonymizer.service import deletion, receipts, workers
from anonymizer.service.accounting import audit
from anonymizer.service.clients import capacity, idempotency, quota
from anonymizer.service.queueing import waiting
from anonymizer.service.reports import report
from anonymizer.service.submit import kind_of, submit

__all__ = ["ArtefactView", "MaskView", "TaskListView", "TaskView", "TasksView", "UploadView", "VideoArtefactView"]


class UploadView(APIView):
    """`POST /v1/file`: upload a file and process it."""

    @extend_schema(
        operation_id="upload",
        summary="Upload an image or a video to anonymise it",
        parameters=schema.UPLOAD_PARAMETERS,
        request={"multipart/form-data": schema.Upload},
        responses={
            201: schema.TaskObject,
            202: schema.TaskObject,
            **schema.error_answers(408, 409, 410, 411, 413, 415, 422, 500, 507),
        },
    )
    def post(self, request: Request) -> Response:
        """Upload an image or a video. The response is the task of this file.

        The response comes when processing has ended. With the header `x-is-async: true` it comes at once.
        """
        # A body that is too large for any kind of file is refused before it is received. The limit of the file's own
        # kind is checked while the file arrives.
        size = int(request.META.get("CONTENT_LENGTH") or 0)
        if size > most_bytes():
            raise TooLarge(f"The request has more than the {most_bytes()} bytes that this server accepts.")
        is_async = parameters.is_async(request)
        client, repeated = owner(request), parameters.idempotency_key(request)
        if repeated is None or not idempotency.is_known(client, repeated):
            # An upload that is repeated needs no room, and is not counted again. A body in chunks may be much smaller
            # than the length that it is given.
            _check_room(client, 0 if "Transfer-Encoding" in request.headers else size)
        wanted = parameters.read(request)
        upload = _the_file(request)
        key = parameters.repeatable(request, repeated, upload.name or "") if repeated else None
        kind = kind_of(upload)
        if not (is_async or wanted.review or workers.alive(kind)):
            raise Unavailable(
                f"No worker for {kind}s is alive. Send the file with the header x-is-async: true, or try again later."
            )
        task = submit(
            upload,
            wanted.options,
            wanted.object_types,
            name=wanted.name or upload.name or "",
            endpoint=parameters.endpoint(request),
            webhook=wanted.webhook,
            warnings=wanted.warnings,
            owner=client,
            key=key,
            ttl=wanted.ttl,
            review=wanted.review,
        )
        # nobody waits for a person within one request
        if is_async or wanted.review:
            return Response(report(task), status=202)
        return _synchronous_answer(waiting.wait(task, settings.SYNC_TIMEOUT.total_seconds()))


def _check_room(client: Token | None, size: int) -> None:
    capacity.check(client, size)
    if client is not None:
        # the body is a little larger than the file, which alone is counted
        quota.check(client, max(0, size - MULTIPART_OVERHEAD))


def _the_file(request: Request) -> UploadedFile[Any]:
    """The only file of an upload.

    Raises:
        MissingFile: there is none.
        ExtraFile: there are others, which would be lost.
    """
    parts: list[tuple[str, UploadedFile[Any]]] = [
        (name, file) for name, files in request.FILES.lists() for file in files
    ]
    wanted = [file for name, file in parts if name in ("fileobject", "file")]
    if not wanted:
        raise MissingFile("The request has no file. Send the file in a multipart part named fileobject.")
    if len(parts) > 1:
        names = ", ".join(name[:40] for name, _ in parts[:5])
        raise ExtraFile(f"The request has {len(parts)} file parts ({names}), but must have one, named fileobject.")
    return wanted[0]


def _synchronous_answer(task: Task) -> Response:
    """The response to a synchronous request: the task as it is after waiting for it."""
    if task.status == Status.FAILED:
        raise TaskFailed(task.error or "", task.failure_cause or "", str(task.pk))
    if task.status == Status.DELETED:
        raise Deleted(f"Task {task.pk} was deleted while it was processed.")
    return Response(report(task), status=201 if task.status == Status.DONE else 202)


def _get_file(request: Request, task_id: uuid.UUID, kind: FileKind, task_kind: Kind | None = None) -> tuple[Task, File]:
    """A file of a task that is done, with its task.

    Args:
        kind: the kind of the file.
        task_kind: the kind of task that has the file at the requested address. Default: any kind.

    Raises:
        NotFound: there is no such task.
        Deleted: the task was deleted.
        NotReady: the task does not have the file yet.
        NoSuchResult: the task has no such file, and will never have one.
        FailedTask: the task failed.
        ReviewNeeded: a person has to approve the result first.
    """
    task = find_task(request, task_id)
    if task.status == Status.DELETED:
        raise Deleted(f"The files of task {task_id} were deleted.")
    if task_kind is not None and task.kind != task_kind:
        folder = f"/v1/file/{task_id}" + ("/video" if task.kind == Kind.VIDEO else "")
        raise NoSuchResult(f"Task {task_id} is of kind {task.kind}. Its {kind} is at {folder}/{kind}.")
    number = parameters.version(request)
    stored = task.file(kind, number)
    if kind == FileKind.ORIGINAL and stored is not None:
        check_original(request, task)
        _record(request, stored, "of another client" if is_of_another(request, task) else "")
        return task, stored
    if task.status == Status.FAILED:
        raise FailedTask(f"Task {task_id} failed and has no result: {task.error}")
    check_served(request, task, number)
    if task.status != Status.DONE and not task.waits_for_review:
        raise NotReady(f"Task {task_id} is {task.status} and has no result yet. Try again later.")
    if stored is None and number is not None and number != task.version:
        raise NoSuchResult(f"Task {task_id} has no {kind} of version {number}. Its versions are at /versions.")
    if stored is None:
        options = Options.from_params(task.options)[0]
        raise NoSuchResult(
            f"Task {task_id} has no {kind}: its method is {options.method}, and its save-mask is {options.save_mask}."
        )
    _record(request, stored)
    return task, stored


def _record(request: Request, file: File, reason: str = "") -> None:
    """Write into the audit log that a file is read, before it is."""
    action = AuditAction.ORIGINAL_SEEN if file.kind == FileKind.ORIGINAL else AuditAction.DOWNLOADED
    audit.record_access(action, file.task_id, reviewer(request), file.kind, reason=reason)


class ArtefactView(APIView):
    """`GET /v1/file/{id}/…`: one file of a task, or a range of its bytes."""

    permission_classes = (HasTokenOrReviewer,)
    kind: ClassVar[FileKind] = FileKind.ANONYMISED
    task_kind: ClassVar[Kind | None] = None

    @extend_schema(
        summary="Download a file of a task",
        parameters=[*VERSION_PARAMETERS, *schema.RANGE_PARAMETERS],
        responses={**schema.FILE, **schema.error_answers(404, 409, 410, 416)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse | HttpResponse:
        """Download one file of a task that is done. The header `Range` asks for a part of the file."""
        _, stored = _get_file(request, task_id, self.kind, self.task_kind)
        return ranges.send(request, stored)


class OriginalView(ArtefactView):
    """`GET /v1/file/{id}/original`: the upload, for the client that sent it, or for all on a server without tokens.

    Reviewers need a right of their own.
    """

    kind = FileKind.ORIGINAL

    @extend_schema(
        summary="Download the original file",
        parameters=schema.RANGE_PARAMETERS,
        responses={**schema.FILE, **schema.error_answers(403, 404, 409, 410, 416)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse | HttpResponse:
        """Download the file as it was uploaded. Of other clients' tasks, reviewers need a right of their own."""
        return super().get(request, task_id)


class MetadataView(ArtefactView):
    """`GET /v1/file/{id}/metadata`: the metadata. For a video, this is an array with an object for each frame."""

    kind = FileKind.METADATA

    @extend_schema(
        summary="Download the metadata: all detections, as JSON",
        parameters=[*VERSION_PARAMETERS, *schema.RANGE_PARAMETERS],
        responses={**schema.METADATA, **schema.error_answers(404, 409, 410, 416)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse | HttpResponse:
        """Download all detections with their boxes, scores and masks. A video has an object for each frame."""
        return super().get(request, task_id)


class ReceiptView(ArtefactView):
    """`GET /v1/file/{id}/receipt`: what was made of which file. It stays when the files of the task are deleted."""

    kind = FileKind.RECEIPT

    @extend_schema(
        summary="Download the receipt: checksums, models, options and counts, signed where the server has a key",
        parameters=VERSION_PARAMETERS,
        responses={200: schema.RECEIPT, **schema.error_answers(404, 409, 410)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse | HttpResponse:
        """Download the receipt of a task that is done, also after its files were deleted."""
        kept = receipts.kept(find_task(request, task_id))
        if kept is not None:
            return FileResponse(io.BytesIO(kept), content_type="application/json", filename=f"{task_id}.receipt.json")
        return super().get(request, task_id)


class MaskView(APIView):
    """`GET /v1/file/{id}/binary-mask` and `/instance-mask`: a PNG, at a smaller size if requested."""

    permission_classes = (HasTokenOrReviewer,)
    kind: ClassVar[FileKind] = FileKind.BINARY_MASK

    @extend_schema(
        summary="Download a mask of an image",
        parameters=[*VERSION_PARAMETERS, *schema.MASK_PARAMETERS],
        responses={**schema.PNG, **schema.error_answers(404, 409, 410, 416)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse | HttpResponse:
        """Download a mask of an image task as PNG. Its default size is the `mask-scale` of the upload."""
        percent = parameters.mask_scale(request)
        task, stored = _get_file(request, task_id, self.kind, Kind.IMAGE)
        if percent is None:
            percent = Options.from_params(task.options)[0].mask_scale
        tag = f'"{stored.sha256}-{percent}"'
        if percent < 100 and (unchanged := ranges.not_modified(request, tag)):
            return unchanged
        return ranges.send(request, stored) if percent == 100 else masks.send_scaled(stored, percent)


class VideoArtefactView(ArtefactView):
    """`GET /v1/file/{id}/video/…`: one file of a video task. Masks are lossless videos with one frame per frame."""

    task_kind = Kind.VIDEO


class TaskView(APIView):
    """`GET` and `DELETE /v1/task/{id}`: show or delete a task."""

    permission_classes = (HasTokenOrReviewer,)

    @extend_schema(
        operation_id="show_task",
        summary="Show a task",
        parameters=REVIEW_PARAMETERS,
        responses={200: schema.TaskObject, **schema.error_answers(404)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> Response:
        """Show the state of a task. It has ended when its status is `done`, `failed` or `deleted`."""
        task = find_task(request, task_id)
        for_review = task.waits_for_review and wants_review(request) and may_review(request)
        return Response(report(task, for_review=for_review))

    @extend_schema(
        summary="Delete the files of a task, and cancel it if it is not done",
        responses={200: schema.TaskObject, **schema.error_answers(404, 500)},
    )
    def delete(self, request: Request, task_id: uuid.UUID) -> Response:
        """Delete the files of a task at once. The task itself stays, with the status `deleted`."""
        # reviewers may see more tasks than their own
        task = own_tasks(request).filter(pk=task_id).first()
        if task is None:
            raise NotFound(f"There is no task {task_id}.")
        deletion.delete_files(task, actor=actor(request))
        return Response(report(find_task(request, task_id)))


class TasksView(APIView):
    """`GET /v1/task`: list the tasks."""

    permission_classes = (HasTokenOrReviewer,)

    @extend_schema(
        summary="List all tasks, newest first",
        parameters=schema.LIST_PARAMETERS,
        responses={200: schema.TaskList, **schema.error_answers(404)},
    )
    def get(self, request: Request) -> Response:
        """List the tasks of the client in pages, newest first. `status`, `kind` and `review` select some of them."""
        tasks = waiting_tasks(request) if parameters.lists_reviews(request) else own_tasks(request)
        tasks = tasks.prefetch_related("files").filter(**parameters.list_filters(request))
        paginator = TaskPagination()
        page = paginator.paginate_queryset(tasks, request, view=self)
        return paginator.get_paginated_response([report(task) for task in page])


class TaskListView(TasksView):
    """`GET` and `DELETE /v1/task/list`, `/lists`: list or delete all tasks."""

    @extend_schema(
        summary="Delete the files of all tasks, and cancel those that are not done",
        responses={200: schema.Deleted, **schema.error_answers(500)},
    )
    def delete(self, request: Request) -> Response:
        """Delete the files of all tasks of the client. The answer says how many were not deleted before."""
        return Response({"deleted": deletion.delete_tasks(own_tasks(request), actor=actor(request))})
