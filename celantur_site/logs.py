"""The one format of the log: a line of text or of JSON, with the time in UTC, the level, the logger and the task."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["FORMATS", "settings_of_logging"]

FORMATS = ("text", "json")


def settings_of_logging(level: str, form: str) -> dict[str, Any]:
    """Return Django's setting `LOGGING`.

    Args:
        level: the lowest level that is logged, such as INFO.
        form: `text` or `json`.
    """
    last: list[Any]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last = [structlog.processors.format_exc_info, _as_text]
    console = {"handlers": ["console"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                "foreign_pre_chain": [
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    structlog.stdlib.ExtraAdder(allow=("task",)),
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    _add_task,
                ],
            }
        },
        # 503 tells clients that the server is not ready; it is no internal error
        "filters": {
            "faults": {
                "()": "django.utils.log.CallbackFilter",
                "callback": lambda record: getattr(record, "status_code", 0) != 503,
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "anonymizer": {**console, "level": level},
            "django": {**console, "level": "WARNING"},
            "django.request": {**console, "level": "ERROR", "filters": ["faults"]},
            # each of its jobs would be three lines, and a schedule is a job every minute
            "django-q": {**console, "level": "INFO" if level == "DEBUG" else "WARNING"},
            "gunicorn.error": {**console, "level": "WARNING"},
        },
    }


def _add_task(logger: logging.Logger, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # imported here because settings are read before the apps are
    from anonymizer.service.monitoring import log_context

    task = event.get("task") or log_context.current()
    if task:
        event["task"] = str(task)
    return event


def _as_text(logger: logging.Logger, method: str, event: MutableMapping[str, Any]) -> str:
    """`2026-11-29T02:28:08Z WARNING anonymizer.service.work: The sentence. [task 0199f1c2…]`, then any traceback."""
    about = f" [task {event['task']}]" if event.get("task") else ""
    trace = f"\n{event['exception']}" if event.get("exception") else ""
    # a line break in a name or an address must not begin a line that looks like another entry
    sentence = str(event.get("event", "")).replace("\r", "\\r").replace("\n", "\\n")
    level = str(event.get("level", "")).upper()
    return f"{event.get('timestamp', '')} {level} {event.get('logger', '')}: {sentence}{about}{trace}"
