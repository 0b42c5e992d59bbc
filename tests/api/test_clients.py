"""Two clients that others wrote for the container, and the whole way of a picture over real HTTP and a real worker."""

from __future__ import annotations

import io
import json
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from tests.api.conftest import Receiver
from tests.conftest import Server
from tests.pictures import decoded, drawn, encoded

EXACT_QUERY = (
    "debug=False&score=False&save_mask=&watermark=False&method=blur&face=True&license_plate=False&person=False"
    "&vehicle=False&format=whole&bbox=False&quality=0&ignores=[]"
)


@pytest.fixture(scope="module")
def portrait(data: Path) -> bytes:
    return (data / "images" / "portrait.jpg").read_bytes()


def test_a_synchronous_client_works_unchanged(server: Server, portrait: bytes) -> None:
    # as that client's HTTP library sends it: an odd media type and an extra header on the part
    files = {"fileobject": ("portrait.jpg", portrait, "image/jpg", {"Expires": "0"})}
    answer = requests.post(f"{server.url}/v1/file?{EXACT_QUERY}", files=files, timeout=120)
    assert answer.status_code == 201, answer.text
    task = answer.json()
    assert task["status"] == "done"
    assert task["detections"]["face"] >= 1
    assert task["object_types"] == ["face"]
    picture = requests.get(task["anonymised_url"], timeout=60)
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert decoded(picture.content).shape == decoded(portrait).shape


def test_an_asynchronous_client_works_unchanged(server: Server, portrait: bytes) -> None:
    answer = requests.post(
        f"{server.url}/v1/file",
        params={"face": "True", "method": "blur"},
        headers={"x-is-async": "1"},
        files={"file": ("portrait.jpg", portrait)},
        timeout=60,
    )
    assert answer.status_code == 202
    task_id = answer.json()["id"]
    while True:
        status = requests.get(f"{server.url}/v1/task/{task_id}", timeout=60).json()["status"]
        if status in ("done", "failed", "deleted"):
            break
        time.sleep(0.05)
    assert status == "done"
    picture = requests.get(f"{server.url}/v1/file/{task_id}/anonymised", timeout=60)
    assert picture.ok
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert opened.format == "JPEG"


def test_everything_of_a_done_task_can_be_had(server: Server, portrait: bytes) -> None:
    task = server.upload(portrait, "method=blacken").json()
    base = f"/v1/file/{task['id']}"
    original, result = decoded(portrait), decoded(server.get(f"{base}/anonymized").content)
    mask = decoded(server.get(f"{base}/binary-mask").content)
    instances = decoded(server.get(f"{base}/instance-mask").content)
    metadata = server.get(f"{base}/metadata").json()
    assert mask.shape == original.shape[:2]
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert np.abs(result[mask == 255].astype(int)).mean() < 12
    assert np.array_equal(instances[..., 1] > 0, mask == 255)
    assert not instances[..., 0].any()
    assert instances[..., 1].max() == len(metadata["detections"])
    assert metadata["size"] == list(original.shape[:2])
    first = metadata["detections"][0]
    assert first.keys() >= {
        "id", "parent_image", "offset", "bbox", "type", "type_label", "score", "is_anonymised", "color", "mask_rle",
        "source", "model", "miss_cost",
    }  # fmt: skip
    assert first["is_anonymised"] is True
    assert server.get(f"{base}/original").content == portrait
    assert task["task_url"] == f"{server.url}/v1/task/{task['id']}"
    assert sum(task["detections"].values()) == len(metadata["detections"])


def test_a_file_that_does_not_fit_the_memory_for_uploads_is_taken_too(server: Server) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "PNG")
    assert len(content) > 3_000_000
    task = server.upload(content, "face=1&face-threshold=1").json()
    assert task["status"] == "done"
    assert np.array_equal(decoded(server.get(f"/v1/file/{task['id']}/anonymised").content), noise)


def test_mask_scale_makes_masks_smaller(server: Server, portrait: bytes) -> None:
    task = server.upload(portrait, "face=1&mask-scale=50").json()
    height, width = decoded(portrait).shape[:2]
    assert decoded(server.get(f"/v1/file/{task['id']}/binary-mask").content).shape == (height // 2, width // 2)
    quarter = decoded(server.get(f"/v1/file/{task['id']}/instance-mask?mask-scale=25").content)
    assert quarter.shape == (height // 4, width // 4, 3)
    assert server.get(f"/v1/file/{task['id']}/binary-mask?mask-scale=0").status_code == 400


def test_detect_makes_masks_and_metadata_and_no_picture(server: Server, portrait: bytes) -> None:
    task = server.upload(portrait, "method=detect&face=1").json()
    assert task["anonymised_url"] is None
    answer = server.get(f"/v1/file/{task['id']}/anonymised")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_such_result")
    assert "its method is detect" in answer.json()["error"]
    metadata = server.get(f"/v1/file/{task['id']}/metadata").json()
    assert metadata["detections"]
    assert not any(detection["is_anonymised"] for detection in metadata["detections"])


def test_masks_that_were_not_asked_for_are_not_made(server: Server) -> None:
    task = server.upload(encoded(), "save-mask=binary&face=1").json()
    assert task["binary_mask_url"]
    assert task["instance_mask_url"] is None
    assert server.get(f"/v1/file/{task['id']}/instance-mask").status_code == 409


def test_unknown_parameters_are_warned_of(server: Server) -> None:
    task = server.upload(encoded(), "colour=red&face=1").json()
    assert task["warnings"] == ["'colour' is not a known parameter and was ignored."]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", (True, False)),
        ("&keep-metadata=all", (True, True)),
        ("&keep_metadata=none", (False, False)),
        ("&strip-metadata=true", (False, False)),
    ],
)
def test_names_are_kept_where_all_metadata_is_asked_for(server: Server, query: str, kept: tuple[bool, bool]) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x013B] = "Model", "Somebody"
    task = server.upload(encoded(exif=exif), f"face=1{query}").json()
    content = server.get(f"/v1/file/{task['id']}/anonymised").content
    with Image.open(io.BytesIO(content)) as image:
        assert tuple(tag in image.getexif() for tag in (0x0110, 0x013B)) == kept


