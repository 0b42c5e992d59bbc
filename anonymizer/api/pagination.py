"""The pages of the task list."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.core.cache import caches
from django.core.paginator import Paginator
from django.utils import timezone
from rest_framework.exceptions import NotFound
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request

from anonymizer.api.exceptions import NoSuchPage
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import whole_number

__all__ = ["MOST_PAGES", "TaskPagination"]

#: higher page numbers are refused; databases cannot skip so many rows
MOST_PAGES = 2**31 - 1
#: a database counts rows one by one: of a list with more tasks, the number of the older ones is remembered for a while
LONG_LIST = 10_000
REMEMBERED_S = 60
#: no task appears in the list so long after the time of its upload
SETTLED = timedelta(minutes=10)


class TaskPaginator(Paginator):  # type: ignore[type-arg]
    """Counts the tasks of a long list without going through all of them each time.

    Records of deleted tasks that the clean-up removes may count for a minute longer. A list of some states is always
    counted, because tasks change theirs.
    """

    @cached_property
    def count(self) -> int:
        """The number of tasks."""
        tasks: Any = self.object_list
        if tasks.query.is_empty():
            return 0
        sql, values = tasks.order_by().values("pk").query.sql_with_params()
        if '"status"' in sql:
            return int(tasks.count())
        key = "tasks-" + hashlib.sha256(f"{sql} {values}".encode()).hexdigest()
        if (remembered := caches["local"].get(key)) is not None:
            before, older = remembered
            return int(older + tasks.filter(created__gt=before).count())
        before = timezone.now() - SETTLED
        count = int(tasks.count())
        if count > LONG_LIST:
            older = count - tasks.filter(created__gt=before).count()
            caches["local"].set(key, (before, older), REMEMBERED_S)
        return count


class TaskPagination(PageNumberPagination):
    """Pages by `page` and `page_size`. Links to other pages begin with the setting `API_ENDPOINT`, if it is set."""

    django_paginator_class = TaskPaginator
    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"
    last_page_strings = ()

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the tasks of the requested page.

        Raises:
            InvalidParameter: `page` or `page_size` is not a whole number in its range.
            NoSuchPage: the list has fewer pages.
        """
        try:
            return list(super().paginate_queryset(queryset, request, view) or [])
        except NotFound:
            page = _number(request, self.page_query_param, MOST_PAGES, 1)
            raise NoSuchPage(f"There is no page {page} of this list.") from None

    def get_page_number(self, request: Request, paginator: Any) -> int:
        """Return the number of the page, from 1 on."""
        return _number(request, self.page_query_param, MOST_PAGES, 1)

    def get_page_size(self, request: Request) -> int:
        """Return the number of tasks on a page."""
        return _number(request, self.page_size_query_param, self.max_page_size, self.page_size)

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


def _number(request: Request, name: str, most: int, default: int) -> int:
    values = {value for value in request.query_params.getlist(name) if value}
    if len(values) > 1:
        raise InvalidParameter(name, " and ".join(sorted(values)), "given once only, or always with the same value")
    return cast("int", whole_number(1, most)(name, values.pop())) if values else default
