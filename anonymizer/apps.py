"""The Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AnonymizerConfig(AppConfig):
    name = "anonymizer"
    verbose_name = "Anonymizer"

    def ready(self) -> None:
        from anonymizer import checks  # noqa: F401 (registers the checks)
        from anonymizer.service import schedules, workers

        workers.connect()
        post_migrate.connect(schedules.ensure, sender=self, dispatch_uid="anonymizer-schedules")
