"""The views: parse, call one function of the service, answer."""

from __future__ import annotations

import io
import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.http import FileResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anonymizer.api import parameters, ranges, schema
from anonymizer.api.exceptions import Deleted, NotFound, NotReady, TaskFailed, Unavailable
from anonymizer.api.pagination import TaskPagination
from anonymizer.models import File, FileKind, Kind, Status, Task
from anonymizer.pipeline.errors import MissingFile, TooLarge
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.previews import scaled_mask_png
from anonymizer.service import deletion, engine, waiting, workers
from anonymizer.service.reports import report
from anonymizer.service.submit import kind_of, submit

__all__ = ["ArtefactView", "MaskView", "TaskListView", "TaskView", "TasksView", "UploadView", "VideoArtefactView"]

#: what a multipart body has besides the file: boundaries, part headers, text fields
MULTIPART_OVERHEAD = 2**20


class UploadView(APIView):
    """`POST /v1/file`: upload and process."""

    @extend_schema(
        operation_id="upload",
        summary="Upload a picture or a video and have it anonymised",
        parameters=schema.UPLOAD_PARAMETERS,
        request={"multipart/form-data": schema.Upload},
        responses={
            201: schema.TaskObject,
            202: schema.TaskObject,
            **schema.error_answers(400, 413, 415, 422, 503),
        },
    )
    def post(self, request: Request) -> Response:
        # before the body is read: what is too large is not even received; as it comes in, its kind is seen
        most = max(settings.MAX_BYTES, settings.MAX_VIDEO_BYTES if engine.takes_videos() else 0)
        if int(request.META.get("CONTENT_LENGTH") or 0) > most + MULTIPART_OVERHEAD:
            raise TooLarge(f"The request has more bytes than this server takes ({most}).")
        later = parameters.is_async(request)
        asked = parameters.read(request)
        upload = request.FILES.get("fileobject") or request.FILES.get("file")
        if upload is None:
            raise MissingFile("The request has no file: send it in a multipart part named fileobject.")
        kind = kind_of(upload)
        if not later and not workers.alive(kind):
            raise Unavailable(
                f"No worker for {kind}s is alive to process the file; send it with x-is-async: true, or try later."
            )
        task = submit(
            upload,
            asked.options,
            asked.object_types,
            name=asked.name or upload.name or "",
            endpoint=parameters.endpoint(request),
            webhook=asked.webhook,
            warnings=asked.warnings,
        )
        if later:
            return Response(report(task), status=202)
        return _ended(waiting.wait(task, settings.SYNC_TIMEOUT.total_seconds()))


def _ended(task: Task) -> Response:
    """The answer to a synchronous request."""
    if task.status == Status.FAILED:
        raise TaskFailed(task.error or "", task.failure_cause or "", str(task.pk))
    if task.status == Status.DELETED:
        raise Deleted(f"Task {task.pk} was deleted while it was processed.")
    return Response(report(task), status=201 if task.status == Status.DONE else 202)


def _task(task_id: uuid.UUID) -> Task:
    task = Task.objects.prefetch_related("files").filter(pk=task_id).first()
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task


def _artefact(task_id: uuid.UUID, kind: FileKind, of: Kind | None = None) -> tuple[Task, File]:
    """A file of a task that is done.

    Args:
        of: the kind of task that has it at this address; None: every one.

    Raises:
        NotFound, Deleted, NotReady: there is none to be had.
    """
    task = _task(task_id)
    if task.status == Status.DELETED:
        raise Deleted(f"The files of task {task_id} were deleted.")
    if of is not None and task.kind != of:
        folder = f"/v1/file/{task_id}" + ("/video" if task.kind == Kind.VIDEO else "")
        raise NotReady(f"Task {task_id} is of kind {task.kind}: its {kind} is at {folder}/{kind}.")
    stored = task.file(kind)
    if kind == FileKind.ORIGINAL and stored is not None:
        return task, stored
    if task.status == Status.FAILED:
        raise NotReady(f"Task {task_id} failed and has no result: {task.error}")
    if task.status != Status.DONE:
        raise NotReady(f"Task {task_id} is {task.status}; ask again.", retry_after=1)
    if stored is None:
        options = Options.from_params(task.options)[0]
        raise NotReady(
            f"Task {task_id} has no {kind}: its method is {options.method}, its save-mask {options.save_mask}."
        )
    return task, stored


