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
    fields = readonly_fields = ("name", "active", "plot", "figures", "format", "target", "keys", "created", "changed")

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

    @admin.display(description="measured recall")
    def plot(self, row: Profile) -> str | SafeString:
        """A bar for each type: the recall that was measured, its lower bound, and the target."""
        profile = _profile(row)
        bars = [
            (object_type.words, recall, at_least if isinstance(at_least, float) else 0.0)
            for object_type, figures in profile.figures.items()
            for recall, at_least in [(figures.get("recall"), figures.get("recall_at_least"))]
            if isinstance(recall, float)
        ]
        if not bars:
            return "nothing was measured"
        rows = format_html_join("", _BAR, (_bar(number, *bar) for number, bar in enumerate(bars)))
        height = len(bars) * _ROW_PX
        target = profile.target_recall
        line = "" if target is None else format_html(_TARGET, 120 + 300 * target, 120 + 300 * target, height, target)
        return format_html(
            '<svg viewBox="0 0 480 {}" style="width:100%;max-width:480px" role="img" aria-label="{}">{}{}</svg>'
            "<div>Dark: at least this recall, with 95 % confidence. Light: what was measured. Line: the target.</div>",
            height + 18, "; ".join(f"{words}: recall {recall:.3f}" for words, recall, _ in bars), rows, line,
        )  # fmt: skip


_ROW_PX = 28
_TEXT = 'style="fill:var(--body-fg);font-size:13px"'
_BAR = (
    f'<text x="0" y="{{}}" {_TEXT}>{{}}</text>'
    '<rect x="120" y="{}" width="{}" height="16" fill="#7fb8a4"/>'
    '<rect x="120" y="{}" width="{}" height="16" fill="#2a7d5f"/>'
    f'<text x="428" y="{{}}" {_TEXT}>{{}}</text>'
)
_TARGET = '<line x1="{}" x2="{}" y1="0" y2="{}" stroke="#ba2121" stroke-width="2"><title>target {}</title></line>'


def _bar(number: int, words: str, recall: float, at_least: float) -> tuple[object, ...]:
    """The values of `_BAR`."""
    top = number * _ROW_PX + 4
    return top + 13, words, top, 300 * recall, top, 300 * at_least, top + 13, f"{recall:.3f}"


def _profile(row: Profile) -> ThresholdProfile:
    return ThresholdProfile.from_dict(row.data)
