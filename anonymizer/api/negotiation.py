"""Which parser reads a request, and in which format it is answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

__all__ = ["OneFormat"]


class OneFormat(DefaultContentNegotiation):
    """Answer in the one format that a view has, whatever the header `Accept` says.

    Clients ask for `image/jpeg` where a file is an image, but the answer may be an error, which is JSON.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, Any]:
        """Return the view's first renderer and its media type."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
