"""The admin of tasks: show them with their files, delete them, and run them again."""

from __future__ import annotations

import math
import uuid
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, Sum
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from anonymizer.admin.history import history, layers
from anonymizer.admin.read_only import ReadOnlyAdmin
from anonymizer.models import AuditAction, File, FileKind, Kind, Status, Task, WebhookTry
from anonymizer.models.batches import key_batches
from anonymizer.pipeline.errors import AnonymizerError, StorageFailed
from anonymizer.service import deletion, profiles
from anonymizer.service.accounting import audit
from anonymizer.service.previews import jobs
from anonymizer.service.previews.jobs import CLIP_SECONDS, PREVIEW_OF
from anonymizer.service.submit import run_again
from anonymizer.service.webhooks import deliveries

__all__ = ["TaskAdmin"]

VIEW_ORIGINAL = "anonymizer.view_original"
#: how long a page waits for a worker that makes a preview or a clip; then the browser asks again
WAIT_S = 3.0
RELOAD_S = 3
#: the largest height and width of images in the list; the contact sheet of a video has six frames
MAX_SHOWN_PX: dict[str, tuple[int, int]] = {Kind.IMAGE: (80, 120), Kind.VIDEO: (160, 240)}


#: files in which the original, or a part of it, can be seen
SHOWS_ORIGINAL = (FileKind.ORIGINAL, FileKind.DETECTIONS, FileKind.PREVIEW_BEFORE, FileKind.SIDE_BY_SIDE)


def _may_see(request: HttpRequest, kind: str) -> bool:
    """Originals, and the detections in them, are only for users with the permission for originals."""
    return kind not in SHOWS_ORIGINAL or request.user.has_perm(VIEW_ORIGINAL)


class FileInline(admin.TabularInline):  # type: ignore[type-arg]
    """The files of a task, on its page."""

    model = File
    extra = 0
    can_delete = True
    fields = readonly_fields = ("download", "media_type", "bytes", "checksum", "created")

    def get_queryset(self, request: HttpRequest) -> QuerySet[File]:
        # previews come and go with the files that they show
        return super().get_queryset(request).exclude(kind__in=[*PREVIEW_OF, FileKind.SIDE_BY_SIDE])

    @admin.display(description="SHA-256")
    def checksum(self, file: File) -> SafeString:
        return format_html('<span style="word-break:break-all">{}</span>', file.sha256)

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        self._request = request
        return super().get_formset(request, obj, **kwargs)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # without this permission the formset has no boxes to delete files
        return self.has_delete_permission(request, obj)

    @admin.display(description="file")
    def download(self, file: File) -> str | SafeString:
        if not _may_see(self._request, file.kind):
            return file.kind
        url = reverse("admin:anonymizer_task_file", args=[file.task_id, file.kind])
        return format_html('<a href="{}">{}</a>', url, file.kind)

    @admin.display(description="size")
    def bytes(self, file: File) -> str:
        return filesizeformat(file.size)


