"""The page at /, to anonymise an image or a video in the browser."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.views.generic import TemplateView

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.options.options import KeepMetadata, Method, Options, Verify
from anonymizer.service import engine, profiles
from anonymizer.service.clients import tokens

__all__ = ["PageView"]

_METHODS = {
    Method.BLUR: "blur it",
    Method.PIXELATE: "pixelate it",
    Method.BLACKEN: "blacken it",
    Method.DETECT: "only report it",
}
_VERIFY = {
    Verify.FALSE: "no",
    Verify.TRUE: "yes, and redact what is found",
    Verify.STRICT: "yes, and let the file fail",
}
_KEPT = {
    KeepMetadata.TECHNICAL: "camera, time and position",
    KeepMetadata.ALL: "names and texts too",
    KeepMetadata.NONE: "nothing",
}
_TTLS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))


class PageView(TemplateView):
    """Show the page, on which a user uploads files and looks at results; its scripts call the API."""

    template_name = "anonymizer/page.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the choices of the form."""
        served = engine.served_types()
        types = [(object_type.value, f"{object_type.words}s", object_type in served) for object_type in OBJECT_TYPES]
        methods = [(method.value, _METHODS[method]) for method in Method]
        # what a request gets that names nothing, with the active profile and the defaults of this server
        profile = profiles.active()
        defaults = Options.from_params({}, defaults=settings.DEFAULT_OPTIONS | (profile.options() if profile else {}))[
            0
        ]
        thresholds = {object_type: round(defaults.threshold(object_type), 2) for object_type in OBJECT_TYPES}
        return super().get_context_data(
            image_format=str(defaults.image_format),
            video_format=str(defaults.video_format),
            object_types=types,
            methods=methods,
            thresholds=[(*row, thresholds[object_type]) for row, object_type in zip(types, OBJECT_TYPES, strict=True)],
            thresholds_json=json.dumps(thresholds),
            keep_metadata=_KEPT[defaults.keep_metadata],
            verify=_VERIFY[defaults.verify],
            review="yes" if settings.REVIEW else "no",
            ttl="never" if settings.TTL is None else f"after {_words(settings.TTL)}",
            ttls=[(int(each.total_seconds()), f"after {_words(each)}") for each in _TTLS if _is_allowed(each)],
            takes_videos=engine.takes_videos(),
            needs_token=tokens.exist(),
            profiles=[(profile.name, str(profile.format or ""), active) for profile, active in profiles.all_profiles()],
            **kwargs,
        )


def _is_allowed(ttl: timedelta) -> bool:
    return settings.MAX_TTL is None or ttl <= settings.MAX_TTL


def _words(time: timedelta) -> str:
    """A time in the largest unit that divides it: "7 days"."""
    seconds = int(time.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} s"
