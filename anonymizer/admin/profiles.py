"""The admin of threshold profiles: show, activate and delete them. Commands and notebooks make them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from anonymizer.models import Profile
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles

__all__ = ["ProfileAdmin"]


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Show profiles. They cannot be edited; users with the permission to change them can activate them."""

    actions = ("activate", "activate_unproven", "use_none")
    list_display = ("name", "active", "thresholds", "target", "created")
    fields = readonly_fields = ("name", "active", "figures", "format", "target", "keys", "created", "changed")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj is not None and obj.active)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        # without fields to edit there is nothing to save
        hidden = {"show_save": False, "show_save_and_continue": False}
        return super().render_change_form(request, context | hidden, *args, **kwargs)

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        self._activate(request, queryset, accept_unproven=False)

    @admin.action(description="Activate, also if thresholds are not proven", permissions=["change"])
    def activate_unproven(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        self._activate(request, queryset, accept_unproven=True)

    def _activate(self, request: HttpRequest, queryset: QuerySet[Profile], *, accept_unproven: bool) -> None:
        if len(queryset) != 1:
            messages.error(request, "Only one profile can be active: choose one.")
            return
        profile = _profile(queryset[0])
        try:
            profiles.activate(profile.name, accept_unproven=accept_unproven)
        except profiles.UnprovenProfile as error:
            messages.error(request, str(error))
            return
        messages.success(request, f"Profile {profile.name} is active. It is the default profile of requests now.")
        for mismatch in profiles.default_mismatches(profile):
            messages.warning(request, mismatch)

    @admin.action(description="Use no profile", permissions=["change"])
    def use_none(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        profiles.activate(None)
        messages.success(
            request, "No profile is active. Requests that name no profile get the default thresholds of this server."
        )

    @admin.display(description="thresholds")
    def thresholds(self, row: Profile) -> str:
        return profiles.thresholds(_profile(row))

    @admin.display(description="target recall")
    def target(self, row: Profile) -> str:
        recall = _profile(row).target_recall
        return "-" if recall is None else f"{recall:.4g}"

    @admin.display(description="format")
    def format(self, row: Profile) -> str:
        return str(_profile(row).format or "-")

    @admin.display(description="models, with their checksums")
    def keys(self, row: Profile) -> str:
        return ", ".join(f"{object_type.words} {key}" for object_type, key in _profile(row).models.items()) or "-"

    @admin.display(description="by object type")
    def figures(self, row: Profile) -> SafeString:
        rows = profiles.table(_profile(row))
        cells = [format_html_join("", "<td>{}</td>", ((text,) for text in texts)) for texts in rows]
        return format_html("<table>{}</table>", format_html_join("", "<tr>{}</tr>", ((cell,) for cell in cells)))


def _profile(row: Profile) -> ThresholdProfile:
    return ThresholdProfile.from_dict(row.data)
