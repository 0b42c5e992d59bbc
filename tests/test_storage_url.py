"""`STORAGE_URL` and `ANONYMIZER_PRESIGNED`: what they may be, and that no error shows a secret."""

from __future__ import annotations

import importlib.util
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from celantur_site import storage_url
from celantur_site.storage_url import StorageURL, presigned, read, storages_of


def test_all_parts_of_an_address_are_read() -> None:
    url = StorageURL.parse(
        "s3://id:se%2Fcret@pictures/city/a?endpoint=http://127.0.0.1:9000&region=eu-central-1&addressing=path"
        "&public-endpoint=https://files.example"
    )
    options = storages_of(url)["output"]["OPTIONS"]
    assert options["bucket_name"] == "pictures"
    assert options["location"] == "city/a/output"
    assert options["endpoint_url"] == "http://127.0.0.1:9000"
    assert options["public_endpoint"] == "https://files.example"
    assert (options["access_key"], options["secret_key"]) == ("id", "se/cret")
    assert str(url) == "s3://pictures/city/a"
    assert "se/cret" not in f"{url} {url!r} {options}"
    assert storages_of(StorageURL.parse("s3://pictures"))["input"]["OPTIONS"]["location"] == "input"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("https://pictures", "'https'"),
        ("s3://PICTURES", "'PICTURES'"),
        ("s3://", "''"),
        ("s3://key@pictures", "both parts"),
        ("s3://id:topsecret@pictures?zone=1", "'zone'"),
        ("s3://id:topsecret@pictures?region=", "region"),
        ("s3://id:topsecret@pictures?endpoint=ftp://here", "endpoint"),
        ("s3://id:topsecret@pictures?endpoint=http://user:topsecret@here", "endpoint"),
        ("s3://id:topsecret@pictures?addressing=odd", "'odd'"),
        ("s3://id:topsecret@pictures/../a", "prefix"),
        ("s3://id:topsecret@[pictures", "s3://BUCKET"),
    ],
)
def test_a_wrong_address_is_named_and_its_secrets_are_not(text: str, named: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        StorageURL.parse(text)
    assert "STORAGE_URL" in str(caught.value)
    assert named in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_URL", raising=False)
    assert read() is None
    monkeypatch.setenv("STORAGE_URL", "s3://pictures")
    assert read() == StorageURL.parse("s3://pictures")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r'pip install "anonymizer\[cluster\]"'):
        read()


def test_addresses_are_signed_for_a_week_at_most_and_by_s3_only() -> None:
    url = StorageURL.parse("s3://pictures")
    assert presigned(None, None) is None
    assert presigned(timedelta(minutes=5), url) == timedelta(minutes=5)
    for valid, place in ((timedelta(days=8), url), (timedelta(0), url), (timedelta(minutes=5), None)):
        with pytest.raises(ImproperlyConfigured, match="ANONYMIZER_PRESIGNED"):
            presigned(valid, place)
    assert storage_url.NAME == "STORAGE_URL"
