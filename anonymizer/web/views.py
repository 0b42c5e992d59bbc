"""The page at /: try a picture or a video without writing a client."""

from __future__ import annotations

from typing import Any

from django.views.generic import TemplateView

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.options.options import Method
from anonymizer.service import engine, profiles

__all__ = ["PageView"]


class PageView(TemplateView):
    template_name = "anonymizer/page.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        served = engine.served_types()
        types = [(each.value, f"{each.words}s", each in served) for each in OBJECT_TYPES]
        methods = [each.value for each in Method]
        return super().get_context_data(
            object_types=types,
            methods=methods,
            takes_videos=engine.takes_videos(),
            profiles=[(each.name, str(each.format or ""), is_active) for each, is_active in profiles.every()],
            **kwargs,
        )
