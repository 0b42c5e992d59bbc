"""The site of the admin: a dashboard on its first page, and a page of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.http import require_http_methods

__all__ = ["AnonymizerAdminConfig", "AnonymizerAdminSite"]

FETCH_MODELS = "anonymizer.fetch_models"
#: of the plot, in units of its viewBox: the height of the highest bar, its foot, and the distance of bars
HEIGHT, FOOT, STEP = 100, 110, 30


class AnonymizerAdminConfig(AdminConfig):
    """Django's admin, with the site of this module."""

    default_site = "anonymizer.web.admin_site.AnonymizerAdminSite"


class AnonymizerAdminSite(admin.AdminSite):
    """The admin with a dashboard and the models."""

    site_header = site_title = "Anonymizer"
    index_title = "What is going on"
    index_template = "anonymizer/admin/index.html"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the dashboard to those who may see tasks, and the list of pages to all."""
        # the models of Django are not loaded yet when this module is imported
        from anonymizer.service.operators.dashboard import dashboard

        context: dict[str, Any] = dict(extra_context or {})
        if request.user.has_perm("anonymizer.view_task"):
            shown = dashboard()
            most = max(hour.done + hour.failed for hour in shown.hours)
            context |= {"dashboard": shown, "most": most, "bars": _bars(shown.hours, most)}
        return super().index(request, context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add the page of the models."""
        view = self.admin_view(require_http_methods(["GET", "POST"])(self.models_view))
        return [path("models/", view, name="anonymizer_models"), *super().get_urls()]

    def models_view(self, request: HttpRequest) -> HttpResponse:
        """List the models, and start to fetch one of them."""
        from anonymizer.service.operators import model_fetch

        may_fetch = request.user.has_perm(FETCH_MODELS)
        if not (may_fetch or request.user.has_perm("anonymizer.view_worker")):
            raise PermissionDenied
        if request.method == "POST":
            if not may_fetch:
                raise PermissionDenied
            try:
                messages.info(request, model_fetch.start(request.POST.get("id", "")))
            except KeyError:
                raise Http404 from None
            return HttpResponseRedirect(reverse("admin:anonymizer_models"))
        context = self.each_context(request) | {
            "title": "Models", "rows": model_fetch.rows(), "may_fetch": may_fetch,
        }  # fmt: skip
        return render(request, "anonymizer/admin/models.html", context)


def _bars(hours: Sequence[Any], most: int) -> list[dict[str, Any]]:
    """Where the two parts of each bar of the plot are."""
    scale = HEIGHT / max(1, most)
    bars = []
    for number, hour in enumerate(hours):
        done, failed = round(hour.done * scale, 1), round(hour.failed * scale, 1)
        bars.append(
            {
                "hour": hour, "x": number * STEP + 3, "done_px": done, "done_y": FOOT - done,
                "failed_px": failed, "failed_y": FOOT - done - failed,
            }
        )  # fmt: skip
    return bars
