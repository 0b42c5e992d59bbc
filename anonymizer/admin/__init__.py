"""The admin: what operators see of tasks, tokens, workers and threshold profiles, and what they can do with them."""

from django.contrib import admin

from anonymizer.admin.audit import AuditEventAdmin, DeletionReceiptAdmin
from anonymizer.admin.profiles import ProfileAdmin
from anonymizer.admin.queue import QueueAdmin
from anonymizer.admin.tasks import TaskAdmin
from anonymizer.admin.tokens import TokenAdmin
from anonymizer.admin.workers import WorkerAdmin

__all__ = [
    "AuditEventAdmin",
    "DeletionReceiptAdmin",
    "ProfileAdmin",
    "QueueAdmin",
    "TaskAdmin",
    "TokenAdmin",
    "WorkerAdmin",
]

admin.site.site_header = admin.site.site_title = "Anonymizer"
admin.site.index_title = "Operation"