class RunAgainForm(ActionForm):
    """The list of actions, and beside it a field for the options to change when a task is run again."""

    options = forms.CharField(
        required=False,
        label="Run again with",
        widget=forms.TextInput(attrs={"placeholder": "method=blacken&face-threshold=0.3", "size": 32}),
    )
    header_value = forms.CharField(
        required=False,
        label="Header of the webhook",
        widget=forms.PasswordInput(attrs={"placeholder": "value, if it has one", "autocomplete": "off", "size": 16}),
    )


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """List tasks, show one with its files, delete tasks and run them again."""

    action_form = RunAgainForm
    actions = ("delete_with_files", "run_again", "send_webhook_again")
    date_hierarchy = "created"
    inlines = (FileInline,)
    list_display = ("name", "status", "kind", "done", "found", "seconds", "pictures", "created")
    list_filter = ("status", "kind", "created", "failure_cause", "webhook_status")
    list_per_page = 25
    search_fields = ("id", "name")
    fields = (
        "id", "name", "status", "kind", "done", "pictures", "result_layers", "found", "review_counts", "seconds",
        "error", "failure_cause", "warnings", "object_types", "profile_used", "options", "model_ids", "created",
        "started", "finished", "worker", "leases", "expires", "webhook_url", "webhook_status", "webhook_tries",
        "what_happened",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return super().get_queryset(request).prefetch_related("files")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        self._request = request
        return self.list_display

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        self._request = request
        return self.fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Task], search_term: str
    ) -> tuple[QuerySet[Task], bool]:
        # databases store ids in different ways: a complete id is compared as an id, not as text
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        # `delete_with_files` does the same under a clearer name
        actions.pop("delete_selected", None)
        return actions

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        # cacheable, so that a list of many tasks asks for each picture once
        thumbnails = view(self.thumbnail_view, cacheable=True)
        return [
            path("<uuid:task_id>/thumbnail/<str:kind>/", thumbnails, name="anonymizer_task_thumbnail"),
            path("<uuid:task_id>/file/<str:kind>/", view(self.file_view), name="anonymizer_task_file"),
            path("<uuid:task_id>/side-by-side/", view(self.side_by_side_view), name="anonymizer_task_side_by_side"),
            *super().get_urls(),
        ]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # all fields are read-only; the permission lets users delete single files
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    # --- columns ---

    @admin.display(description="detections")
    def found(self, task: Task) -> str:
        return ", ".join(f"{count} {name}" for name, count in task.detections.items() if count) or "-"

    @admin.display(description="progress", ordering="progress")
    def done(self, task: Task) -> str:
        """The progress; for a video also in frames, with the time that is left."""
        parts = [f"{task.progress:.0%}"]
        if video := task.video:
            of = f" of {video['total']}" if video["total"] else ""
            parts.append(f"{video['frames']}{of} frames, {video['frames_per_second']:.1f} per second")
            if task.status == Status.PROCESSING and video["seconds_left"] is not None:
                parts.append(f"{timedelta(seconds=round(video['seconds_left']))} left")
            if video["frames_copied"] is not None:
                parts.append(f"{video['frames_copied']} copied")
        return ", ".join(parts)

    @admin.display(description="duration", ordering="duration")
    def seconds(self, task: Task) -> str:
        return "-" if task.duration is None else f"{task.duration:.2f} s"

    @admin.display(description="profile")
    def profile_used(self, task: Task) -> str:
        return task.profile or "-"

    @admin.display(description="before, after")
    def pictures(self, task: Task) -> str | SafeString:
        stored = {file.kind for file in task.files.all()}
        kinds = [
            kind
            for kind in (FileKind.ORIGINAL, FileKind.ANONYMISED)
            if kind in stored and _may_see(self._request, kind)
        ]
        if not kinds:
            return "-"
        images = format_html_join(
            " ",
            '<img src="{}" alt="{}" loading="lazy" style="max-height:{}px;max-width:{}px">',
            (
                (reverse("admin:anonymizer_task_thumbnail", args=[task.pk, kind]), kind, *MAX_SHOWN_PX[task.kind])
                for kind in kinds
            ),
        )
        link: str | SafeString = ""
        if task.kind == Kind.VIDEO and len(kinds) == 2:
            url = reverse("admin:anonymizer_task_side_by_side", args=[task.pk])
            # operators change the start in the address
            link = format_html('<div><a href="{}?start=0">side by side, {} s</a></div>', url, CLIP_SECONDS)
        return format_html('<div style="white-space:nowrap">{}{}</div>', images, link)

    @admin.display(description="tries of the webhook")
    def webhook_tries(self, task: Task) -> str | SafeString:
        """When each try began, how it ended, and the beginning of the answer."""
        tries = WebhookTry.objects.filter(delivery__task=task)
        rows = (
            (each.started.isoformat(" ", "seconds"), each.status or "-", each.error or _end(each), each.answer)
            for each in tries
        )
        lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>", rows)
        return format_html("<table>{}</table>", lines) if lines else "-"

    @admin.display(description="result with layers")
    def result_layers(self, task: Task) -> str | SafeString:
        """The result, and the boxes of what was found."""
        return layers(task)

    @admin.display(description="history")
    def what_happened(self, task: Task) -> SafeString:
        """States, reviews, webhooks and who saw what; the audit log only for those who may see it."""
        return history(task, with_audit=self._request.user.has_perm("anonymizer.view_auditevent"))

    # --- actions ---

    @admin.action(description="Delete with files", permissions=["delete"])
    def delete_with_files(self, request: HttpRequest, queryset: QuerySet[Task]) -> HttpResponse | None:
        answer = delete_selected(self, request, queryset)
        if isinstance(answer, TemplateResponse) and answer.context_data is not None:
            files = File.objects.filter(task__in=queryset)
            size = files.aggregate(total=Sum("size"))["total"] or 0
            answer.context_data["stored"] = {"files": files.count(), "bytes": size, "tasks": queryset.count()}
        return answer

    @admin.action(description="Run again", permissions=["change"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        changes = QueryDict(request.POST.get("options", "")).dict()
        started = 0
        for task in queryset.exclude(status=Status.DELETED):
            try:
                options, types, warnings = profiles.changed_options(task, changes)
                run_again(task, options, types, warnings=warnings, actor=_actor(request))
                started += 1
            except AnonymizerError as error:
                messages.error(request, f"{task}: {error}")
                continue
            for warning in warnings:
                messages.warning(request, warning)
        messages.success(request, f"{started} task(s) run again. Each of them is a new task in the list.")

    @admin.action(description="Send the webhook again", permissions=["change"])
    def send_webhook_again(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        value = request.POST.get("header_value", "").strip()
        sent = 0
        for task in queryset:
            try:
                deliveries.send_again(task, value or None)
                sent += 1
            except AnonymizerError as error:
                messages.error(request, str(error))
        messages.success(request, f"{sent} webhook(s) will be sent again.")

    # --- deletion ---

    def delete_model(self, request: HttpRequest, obj: Task) -> None:
        self.delete_queryset(request, Task.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        for keys in key_batches(queryset):
            tasks = Task.objects.filter(pk__in=keys)
            try:
                deletion.delete_tasks(tasks, actor=_actor(request))
            except StorageFailed as error:
                messages.error(request, str(error))
            tasks.delete()

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001 (Django's)
        formset.save(commit=False)
        deletion.delete_single_files(formset.deleted_objects, actor=_actor(request))

    # --- files ---

    def _file(self, request: HttpRequest, task_id: uuid.UUID, kind: str) -> File:
        if not self.has_view_permission(request) or not _may_see(request, kind):
            raise PermissionDenied
        task = get_object_or_404(Task.objects.prefetch_related("files"), pk=task_id)
        file = task.file(FileKind(kind)) if kind in FileKind.values else None
        if file is None:
            raise Http404
        return file

    def _read(self, request: HttpRequest, task_id: uuid.UUID, kind: str) -> File:
        """A file that is shown or downloaded: the audit log says so."""
        file = self._file(request, task_id, kind)
        action = AuditAction.ORIGINAL_SEEN if kind in deletion.SHOWS_ORIGINAL else AuditAction.DOWNLOADED
        audit.record_access(action, task_id, _actor(request), kind)
        return file

    def file_view(self, request: HttpRequest, task_id: uuid.UUID, kind: str) -> FileResponse:
        file = self._read(request, task_id, kind)
        try:
            answer = FileResponse(file.open(), as_attachment=True, filename=_download_name(file))
        except FileNotFoundError:
            raise Http404 from None
        answer["Content-Length"] = str(file.size)
        return answer

    def thumbnail_view(self, request: HttpRequest, task_id: uuid.UUID, kind: str) -> HttpResponseBase:
        file = self._read(request, task_id, kind)
        preview = next((preview for preview, of in PREVIEW_OF.items() if of == kind), None)
        if preview is None:
            raise Http404
        try:
            shown = jobs.ask_for_preview(file.task, preview, wait_s=WAIT_S)
        except AnonymizerError:
            raise Http404 from None
        if shown is None:
            return _come_back("The worker has not made this preview yet.")
        try:
            answer = HttpResponse(shown.read(), content_type=shown.media_type)
        except FileNotFoundError:
            raise Http404 from None
        # a browser keeps nothing of an original
        answer["Cache-Control"] = "private, no-store" if kind == FileKind.ORIGINAL else "private, max-age=600"
        return answer

    def side_by_side_view(self, request: HttpRequest, task_id: uuid.UUID) -> HttpResponseBase:
        """Show a clip of the original beside the anonymised video: 30 s from `start` (in seconds) on."""
        before, _ = (self._read(request, task_id, kind) for kind in (FileKind.ORIGINAL, FileKind.ANONYMISED))
        try:
            start_s = float(request.GET.get("start", "0"))
        except ValueError:
            raise Http404 from None
        if before.task.kind != Kind.VIDEO or not math.isfinite(start_s) or start_s < 0:
            raise Http404
        try:
            clip = jobs.ask_for_clip(before.task, start_s, wait_s=WAIT_S)
        except AnonymizerError:
            raise Http404 from None
        if clip is None:
            return _come_back("A worker makes this clip. This page shows it when it is ready.")
        return _stored(clip)


def _stored(file: File) -> FileResponse:
    try:
        content = file.open()
    except FileNotFoundError:
        raise Http404 from None
    return FileResponse(content, content_type=file.media_type, filename=f"{file.kind}{PurePosixPath(file.key).suffix}")


def _come_back(sentence: str) -> HttpResponse:
    """Tell a browser to ask again in a few seconds."""
    answer = HttpResponse(sentence, status=202, content_type="text/plain")
    answer["Refresh"] = str(RELOAD_S)
    answer["Cache-Control"] = "no-store"
    return answer


def _end(attempt: WebhookTry) -> str:
    return "" if attempt.ended else "no end"


def _actor(request: HttpRequest) -> str:
    """Who sends a request, as the audit log names it."""
    return f"admin:{request.user.get_username()}"


def _download_name(file: File) -> str:
    """The name of a download; it tells the original from the anonymised file."""
    return f"{file.kind}-{file.name}" if file.kind in (FileKind.ORIGINAL, FileKind.ANONYMISED) else file.name
