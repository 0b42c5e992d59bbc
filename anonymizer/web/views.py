"""The page at /, to anonymise an image or a video in the browser."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.views.generic import TemplateView

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.service import engine, profiles

__all__ = ["PageView"]

_METHODS = {
    Method.BLUR: "blur it",
    Method.PIXELATE: "pixelate it",
    Method.BLACKEN: "blacken it",
    Method.DETECT: "only report it",
}


class PageView(TemplateView):
    """Show the page, on which a user uploads files and looks at results; its scripts call the API."""

    template_name = "anonymizer/page.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the choices of the form."""
        served = engine.served_types()
        types = [(object_type.value, f"{object_type.words}s", object_type in served) for object_type in OBJECT_TYPES]
        methods = [(method.value, _METHODS[method]) for method in Method]
        # what a request gets that names no format, with the defaults of this server
        defaults = Options.from_params({}, defaults=settings.DEFAULT_OPTIONS)[0]
        return super().get_context_data(
            image_format=str(defaults.image_format),
            video_format=str(defaults.video_format),
            object_types=types,
            methods=methods,
            takes_videos=engine.takes_videos(),
            profiles=[(profile.name, str(profile.format or ""), active) for profile, active in profiles.all_profiles()],
            **kwargs,
        )
