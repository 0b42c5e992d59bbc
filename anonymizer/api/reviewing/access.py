"""Who may review which result, and see one that no person has approved yet."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from anonymizer.api.authentication import SESSION_USER, HasToken, actor, own_tasks, owner
from anonymizer.api.exceptions import Deleted, NotFound
from anonymizer.api.parameters import flag
from anonymizer.models import Review, Status, Task
from anonymizer.service.clients import tokens
from anonymizer.service.clients.errors import Forbidden
from anonymizer.service.reviewing import versions
from anonymizer.service.reviewing.errors import ReviewNeeded

__all__ = [
    "HasTokenOrReviewer",
    "check_original",
    "check_reviewer",
    "check_served",
    "find_task",
    "is_of_another",
    "may_review",
    "reviewer",
    "visible_tasks",
    "waiting_tasks",
    "wants_review",
]

#: of a user of the admin
PERMISSION = "anonymizer.review_task"
VIEW_ORIGINAL = "anonymizer.view_original"


class HasTokenOrReviewer(BasePermission):
    """Answer clients with a token, and users of the admin who may review."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True.

        Raises:
            InvalidToken: the request needs a token.
        """
        reads = request.method in ("GET", "HEAD") or getattr(view, "is_for_reviewers", False)
        return (reads and _has_session(request)) or HasToken().has_permission(request, view)


def may_review(request: Request) -> bool:
    """Return whether a request comes from a reviewer: a client or a user with the right, or any without tokens."""
    client = owner(request)
    if client is not None:
        return client.reviews
    return _has_session(request) or not tokens.exist()


def reviewer(request: Request) -> str:
    """Return who reviews, as the audit log names it."""
    if owner(request) is None and _has_session(request):
        return f"admin:{_user(request).get_username()}"
    return actor(request)


def visible_tasks(request: Request) -> QuerySet[Task]:
    """Return the tasks that a caller may see: its own, and for reviewers those that need a review."""
    if owner(request) is None and _has_session(request):
        return Task.objects.all()
    if may_review(request) and owner(request) is not None:
        return Task.objects.filter(Q(owner=owner(request)) | Q(review_required=True))
    return own_tasks(request)


def waiting_tasks(request: Request) -> QuerySet[Task]:
    """Return the tasks whose results wait for a person, of those that a caller may see."""
    is_made = Q(status=Status.DONE) | Q(status=Status.PROCESSING, lease_until=None)
    return visible_tasks(request).filter(is_made, review=Review.REQUIRED)


def find_task(request: Request, task_id: uuid.UUID) -> Task:
    """Return a task with its files.

    Raises:
        NotFound: there is none, or it is that of another client.
    """
    task = visible_tasks(request).prefetch_related("files").filter(pk=task_id).first()
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task


def check_served(request: Request, task: Task, version: int | None = None) -> None:
    """Make sure that a result may be shown to a caller.

    Args:
        request: of the caller.
        task: of the result.
        version: of the result. Default: the one that is served.

    Raises:
        ReviewNeeded: a person has to approve it first. Reviewers see it with `review=1`.
        Forbidden: `review=1` was given by somebody who may not review.
    """
    if not (task.waits_for_review or versions.is_withheld(task, version)):
        return
    if not wants_review(request):
        raise ReviewNeeded(
            f"The result of task {task.pk} is served when a person has approved it. Reviewers add review=1."
        )
    if not may_review(request):
        raise Forbidden("This client may not review results. `anonymizer token create NAME --reviewer` makes one.")


def check_original(request: Request, task: Task) -> None:
    """Make sure that a caller may see an original: its owner may, and others only with a right for it.

    Raises:
        Forbidden: the caller has no such right.
    """
    if not is_of_another(request, task):
        return
    client = owner(request)
    if client is None and not _user(request).has_perm(VIEW_ORIGINAL):
        raise Forbidden("This user may review results, but may not see originals.")
    if client is not None and not client.sees_originals:
        raise Forbidden(
            "This client may review the result, but may not see the original, which is another client's. "
            "`anonymizer token create NAME --reviewer --originals` makes a token that may."
        )


def is_of_another(request: Request, task: Task) -> bool:
    """Return whether a task belongs to another client than the caller. Without tokens, tasks are everybody's."""
    client = owner(request)
    if client is None:
        return tokens.exist() and _has_session(request)
    return task.owner_id != client.pk


def check_reviewer(request: Request, task: Task) -> None:
    """Make sure that a caller may review a task.

    Raises:
        Deleted: the task was deleted.
        Forbidden: its result needs an approval, and the caller is no reviewer.
    """
    if task.status == Status.DELETED:
        raise Deleted(f"Task {task.pk} was deleted.")
    if task.review_required and not may_review(request):
        raise Forbidden("This client may not review results that need an approval.")


def wants_review(request: Request) -> bool:
    """Return whether a caller asks for a result that waits for a review, by `review=1`."""
    return flag(request, "review")


def _user(request: Request) -> Any:
    return request.META.get(SESSION_USER)


def _has_session(request: Request) -> bool:
    user = _user(request)
    return bool(user is not None and user.is_authenticated and user.is_active and user.has_perm(PERMISSION))
