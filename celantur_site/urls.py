"""Which part of the application answers which address."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("anonymizer.api.urls")),
    path("", include("anonymizer.web.urls")),
]
handler400 = "anonymizer.api.exceptions.bad_request"
handler403 = "anonymizer.api.exceptions.permission_denied"
handler404 = "anonymizer.api.exceptions.not_found"
handler500 = "anonymizer.api.exceptions.server_error"
