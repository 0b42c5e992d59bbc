"""The addresses of the contract. None of them ends with a slash."""

from django.urls import path
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from anonymizer.api import health, views
from anonymizer.api.delivery.links import LinkView
from anonymizer.api.delivery.views import WebhookView
from anonymizer.api.reviewing.views import CandidatesView, ReviewView, VersionsView
from anonymizer.models import FileKind

_FILE = "v1/file/<uuid:task_id>"
VIDEO_FILES = (FileKind.ANONYMISED, FileKind.METADATA, FileKind.BINARY_MASK, FileKind.INSTANCE_MASK)

urlpatterns = [
    path("v1/file", views.UploadView.as_view()),
    path(f"{_FILE}/anonymised", views.ArtefactView.as_view(), name="anonymised"),
    path(f"{_FILE}/anonymized", views.ArtefactView.as_view()),
    path(f"{_FILE}/original", views.OriginalView.as_view(), name="original"),
    path(f"{_FILE}/metadata", views.MetadataView.as_view()),
    path(f"{_FILE}/link", LinkView.as_view()),
    path(f"{_FILE}/candidates", CandidatesView.as_view()),
    path(f"{_FILE}/receipt", views.ReceiptView.as_view()),
    path(f"{_FILE}/binary-mask", views.MaskView.as_view(kind=FileKind.BINARY_MASK)),
    path(f"{_FILE}/instance-mask", views.MaskView.as_view(kind=FileKind.INSTANCE_MASK)),
    *(
        path(f"{_FILE}/video/{part}", views.VideoArtefactView.as_view(kind=kind))
        for part, kind in [*((kind.value, kind) for kind in VIDEO_FILES), ("anonymized", FileKind.ANONYMISED)]
    ),
    path("v1/task", views.TasksView.as_view()),
    *(path(f"v1/task/{part}", views.TaskListView.as_view()) for part in ("list", "lists")),
    path("v1/task/<uuid:task_id>", views.TaskView.as_view()),
    path("v1/task/<uuid:task_id>/webhook", WebhookView.as_view()),
    path("v1/task/<uuid:task_id>/review", ReviewView.as_view()),
    path("v1/task/<uuid:task_id>/versions", VersionsView.as_view()),
    path("v1/openapi.json", SpectacularAPIView.as_view(renderer_classes=[OpenApiJsonRenderer]), name="schema"),
    # its script has an address of its own: the content security policy allows none inside the page
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]
