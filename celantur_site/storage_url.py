"""Read `STORAGE_URL`: where files are kept, if not in folders of this machine."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from celantur_site import env

__all__ = ["StorageURL", "presigned", "read", "storages_of"]

NAME = "STORAGE_URL"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]*")
_STYLES = ("auto", "path", "virtual")
#: the longest time that S3 signs an address for
MOST_S = 7 * 86400
_PARAMETERS = ("endpoint", "public-endpoint", "region", "addressing")
FORM = "s3://BUCKET/PREFIX?endpoint=URL&region=NAME"


class Secret(str):
    """A text that is not shown where its `repr` is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


@dataclass(frozen=True, slots=True)
class StorageURL:
    """A bucket of an S3-compatible service.

    Attributes:
        bucket: its name.
        prefix: what all keys begin with, without slashes at the ends.
        endpoint: the service; None for Amazon's.
        public_endpoint: the same service, as clients reach it; None: they reach it at the endpoint.
        region: None for that of the usual AWS variables.
        addressing: auto, path or virtual.
        key: the access key's id; None for that of the usual AWS variables, files or roles.
        secret: of the access key.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    public_endpoint: str | None
    region: str | None
    addressing: str
    key: Secret | None
    secret: Secret | None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @classmethod
    def parse(cls, text: str) -> StorageURL:
        """Read an address such as `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1`.

        Raises:
            ImproperlyConfigured: it is none, or a package is missing. The sentence shows no secret.
        """
        try:
            url = urlsplit(text)
        except ValueError:
            raise ImproperlyConfigured(f"{NAME} must be an address such as {FORM}.") from None
        if url.scheme != "s3":
            shown = re.sub(r"[^A-Za-z0-9+.-].*", "", url.scheme)
            raise ImproperlyConfigured(f"{NAME} begins with {shown!r}, but must be an address such as {FORM}.")
        credentials, _, bucket = url.netloc.rpartition("@")
        if not _BUCKET.fullmatch(bucket):
            raise ImproperlyConfigured(f"{NAME} names the bucket {bucket!r}, which is no name of a bucket.")
        prefix = url.path.strip("/")
        if not _PREFIX.fullmatch(prefix) or ".." in prefix or url.fragment:
            raise ImproperlyConfigured(f"{NAME} has a prefix with characters that are not allowed in it.")
        key, colon, secret = credentials.partition(":")
        if credentials and not (key and colon and secret):
            raise ImproperlyConfigured(f"{NAME} must have both parts of an access key before the @, or none.")
        given = _parameters(url.query)
        return cls(
            bucket, prefix, given.get("endpoint"), given.get("public-endpoint"), given.get("region"),
            given.get("addressing", "auto"), Secret(unquote(key)) if key else None,
            Secret(unquote(secret)) if key else None,
        )  # fmt: skip


def read() -> StorageURL | None:
    """Return the setting; None: files are kept in folders of this machine.

    Raises:
        ImproperlyConfigured: its value is not allowed, or a package is missing.
    """
    text = env.string(NAME, "")
    if not text:
        return None
    missing = [name for name in ("storages", "boto3") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImproperlyConfigured(
            f'{NAME} needs the packages django-storages and boto3: pip install "anonymizer[cluster]"'
        )
    return StorageURL.parse(text)


def presigned(valid: timedelta | None, url: StorageURL | None) -> timedelta | None:
    """Return how long pre-signed addresses are valid.

    Args:
        valid: the value of `ANONYMIZER_PRESIGNED`.
        url: the value of `STORAGE_URL`.

    Raises:
        ImproperlyConfigured: S3 signs for no such time, or files are kept in folders, which have no addresses.
    """
    if valid is not None and not 1 <= valid.total_seconds() <= MOST_S:
        raise ImproperlyConfigured("ANONYMIZER_PRESIGNED must be a duration from 1s to 7d.")
    if valid is not None and url is None:
        raise ImproperlyConfigured(f"ANONYMIZER_PRESIGNED needs {NAME}: folders have no addresses.")
    return valid


def storages_of(url: StorageURL) -> dict[str, Any]:
    """Return the entries of Django's `STORAGES` for uploads and results."""
    options = {
        "bucket_name": url.bucket, "endpoint_url": url.endpoint, "public_endpoint": url.public_endpoint,
        "region_name": url.region, "addressing_style": url.addressing, "signature_version": "s3v4",
        **({"access_key": url.key, "secret_key": url.secret} if url.key else {}),
    }  # fmt: skip
    return {
        alias: {
            "BACKEND": "anonymizer.stores.objects.ObjectStorage",
            "OPTIONS": {**options, "location": f"{url.prefix}/{alias}".lstrip("/")},
        }
        for alias in ("input", "output")
    }


def _parameters(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS:
            raise ImproperlyConfigured(f"{NAME} has the parameter {name!r}, but allowed are {', '.join(_PARAMETERS)}.")
        if name in given or not value:
            raise ImproperlyConfigured(f"{NAME} must have one value of {name}.")
        if name.endswith("endpoint"):
            place = urlsplit(value)
            if place.scheme not in ("http", "https") or not place.hostname or place.username:
                raise ImproperlyConfigured(f"{NAME} has {name} that is no address of http or https without a password.")
        if name == "addressing" and value not in _STYLES:
            raise ImproperlyConfigured(f"{NAME} has addressing={value!r}, but allowed are {', '.join(_STYLES)}.")
        given[name] = value
    return given
