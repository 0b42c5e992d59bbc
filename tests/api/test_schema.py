"""The OpenAPI file says what the server does: schemathesis tries it with all checks against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anonymizer.service.clients import tokens

CONFIG = Path(__file__).with_name("schemathesis.toml")


#: an upload has so many parameters that the systematic phase sends a thousand of them; that is run by hand
RUNS = {
    "uploads": ("--include-path", "/v1/file", "--phases", "fuzzing", "--max-examples", "25"),
    "all else": ("--exclude-path", "/v1/file", "--max-examples", "3"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run", RUNS)
def test_the_server_does_what_the_schema_says(live_server: Any, run: str) -> None:
    """Without a worker, so asynchronous uploads wait; all phases with 100 examples an operation are run by hand."""
    _, secret = tokens.create("schemathesis")
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "--config-file", str(CONFIG), "run", f"{live_server.url}/v1/openapi.json", "--checks", "all", "--no-color",
        "--seed", "1", "--header", f"Authorization: Bearer {secret}", *RUNS[run],
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"Tested: {1 if run == 'uploads' else 24}" in done.stdout


def test_lists_errors_and_bounds_are_described(client: Any) -> None:
    schema = client.get("/v1/openapi.json").json()
    paths = schema["paths"]
    assert paths["/v1/task/list"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/TaskList"
    )
    for path, operations in paths.items():
        for operation in operations.values():
            assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys(), path
            assert ("404" in operation["responses"]) == (
                "{task_id}" in path or "page" in str(operation.get("parameters"))
            ), path
    upload = {each["name"]: each["schema"] for each in paths["/v1/file"]["post"]["parameters"]}
    assert upload["quality"] == {"type": "integer", "minimum": 0, "maximum": 100}
    assert upload["face-threshold"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert upload["method"]["enum"] == ["blur", "pixelate", "blacken", "detect"]
    assert upload["Idempotency-Key"]["maxLength"] == 255
    assert upload["segmentation-threshold"] == upload["face-threshold"]
    assert all(each.get("allowEmptyValue") for each in paths["/v1/task"]["get"]["parameters"])
    assert paths["/v1/file"]["post"]["requestBody"]["required"]
    assert {"409", "411", "413", "415", "422", "507"} <= paths["/v1/file"]["post"]["responses"].keys()
