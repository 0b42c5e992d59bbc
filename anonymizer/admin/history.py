"""What happened to a task, in the order of time, and what its result shows: two parts of its page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from anonymizer.models import AuditEvent, FileKind, Kind, ResultVersion, Task, WebhookTry
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["history", "layers"]

#: the colour of each type in the layers; readable on dark and light pictures
COLOURS = dict(zip(OBJECT_TYPES, ("#ff4f4f", "#ffd000", "#37c8ff", "#7dff5a"), strict=True))
#: more boxes than this make no picture that anybody can read
MOST_BOXES = 500


def history(task: Task, *, with_audit: bool) -> SafeString:
    """A table of everything that is known of a task, the oldest first.

    Args:
        task: the task.
        with_audit: whether the reader may see the audit log.
    """
    rows = sorted(_events(task, with_audit=with_audit), key=lambda each: each[0])
    cells = ((time.isoformat(" ", "seconds"), what, who) for time, what, who in rows)
    lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", cells)
    return format_html("<table><tr><th>time</th><th>what</th><th>by</th></tr>{}</table>", lines)


def _events(task: Task, *, with_audit: bool) -> Iterator[tuple[datetime, str, str]]:
    yield task.created, "created", ""
    if task.started:
        again = f", start {task.leases} of this task" if task.leases > 1 else ""
        yield task.started, f"work began{again}", task.worker
    if task.finished:
        why = f": {task.failure_cause}" if task.failure_cause else ""
        yield task.finished, f"{task.status}{why}", task.worker
    for event in AuditEvent.objects.filter(task=task.pk) if with_audit else ():
        what = event.get_action_display().lower()
        about = f" {event.file}" if event.file and event.file not in what else ""
        reason = f" ({event.reason})" if event.reason else ""
        yield event.time, f"{what}{about}{reason}", event.actor
    for version in ResultVersion.objects.filter(task=task):
        yield version.created, f"version {version.number} asked for: {version.status}", version.actor
    for attempt in WebhookTry.objects.filter(delivery__task=task):
        yield attempt.started, f"webhook: {attempt.status or attempt.error or 'no end'}", "server"


def layers(task: Task) -> str | SafeString:
    """The result of an image, with the boxes of what was found; each type can be switched off."""
    metadata = task.file(FileKind.METADATA)
    if task.kind != Kind.IMAGE or metadata is None or task.file(FileKind.ANONYMISED) is None:
        return "-"
    try:
        content: dict[str, Any] = json.loads(metadata.read())
    except (FileNotFoundError, ValueError):
        return "-"
    height, width = content["size"]
    found = content["detections"][:MOST_BOXES]
    present = [each for each in OBJECT_TYPES if any(row["type_label"] == each for row in found)]
    boxes = format_html_join("", _BOX, (_box(row, width) for row in found))
    switches = format_html_join(
        "",
        '<label><input type="checkbox" checked class="layer-{}"> {}</label> ',
        ((each, each.words) for each in present),
    )
    rules = format_html_join(
        "", ".layers:has(.layer-{}:not(:checked)) .{} {{display:none}}", ((each, each) for each in present)
    )
    picture = reverse("admin:anonymizer_task_thumbnail", args=[task.pk, FileKind.ANONYMISED])
    return format_html(
        '<style>{}</style><div class="layers">{}<svg viewBox="0 0 {} {}" style="display:block;max-width:100%;'
        'max-height:60vh" role="img" aria-label="Result with the boxes of what was found">'
        '<image href="{}" width="{}" height="{}"/>{}</svg></div>',
        rules, switches, width, height, picture, width, height, boxes,
    )  # fmt: skip


_SWITCH = '<label><input type="checkbox" checked class="layer-{}"> {}</label> '
_BOX = (
    '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{}" '
    'stroke-width="{}" stroke-dasharray="{}"/></g>'
)


def _box(row: dict[str, Any], width: int) -> tuple[object, ...]:
    """The values of `_BOX`; what was left visible is dashed."""
    kind = ObjectType(row["type_label"])
    x1, y1, x2, y2 = row["bbox"]
    line = max(1, width // 300)
    title = f"{row['id']}: {kind.words}, score {row['score']:.2f}" + ("" if row["is_anonymised"] else ", left visible")
    dashes = "none" if row["is_anonymised"] else f"{3 * line} {2 * line}"
    return kind, title, x1, y1, x2 - x1, y2 - y1, COLOURS[kind], line, dashes
