"""Settings: environment variables only. The README has the table of them."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from celantur_site import env

BASE_DIR = Path(__file__).resolve().parent.parent
OBJECT_TYPE_NAMES = ("face", "license-plate", "person", "vehicle")

# --- where things are -------------------------------------------------------------------------------------------------
DATA_DIR = Path(env.string("ANONYMIZER_DATA_DIR", str(BASE_DIR / "media")))
INPUT_DIR = Path(env.string("ANONYMIZER_INPUT_DIR", str(DATA_DIR / "input")))
OUTPUT_DIR = Path(env.string("ANONYMIZER_OUTPUT_DIR", str(DATA_DIR / "output")))
MODELS_DIR = Path(env.string("ANONYMIZER_MODELS_DIR", str(BASE_DIR / "models")))


def _secret_key() -> str:
    """The variable, or one made at the first start and kept beside the database."""
    given = env.string("ANONYMIZER_SECRET_KEY", "")
    if given:
        return given
    file = DATA_DIR / "secret_key"
    try:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # whole or not at all: of two processes that start at once, both read what the last one wrote
            part = file.with_suffix(f".{os.getpid()}")
            part.touch(0o600)
            part.write_text(secrets.token_urlsafe(50))
            part.replace(file)
        return file.read_text()
    except OSError as error:
        sentence = f"ANONYMIZER_DATA_DIR is {str(DATA_DIR)!r}, but must be a folder that can be written to"
        raise ImproperlyConfigured(f"{sentence} ({error.strerror}).") from error


# --- Django -----------------------------------------------------------------------------------------------------------
SECRET_KEY = _secret_key()
DEBUG = env.boolean("ANONYMIZER_DEBUG", False)
ALLOWED_HOSTS = env.names("ANONYMIZER_ALLOWED_HOSTS", ["*"])
CSRF_TRUSTED_ORIGINS = env.names("ANONYMIZER_CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "anonymizer",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "celantur_site.urls"
WSGI_APPLICATION = "celantur_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        # the broker asks every few milliseconds: a connection each time would cost more than the question
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "/static/"
# served from where the packages have them: nothing to collect
WHITENOISE_USE_FINDERS = True
X_FRAME_OPTIONS = "SAMEORIGIN"

_FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {
    "default": {"BACKEND": _FILES, "OPTIONS": {"location": DATA_DIR}},
    "input": {"BACKEND": _FILES, "OPTIONS": {"location": INPUT_DIR}},
    "output": {"BACKEND": _FILES, "OPTIONS": {"location": OUTPUT_DIR}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# --- what this server does --------------------------------------------------------------------------------------------
#: None: every type for which a model is installed
OBJECT_TYPES: list[str] | None = env.names("ANONYMIZER_OBJECT_TYPES", [], OBJECT_TYPE_NAMES) or None
API_ENDPOINT = env.string("ANONYMIZER_API_ENDPOINT", "").rstrip("/")
DEVICE = env.string("ANONYMIZER_DEVICE", "auto")
#: which models serve: auto, a profile, TYPE=ID+ID with commas between, or both
MODELS = env.string("ANONYMIZER_MODELS", "auto")
#: a URL or a folder that has the models' files by their names
MODEL_MIRROR = env.string("ANONYMIZER_MODEL_MIRROR", "") or None
#: how long `serve` tries to bring better models when it starts; 0: never
FETCH_SECONDS = env.number("ANONYMIZER_FETCH_SECONDS", 5.0)
LEGACY_INSTANCE_MASK = env.boolean("ANONYMIZER_LEGACY_INSTANCE_MASK", False)
#: defaults of requests, under the names of the contract
DEFAULT_OPTIONS = {
    name: value
    for name, value in {
        "format": env.string("ANONYMIZER_FORMAT", ""),
        "save_mask": env.string("ANONYMIZER_SAVE_MASK", ""),
        "mask_scale": env.string("ANONYMIZER_MASK_SCALE", ""),
        "video_encoder": env.string("ANONYMIZER_VIDEO_ENCODER", ""),
    }.items()
    if value
}
MAX_BYTES = env.integer("ANONYMIZER_MAX_MEGABYTES", 200, low=1) * 2**20
MAX_MEGAPIXELS = env.number("ANONYMIZER_MAX_MEGAPIXELS", 200.0, low=0.001)
MAX_VIDEO_BYTES = env.integer("ANONYMIZER_MAX_VIDEO_MEGABYTES", 8192, low=1) * 2**20
MAX_VIDEO_LENGTH = env.duration("ANONYMIZER_MAX_VIDEO_SECONDS", "4h")
SYNC_TIMEOUT = env.duration("ANONYMIZER_SYNC_TIMEOUT", "300s")
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "anonymizer.api.uploads.DiskUploadHandler",
]
FILE_UPLOAD_PERMISSIONS = 0o640

# --- the life of a task -----------------------------------------------------------------------------------------------
LEASE = env.duration("ANONYMIZER_LEASE", "30s")
MAX_LEASES = 3
CLEANUP_AFTER = env.duration("ANONYMIZER_CLEANUP_AFTER", "30d")
CLEANUP_EVERY = env.duration("ANONYMIZER_CLEANUP_EVERY", "1h")
#: without, only files that no task knows are removed by the clock
CLEANUP_SCHEDULED = env.boolean("ANONYMIZER_CLEANUP", False)

# --- workers ----------------------------------------------------------------------------------------------------------
CORES = len(os.sched_getaffinity(0))
WORKERS = env.integer("ANONYMIZER_WORKERS", 1, low=1)
#: 0: this server takes no videos
VIDEO_WORKERS = env.integer("ANONYMIZER_VIDEO_WORKERS", 1)
#: threads of torch and OpenCV in each worker. Each queue's workers divide all cores: those of the other queue are often
#: idle, and `serve` has waiting threads sleep, so that threads beyond the cores only share them
THREADS = env.integer("ANONYMIZER_THREADS", max(1, CORES // WORKERS), low=1)
VIDEO_THREADS = env.integer("ANONYMIZER_VIDEO_THREADS", max(1, CORES // max(1, VIDEO_WORKERS)), low=1)
TASK_TIMEOUT = env.duration("ANONYMIZER_TASK_TIMEOUT", "15m")
#: how long `serve` lets work in progress finish when it is stopped
STOP_TIMEOUT = env.duration("ANONYMIZER_STOP_TIMEOUT", "60s")
VIDEO_TASK_TIMEOUT = env.duration("ANONYMIZER_VIDEO_TASK_TIMEOUT", "12h")


def _times(timeout: timedelta) -> dict[str, int]:
    # a task that is rung twice does no harm, and recover() rings sooner than after `retry`
    return {"timeout": int(timeout.total_seconds()), "retry": int(timeout.total_seconds()) + 60}


Q_CLUSTER = {
    "name": "images",
    "orm": "default",
    "broker_class": "anonymizer.service.broker.PatientORM",
    "workers": WORKERS,
    "queue_limit": WORKERS,
    "poll": 0.01,
    **_times(TASK_TIMEOUT),
    "max_attempts": 1,
    "ack_failures": True,
    "recycle": 100_000,
    "save_limit": 250,
    "catch_up": False,
    "label": "Queue (django-q2)",
    "log_level": env.string("ANONYMIZER_LOG_LEVEL", "INFO"),
    "ALT_CLUSTERS": {
        "videos": {"workers": VIDEO_WORKERS or 1, "queue_limit": VIDEO_WORKERS or 1, **_times(VIDEO_TASK_TIMEOUT)}
    },
}

# --- API --------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.MultiPartParser"],
    "DEFAULT_PAGINATION_CLASS": "anonymizer.api.pagination.TaskPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "anonymizer.api.exceptions.handle",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Anonymizer",
    "DESCRIPTION": "Finds faces, license plates, persons and vehicles in pictures and videos and redacts them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    # 503 is an answer (not ready yet), not a fault of ours
    "filters": {
        "faults": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) != 503,
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "anonymizer": {"handlers": ["console"], "level": env.string("ANONYMIZER_LOG_LEVEL", "INFO")},
        "django.request": {"handlers": ["console"], "level": "ERROR", "filters": ["faults"], "propagate": False},
    },
}
