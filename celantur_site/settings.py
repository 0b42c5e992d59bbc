"""Settings. All of them come from environment variables; the README has a table of these."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from anonymizer.pipeline.model_zoo.folders import MODELS_FOLDER, is_checkout
from celantur_site import env, logs, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


def _default_data_dir() -> Path:
    if is_checkout():
        return BASE_DIR / "media"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "anonymizer"


OBJECT_TYPE_NAMES = ("face", "license-plate", "person", "vehicle")

# --- where things are -------------------------------------------------------------------------------------------------
DATA_DIR = Path(env.string("ANONYMIZER_DATA_DIR", "") or _default_data_dir())
INPUT_DIR = Path(env.string("ANONYMIZER_INPUT_DIR", str(DATA_DIR / "input")))
OUTPUT_DIR = Path(env.string("ANONYMIZER_OUTPUT_DIR", str(DATA_DIR / "output")))
MODELS_DIR = Path(env.string("ANONYMIZER_MODELS_DIR", "") or MODELS_FOLDER)


# --- Django -----------------------------------------------------------------------------------------------------------
#: default: made at the first start, and stored beside the database
SECRET_KEY = env.string("ANONYMIZER_SECRET_KEY", "") or secret_key.read_or_create(
    # a folder that the operator chose may be open to others on purpose; then a check warns
    DATA_DIR,
    tighten=not env.string("ANONYMIZER_DATA_DIR", ""),
)
DEBUG = env.boolean("ANONYMIZER_DEBUG", False)
#: Names of this server. Any other name may be that of a page, bound to this machine's address (DNS rebinding). The
#: loopback names always belong to it: no page has them, and `serve` asks itself whether it is ready.
LOOPBACK_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = [*env.names("ANONYMIZER_ALLOWED_HOSTS", []), *LOOPBACK_HOSTS]
CSRF_TRUSTED_ORIGINS = env.names("ANONYMIZER_CSRF_TRUSTED_ORIGINS", [])
#: whether a server without tokens answers other machines, too
ALLOW_ANONYMOUS = env.boolean("ANONYMIZER_ALLOW_ANONYMOUS", False)

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
    "axes",
    "anonymizer",
]
MIDDLEWARE = [
    # the first, so that it sees the errors of all others
    "anonymizer.api.http_layer.HTTPLayer",
    "anonymizer.web.middleware.TrustMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
CSRF_FAILURE_VIEW = "anonymizer.api.exceptions.csrf_failure"
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
        # the broker sends a query every few milliseconds: opening a connection for each would cost more than the query
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # how long a query waits for a lock of SQLite, in seconds
            "timeout": env.duration("ANONYMIZER_DATABASE_TIMEOUT", "30s").total_seconds(),
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;",
        },
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }
}
#: Counts the requests of clients with a rate. Each web process counts for itself.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
STATIC_URL = "/static/"
# static files are served from the folders of the packages: `collectstatic` is not needed
WHITENOISE_USE_FINDERS = True
X_FRAME_OPTIONS = "DENY"

# --- log-in and TLS ---------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]  # fmt: skip
# after five wrong passwords, a user waits a quarter of an hour at this address
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_DISABLE_ACCESS_LOG = True
#: whether browsers reach this server by https only, through a proxy that ends TLS
TLS = env.boolean("ANONYMIZER_TLS", False)
#: the header by which the proxy says so; it must remove it from what clients send
_PROXY_HEADER = env.string("ANONYMIZER_PROXY_SSL_HEADER", "X-Forwarded-Proto" if TLS else "")
SECURE_PROXY_SSL_HEADER = (f"HTTP_{_PROXY_HEADER.upper().replace('-', '_')}", "https") if _PROXY_HEADER else None
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS
# load balancers, and `serve` itself, ask without TLS
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]
SECURE_HSTS_SECONDS = int(env.duration("ANONYMIZER_HSTS", "365d" if TLS else "0s").total_seconds())
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 12 * 3600
# whether HSTS holds for other hosts of the domain (W005, W021) is not for this server to say
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

_FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {
    "default": {"BACKEND": _FILES, "OPTIONS": {"location": DATA_DIR}},
    "input": {"BACKEND": _FILES, "OPTIONS": {"location": INPUT_DIR}},
    "output": {"BACKEND": _FILES, "OPTIONS": {"location": OUTPUT_DIR}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# --- what this server does --------------------------------------------------------------------------------------------
#: default: None, which stands for every type with an installed model
OBJECT_TYPES: list[str] | None = env.names("ANONYMIZER_OBJECT_TYPES", [], OBJECT_TYPE_NAMES) or None
API_ENDPOINT = env.string("ANONYMIZER_API_ENDPOINT", "").rstrip("/")
# the addresses in answers lead to this server
ALLOWED_HOSTS += filter(None, [urlsplit(API_ENDPOINT).hostname])
DEVICE = env.string("ANONYMIZER_DEVICE", "auto")
#: what runs the networks on a CPU: auto, torch, openvino or onnxruntime
RUNTIME = env.string("ANONYMIZER_RUNTIME", "auto")
#: which models to use: auto, a model profile, TYPE=ID+ID separated by commas, or both
MODELS = env.string("ANONYMIZER_MODELS", "auto")
#: a URL or a folder with the files of the models
MODEL_MIRROR = env.string("ANONYMIZER_MODEL_MIRROR", "") or None
#: how long `serve` tries to download better models when it starts, in seconds (0: never)
FETCH_SECONDS = env.number("ANONYMIZER_FETCH_SECONDS", 5.0)
#: file of the Ed25519 key that signs receipts; empty: they are not signed
RECEIPT_KEY = env.string("ANONYMIZER_RECEIPT_KEY", "")
LEGACY_INSTANCE_MASK = env.boolean("ANONYMIZER_LEGACY_INSTANCE_MASK", False)
#: default options of requests, under the names of the contract
DEFAULT_OPTIONS = {
    name: value
    for name, value in {
        "format": env.string("ANONYMIZER_FORMAT", ""),
        "save_mask": env.string("ANONYMIZER_SAVE_MASK", ""),
        "mask_scale": env.string("ANONYMIZER_MASK_SCALE", ""),
        "keep_metadata": env.string("ANONYMIZER_KEEP_METADATA", ""),
        "video_encoder": env.string("ANONYMIZER_VIDEO_ENCODER", ""),
        "verify": env.string("ANONYMIZER_VERIFY", ""),
    }.items()
    if value
}
MAX_BYTES = env.integer("ANONYMIZER_MAX_MEGABYTES", 200, low=1) * 2**20
MAX_MEGAPIXELS = env.number("ANONYMIZER_MAX_MEGAPIXELS", 200.0, low=0.001)
MAX_VIDEO_BYTES = env.integer("ANONYMIZER_MAX_VIDEO_MEGABYTES", 8192, low=1) * 2**20
MAX_VIDEO_LENGTH = env.duration("ANONYMIZER_MAX_VIDEO_SECONDS", "4h")
SYNC_TIMEOUT = env.duration("ANONYMIZER_SYNC_TIMEOUT", "300s")
#: uploads are refused while so many files wait; one client may fill half of it
MAX_QUEUE = env.integer("ANONYMIZER_MAX_QUEUE", 20_000, low=1)
#: uploads are refused if a disk would have less than this left
MIN_FREE_BYTES = env.integer("ANONYMIZER_MIN_FREE_MEGABYTES", 500) * 2**20
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "anonymizer.api.uploads.DiskUploadHandler",
]
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700

# --- the life of a task -----------------------------------------------------------------------------------------------
LEASE = env.duration("ANONYMIZER_LEASE", "30s")
MAX_LEASES = 3
CLEANUP_AFTER = env.duration("ANONYMIZER_CLEANUP_AFTER", "30d")
CLEANUP_EVERY = env.duration("ANONYMIZER_CLEANUP_EVERY", "1h")
#: whether the scheduled clean-up deletes old tasks; it always deletes files that belong to no task
CLEANUP_SCHEDULED = env.boolean("ANONYMIZER_CLEANUP", False)
#: the time after which the files of a task are deleted, if its upload does not say; None: they stay
TTL = env.optional_duration("ANONYMIZER_TTL")
#: the longest `ttl` of an upload, and that of uploads that ask for none; None: no limit
MAX_TTL = env.optional_duration("ANONYMIZER_MAX_TTL")
#: whether the original is kept when its task has ended
KEEP_ORIGINALS = env.boolean("ANONYMIZER_KEEP_ORIGINALS", True)

#: whether every result is served only when a person has approved it: required, or empty
REVIEW = env.names("ANONYMIZER_REVIEW", [], ["required"]) == ["required"]

# --- webhooks ---------------------------------------------------------------------------------------------------------
#: the address that `serve` listens on; it sets the variable for its processes
HOST = env.string("ANONYMIZER_HOST", "")
#: the waits after tries that failed: with five of them there are six tries
WEBHOOK_WAITS = env.durations("ANONYMIZER_WEBHOOK_WAITS", "15s,1m,4m,15m,40m")
#: networks that webhooks may reach although they are not public
WEBHOOK_NETWORKS = env.networks("ANONYMIZER_WEBHOOK_NETWORKS")
#: signs the bodies of webhooks
WEBHOOK_SECRET = env.string("ANONYMIZER_WEBHOOK_SECRET", "")
#: certificates that webhooks trust besides those of public authorities
WEBHOOK_CA_FILE = env.string("ANONYMIZER_WEBHOOK_CA_FILE", "")

# --- workers ----------------------------------------------------------------------------------------------------------
CORES = len(os.sched_getaffinity(0))
WORKERS = env.integer("ANONYMIZER_WORKERS", 1, low=1)
#: 0: this server accepts no videos
VIDEO_WORKERS = env.integer("ANONYMIZER_VIDEO_WORKERS", 1)
#: Threads of torch and OpenCV in each worker. The workers of each queue divide all cores among them, because those
#: of the other queue are often idle. `serve` makes waiting threads sleep, so threads beyond the cores only share them.
THREADS = env.integer("ANONYMIZER_THREADS", max(1, CORES // WORKERS), low=1)
VIDEO_THREADS = env.integer("ANONYMIZER_VIDEO_THREADS", max(1, CORES // max(1, VIDEO_WORKERS)), low=1)
#: the most memory of a worker; 0: a share of that of the machine
WORKER_MEGABYTES = env.integer("ANONYMIZER_WORKER_MEGABYTES", 0)
TASK_TIMEOUT = env.duration("ANONYMIZER_TASK_TIMEOUT", "15m")
#: how long `serve` waits for the work in progress when it is stopped
STOP_TIMEOUT = env.duration("ANONYMIZER_STOP_TIMEOUT", "60s")
VIDEO_TASK_TIMEOUT = env.duration("ANONYMIZER_VIDEO_TASK_TIMEOUT", "12h")


def _times(timeout: timedelta) -> dict[str, int]:
    # a second notification does no harm, and recover() sends one sooner than after `retry`
    return {"timeout": int(timeout.total_seconds()), "retry": int(timeout.total_seconds()) + 60}


Q_CLUSTER = {
    "name": "images",
    "orm": "default",
    "broker_class": "anonymizer.service.queueing.broker.QuietORMBroker",
    "workers": WORKERS,
    "queue_limit": WORKERS,
    "poll": 0.01,
    **_times(TASK_TIMEOUT),
    "max_attempts": 1,
    "ack_failures": True,
    "recycle": 100_000,
    # successes of the notifications that django-q2 keeps; `queueing.history` prunes the failures
    "save_limit": 250,
    "catch_up": False,
    "label": "Queue (django-q2)",
    "log_level": env.string("ANONYMIZER_LOG_LEVEL", "INFO"),
    "ALT_CLUSTERS": {
        "videos": {"workers": VIDEO_WORKERS or 1, "queue_limit": VIDEO_WORKERS or 1, **_times(VIDEO_TASK_TIMEOUT)},
    },
}

# --- API --------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["anonymizer.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["anonymizer.api.authentication.HasToken"],
    "DEFAULT_THROTTLE_CLASSES": ["anonymizer.api.throttles.ClientRateThrottle"],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.MultiPartParser"],
    "DEFAULT_PAGINATION_CLASS": "anonymizer.api.pagination.TaskPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "anonymizer.api.negotiation.OneFormat",
    "EXCEPTION_HANDLER": "anonymizer.api.exceptions.handle",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Anonymizer",
    "DESCRIPTION": "Detects faces, license plates, persons and vehicles in images and videos, and redacts them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "anonymizer.api.schema.complete",
    ],
}

#: text or json
LOG_FORMAT = env.names("ANONYMIZER_LOG_FORMAT", ["text"], logs.FORMATS)[0]
LOGGING = logs.settings_of_logging(env.string("ANONYMIZER_LOG_LEVEL", "INFO"), LOG_FORMAT)
