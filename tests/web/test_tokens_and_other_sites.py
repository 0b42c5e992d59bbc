"""A real browser: the page with a token, and what pages of other sites cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import ROOT, Server, serving
from tests.pictures import encoded
from tests.videos import moving_square
from tests.web.test_page import choose, is_true, open_result, start_browser

#: lists and uploads, as the page of another site would; tells what it could read
ATTACK = """
const done = arguments[arguments.length - 1], target = arguments[0];
const body = new FormData();
body.append("fileobject", new Blob([Uint8Array.from(arguments[1])]), "attack.jpg");
const tries = {
  list: () => fetch(target + "/v1/task/list").then(answer => answer.text()),
  blind: () => fetch(target + "/v1/task/list", { mode: "no-cors" }).then(answer => answer.text()),
  upload: () => fetch(target + "/v1/file?face=1", { method: "POST", body }).then(answer => answer.text()),
  sent: () => fetch(target + "/v1/file?face=1", { method: "POST", body, mode: "no-cors" }).then(a => a.text()),
  remove: () => fetch(target + "/v1/task/list", { method: "DELETE" }).then(answer => answer.text()),
};
(async () => {
  const told = {};
  for (const [name, attempt] of Object.entries(tries))
    told[name] = await attempt().catch(() => "refused");
  done(told);
})();
"""


#: how the browser fetched a file
PARTS = """
return performance.getEntriesByType("resource").filter(each => each.name.includes(arguments[0]))
  .map(each => [each.initiatorType, each.responseStatus]);
"""


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as site:
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of its own."""
    with serving(tmp_path_factory.mktemp("guarded"), "-a", "face") as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    # what an attacker's name server does: the name stands for this machine from the second question on
    driver = start_browser(tmp_path_factory.mktemp("profile"), "host-resolver-rules=MAP evil.test 127.0.0.1")
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def attack(browser: webdriver.Chrome, target: str) -> dict[str, Any]:
    return dict(browser.execute_async_script(ATTACK, target, list(encoded())))


def test_other_sites_can_neither_list_nor_upload(browser: webdriver.Chrome, guarded: Server, other_site: str) -> None:
    task_id = guarded.upload(encoded(), "face=1").json()["id"]
    # its own page may, which shows that the attack works where it is allowed
    browser.get(guarded.url)
    own = attack(browser, guarded.url)
    assert task_id in own["list"]
    assert "detections" in own["upload"]
    assert '"deleted"' in own["remove"]
    count = guarded.get("/v1/task").json()["count"]
    living = guarded.upload(encoded(), "face=1").json()["id"]
    # another port of this machine is another origin, but the same site
    browser.get(other_site)
    told = attack(browser, guarded.url)
    assert {name: told[name] for name in ("list", "upload", "remove")} == dict.fromkeys(
        ("list", "upload", "remove"), "refused"
    )
    assert told["blind"] in ("", "refused")
    # another site
    browser.get(other_site.replace("127.0.0.1", "evil.test"))
    assert attack(browser, guarded.url)["list"] == "refused"
    # the name of another site, bound to this server
    rebound = guarded.url.replace("127.0.0.1", "evil.test")
    browser.get(rebound)
    told = attack(browser, rebound)
    assert all("invalid_host" in text for text in told.values()), told
    tasks = guarded.get("/v1/task").json()
    assert tasks["count"] == count + 1
    assert guarded.task(living)["status"] == "done"


def test_the_page_asks_for_a_token_and_works_with_it(
    browser: webdriver.Chrome, guarded: Server, tmp_path: Path
) -> None:
    secret = make_token(guarded, "page")
    assert guarded.get("/v1/task").status_code == 401
    (tmp_path / "photo.jpg").write_bytes(encoded())
    browser.get(guarded.url)
    (card,) = choose(browser, tmp_path / "photo.jpg")
    wait = WebDriverWait(browser, 30)
    wait.until(lambda page: page.find_element(By.ID, "token-dialog").is_displayed())
    assert "has no token" in browser.find_element(By.ID, "token-why").text
    for token, told in (("anon_wrong", "not known"), (secret, "")):
        browser.find_element(By.ID, "token").send_keys(token)
        browser.find_element(By.CSS_SELECTOR, "#token-dialog button[value=save]").click()
        if told:
            wait.until(lambda page, told=told: told in page.find_element(By.ID, "token-why").text)
    open_result(browser, card)
    # elements send no token: the page fetches their files
    is_true(browser, "document.querySelector('.plane img')?.naturalWidth > 0")
    assert guarded.get("/v1/task", headers={"Authorization": f"Bearer {secret}"}).json()["count"] == 1


def test_a_player_with_a_token_asks_for_ranges(browser: webdriver.Chrome, guarded: Server, tmp_path: Path) -> None:
    server, secret = guarded, make_token(guarded, "player")
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


def make_token(server: Server, name: str) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "anonymizer", "token", "create", name],
        cwd=ROOT, env=clean_environment(server.folder), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.strip()


def clean_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANONYMIZER_")}
    return kept | {"ANONYMIZER_DATA_DIR": str(folder)}