class ArtefactView(APIView):
    """`GET /v1/file/{id}/…`: one file of a task, or a part of it."""

    kind: ClassVar[FileKind] = FileKind.ANONYMISED
    of: ClassVar[Kind | None] = None

    @extend_schema(
        summary="Download a file of a task",
        parameters=schema.RANGE_PARAMETERS,
        responses={**schema.FILE, **schema.error_answers(404, 409, 410, 416)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse:
        _, stored = _artefact(task_id, self.kind, self.of)
        return ranges.send(request, stored)


class OriginalView(ArtefactView):
    """`GET /v1/file/{id}/original`: the upload. This server runs without tokens, so whoever knows the id may see it."""

    kind = FileKind.ORIGINAL


class MetadataView(ArtefactView):
    """`GET /v1/file/{id}/metadata`: of a video, an array with an object for each frame."""

    kind = FileKind.METADATA

    @extend_schema(
        summary="What was found, as JSON", responses={200: schema.METADATA, **schema.error_answers(404, 409, 410)}
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse:
        return super().get(request, task_id)


class MaskView(APIView):
    """`GET /v1/file/{id}/binary-mask` and `/instance-mask`: a PNG, smaller if asked."""

    kind: ClassVar[FileKind] = FileKind.BINARY_MASK

    @extend_schema(
        summary="Download a mask",
        parameters=schema.MASK_PARAMETERS,
        responses={**schema.PNG, **schema.error_answers(400, 404, 409, 410)},
    )
    def get(self, request: Request, task_id: uuid.UUID) -> FileResponse:
        percent = parameters.mask_scale(request)
        task, stored = _artefact(task_id, self.kind, Kind.IMAGE)
        if percent is None:
            percent = Options.from_params(task.options)[0].mask_scale
        content = stored.read()
        if percent != 100:
            content = scaled_mask_png(content, percent)
        return FileResponse(io.BytesIO(content), content_type="image/png", filename=stored.name)


class VideoArtefactView(ArtefactView):
    """`GET /v1/file/{id}/video/…`: one file of a video task; masks are lossless videos, frame for frame."""

    of = Kind.VIDEO


class TaskView(APIView):
    """`GET` and `DELETE /v1/task/{id}`."""

    @extend_schema(summary="One task", responses={200: schema.TaskObject, **schema.error_answers(404)})
    def get(self, request: Request, task_id: uuid.UUID) -> Response:
        return Response(report(_task(task_id)))

    @extend_schema(
        summary="Delete a task's files and cancel it",
        responses={200: schema.TaskObject, **schema.error_answers(404)},
    )
    def delete(self, request: Request, task_id: uuid.UUID) -> Response:
        deletion.delete_files(_task(task_id))
        return Response(report(_task(task_id)))


class TasksView(APIView):
    """`GET /v1/task`."""

    @extend_schema(
        summary="All tasks, newest first",
        parameters=schema.LIST_PARAMETERS,
        responses={200: schema.TaskObject(many=True), **schema.error_answers(400)},
    )
    def get(self, request: Request) -> Response:
        tasks = Task.objects.prefetch_related("files").filter(**parameters.list_filters(request))
        paginator = TaskPagination()
        page: list[Any] = paginator.paginate_queryset(tasks, request, view=self) or []
        return paginator.get_paginated_response([report(each) for each in page])


class TaskListView(TasksView):
    """`GET` and `DELETE /v1/task/list`, `/lists`."""

    @extend_schema(summary="Delete every task's files", responses={200: schema.Deleted})
    def delete(self, request: Request) -> Response:
        return Response({"deleted": deletion.delete_tasks(Task.objects.all())})
