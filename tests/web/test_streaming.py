"""A video on the page of a server with tokens: the browser asks for the parts that it shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import ROOT, Server, serving
from tests.videos import moving_square
from tests.web.test_page import is_true, start_browser
from tests.web.test_tokens_and_other_sites import clean_environment

PARTS = """
return performance.getEntriesByType("resource").filter(each => each.name.includes(arguments[0]))
  .map(each => [each.initiatorType, each.responseStatus]);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server, and the token of a client."""
    folder = tmp_path_factory.mktemp("streaming")
    with serving(folder, "-a", "face") as running:
        made = subprocess.run(
            [sys.executable, "-m", "anonymizer", "token", "create", "page"],
            cwd=ROOT, env=clean_environment(folder), capture_output=True, text=True, check=True,
        )  # fmt: skip
        yield running, made.stdout.strip()


def test_a_player_with_a_token_asks_for_ranges(
    browser: webdriver.Chrome, guarded: tuple[Server, str], tmp_path: Path
) -> None:
    server, secret = guarded
    headers = {"Authorization": f"Bearer {secret}"}
    video = moving_square(tmp_path / "clip.webm", codec="libvpx-vp9", seconds=2, audio=None).read_bytes()
    answer = requests.post(f"{server.url}/v1/file?face=1", files={"fileobject": video}, headers=headers, timeout=120)
    task = answer.json()
    assert task["status"] == "done", task
    browser.get(server.url)
    browser.execute_script("sessionStorage.setItem('anonymizer-token', arguments[0])", secret)
    browser.get(server.url)
    browser.find_element(By.ID, "tasks-title").click()
    is_true(browser, "document.querySelector('#task-rows button')")
    browser.execute_script("document.querySelector('#task-rows button').click()")
    is_true(browser, "document.querySelectorAll('.plane video').length === 2", 60)
    is_true(browser, "[...document.querySelectorAll('.plane video')].every(each => each.readyState >= 2)", 60)
    sources = browser.execute_script("return [...document.querySelectorAll('.plane video')].map(each => each.src)")
    assert sorted(source.split("?")[0].rsplit("/", 1)[1] for source in sources) == ["anonymised", "original"]
    assert all("link=" in source and secret not in source for source in sources)
    for file in ("video/anonymised", "original"):
        parts = browser.execute_script(PARTS, f"{task['id']}/{file}")
        assert parts
        assert {status for kind, status in parts if kind == "video"} == {206}, parts
        # nothing has fetched it whole besides
        assert {kind for kind, _ in parts} == {"video"}
