"""Clients of the API in this process: each sends its token with every request."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from anonymizer.service.clients import tokens
from tests.pictures import encoded


class ApiClient:
    """A client with a token, or without one."""

    def __init__(self, name: str = "", **limits: Any) -> None:
        self.token, self.secret = tokens.create(name, **limits) if name else (None, "")
        headers = {"Authorization": f"Bearer {self.secret}"} if name else {}
        self.http = Client(headers=headers)

    def get(self, path: str, **kwargs: Any) -> Any:
        """Ask for something. The bytes of a file are in `body`."""
        answer = self.http.get(path, **kwargs)
        if answer.streaming:
            answer.body = b"".join(answer.streaming_content)
            answer.close()
        return answer

    def upload(self, content: bytes | None = None, query: str = "face=1", **headers: str) -> Any:
        upload = SimpleUploadedFile("a.jpg", content or encoded(), "image/jpeg")
        headers = {"x-is-async": "true"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/v1/file?{query}", {"fileobject": upload}, headers=headers)

    def task(self, **kwargs: Any) -> str:
        """Upload a picture, and return the id of its task."""
        answer = self.upload(**kwargs)
        assert answer.status_code == 202, answer.content
        return str(answer.json()["id"])

    def ids(self) -> list[str]:
        """The ids of the tasks in its list."""
        return [task["id"] for task in self.get("/v1/task/list").json()["results"]]


def error(answer: Any) -> tuple[int, str]:
    """Status and code of an error. The body is the object of the contract."""
    body = answer.json()
    assert body.keys() >= {"status_code", "error", "code"}
    assert body["status_code"] == answer.status_code
    return answer.status_code, body["code"]
