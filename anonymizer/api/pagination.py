"""The pages of the task list."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from rest_framework.pagination import PageNumberPagination

__all__ = ["TaskPagination"]


class TaskPagination(PageNumberPagination):
    """Pages by `page` and `page_size`. Links to other pages begin with the setting `API_ENDPOINT`, if it is set."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"

    def get_next_link(self) -> str | None:
        """Return the URL of the next page, or None."""
        return _at_endpoint(super().get_next_link())

    def get_previous_link(self) -> str | None:
        """Return the URL of the previous page, or None."""
        return _at_endpoint(super().get_previous_link())


def _at_endpoint(url: str | None) -> str | None:
    if url is None or not settings.API_ENDPOINT:
        return url
    parts = urlsplit(url)
    return settings.API_ENDPOINT + urlunsplit(("", "", parts.path, parts.query, ""))