def test_parameters_may_be_form_fields_too(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/v1/file?face=1", data={"method": "blacken", "name": "b.jpg"},
        files={"fileobject": ("a.jpg", encoded())}, timeout=60,
    )  # fmt: skip
    assert (answer.json()["method"], answer.json()["name"]) == ("blacken", "b.jpg")


def test_deleting_a_task_takes_its_files_and_keeps_the_record(server: Server) -> None:
    task_id = server.upload(encoded(), "face=1").json()["id"]
    folders = [server.folder / place / task_id for place in ("input", "output")]
    assert all(folder.is_dir() for folder in folders)
    answer = requests.delete(f"{server.url}/v1/task/{task_id}", timeout=60)
    assert (answer.status_code, answer.json()["status"]) == (200, "deleted")
    assert answer.json()["anonymised_url"] is None
    assert not any(folder.exists() for folder in folders)
    for part in ("anonymised", "binary-mask", "metadata", "original", "video/anonymised"):
        assert server.get(f"/v1/file/{task_id}/{part}").status_code == 410
    assert server.task(task_id)["status"] == "deleted"
    assert requests.delete(f"{server.url}/v1/task/{task_id}", timeout=60).status_code == 200


def test_the_list_is_paged_newest_first_and_filtered(server: Server) -> None:
    ids = [server.upload(encoded(), "face=1", name=f"list-{n}.jpg").json()["id"] for n in range(3)]
    for path in ("/v1/task/list", "/v1/task/lists", "/v1/task"):
        page = server.get(f"{path}?page_size=2").json()
        assert [task["id"] for task in page["results"]] == [ids[2], ids[1]]
        assert page["count"] >= 3
        assert page["previous"] is None
        following = requests.get(page["next"], timeout=60).json()
        assert following["results"][0]["id"] == ids[0]
        assert following["previous"] is not None
    assert server.get("/v1/task/list?status=failed&kind=video").json()["count"] == 0
    assert {task["status"] for task in server.get("/v1/task/list?status=done").json()["results"]} == {"done"}
    answer = server.get("/v1/task/list?status=lost")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert server.get("/v1/task/list?page=999").status_code == 404


def test_identifiers_that_are_unknown_are_not_found(server: Server) -> None:
    for path in (f"/v1/task/{uuid.uuid4()}", f"/v1/file/{uuid.uuid4()}/anonymised", "/v1/task/abc", "/v1/nothing"):
        answer = server.get(path)
        assert (answer.status_code, answer.json()["status_code"], answer.json()["code"]) == (404, 404, "not_found")
    assert requests.delete(f"{server.url}/v1/task/{uuid.uuid4()}", timeout=60).status_code == 404


def test_a_result_that_is_asked_for_too_early_is_not_ready(server: Server) -> None:
    large = encoded(drawn(4000, 3000), quality=80)
    ids = [server.upload_async(large, "format=auto") for _ in range(2)]
    answer = server.get(f"/v1/file/{ids[1]}/anonymised")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
    for task_id in ids:
        requests.delete(f"{server.url}/v1/task/{task_id}", timeout=60)


def test_a_webhook_is_told_of_the_end(server: Server, receiver: Receiver) -> None:
    query = f"face=1&webhook={receiver.url}&web-auth-header-name=X-Key&web-auth-header-value=secret"
    task_id = server.upload_async(encoded(), query)
    headers, body = receiver.received.get(timeout=60)
    assert headers["X-Anonymizer-Event"] == "task.done"
    assert headers["X-Key"] == "secret"
    assert uuid.UUID(headers["X-Anonymizer-Delivery"])
    told = json.loads(body)
    assert (told["id"], told["status"]) == (task_id, "done")
    end = time.monotonic() + 20
    while (task := server.task(task_id))["webhook_status"] == "set" and time.monotonic() < end:
        time.sleep(0.05)
    assert task["webhook_status"] == "sent"
    assert "secret" not in json.dumps(task)


def test_the_schema_describes_what_there_is(server: Server) -> None:
    schema = server.get("/v1/openapi.json").json()
    upload = schema["paths"]["/v1/file"]["post"]
    names = {parameter["name"] for parameter in upload["parameters"]}
    assert {"method", "face-threshold", "ignores", "webhook", "x-is-async"} <= names
    assert {"201", "202", "400", "413", "415", "422", "503"} <= upload["responses"].keys()
    assert "/v1/task/{task_id}" in schema["paths"]
    page = server.get("/docs")
    assert page.ok
    assert "http" not in page.text.replace(server.url, "").split("<script src=")[1].split(">")[0]


def test_health_is_told(server: Server) -> None:
    assert server.get("/healthz").json() == {"status": "ok"}
    ready = server.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["workers"][0]["models"].keys() == {"face", "license-plate", "person", "vehicle"}
    assert "anonymizer_tasks{" in server.get("/metrics").text
