"""The admin of API tokens: make, limit, replace and revoke them. A token is shown once, right after it is made."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils import timezone

from anonymizer.models import Token
from anonymizer.service.clients import quota, tokens

__all__ = ["TokenAdmin"]


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """List clients, change their limits, and give them tokens."""

    actions = ("revoke", "replace")
    list_display = (
        "name",
        "state",
        "expires",
        "last_used",
        "rate",
        "files_today",
        "bytes_today",
        "reads_metrics",
        "reviews",
        "sees_originals",
    )
    search_fields = ("name",)
    fields = (
        "name", "expires", "rate", "tasks_a_day", "bytes_a_day", "reads_metrics", "reviews", "sees_originals",
        "state", "created", "last_used", "files_today", "bytes_today",
    )  # fmt: skip
    readonly_fields = ("state", "created", "last_used", "files_today", "bytes_today")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields if obj else self.fields[:8]

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:  # noqa: FBT001 (Django's)
        if not change:
            # only this request knows it
            request.new_token = tokens.new_secret(obj)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        return self._shown_once(request, obj, request.new_token)  # type: ignore[attr-defined]

    def _shown_once(self, request: HttpRequest, token: Token, secret: str) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": f"The token of {token.name}", "secret": secret, "opts": self.opts,
        }  # fmt: skip
        answer = TemplateResponse(request, "anonymizer/token.html", context)
        answer["Cache-Control"] = "no-store"
        return answer

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        revoked = queryset.filter(revoked=None).update(revoked=timezone.now())
        messages.success(request, f"{revoked} token(s) revoked. The tasks of these clients stay.")

    @admin.action(description="Give another token (the old one ends)", permissions=["change"])
    def replace(self, request: HttpRequest, queryset: QuerySet[Token]) -> HttpResponse | None:
        if len(queryset) != 1:
            messages.error(request, "Choose one client: each token is shown on a page of its own.")
            return None
        token = queryset[0]
        secret = tokens.new_secret(token)
        token.save()
        self.log_change(request, token, "Another token was made.")
        return self._shown_once(request, token, secret)

    @admin.display(description="state")
    def state(self, token: Token) -> str:
        if token.revoked is not None:
            return f"revoked on {token.revoked:%Y-%m-%d}"
        return "active" if token.is_active else "expired"

    @admin.display(description="files today")
    def files_today(self, token: Token) -> str:
        used = quota.used_today(token)[0]
        return str(used) if token.tasks_a_day is None else f"{used} of {token.tasks_a_day}"

    @admin.display(description="bytes today")
    def bytes_today(self, token: Token) -> str:
        used = filesizeformat(quota.used_today(token)[1])
        return used if token.bytes_a_day is None else f"{used} of {filesizeformat(token.bytes_a_day)}"
