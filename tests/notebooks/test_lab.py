"""`make lab`, opened in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import ROOT, free_port
from tests.notebooks.conftest import clean_environment
from tests.web.test_page import save_screenshot


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """JupyterLab as `make lab` starts it, with settings of its own; the address with the token."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    port = free_port()
    environment = clean_environment(
        JUPYTER_CONFIG_DIR=str(tmp_path / "config"), JUPYTER_DATA_DIR=str(tmp_path / "data"),
        JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"), JUPYTERLAB_SETTINGS_DIR=str(tmp_path / "settings"),
        JUPYTERLAB_WORKSPACES_DIR=str(tmp_path / "workspaces"),
    )  # fmt: skip
    # what it would run, with the packages of this test: `setup` has nothing to do with them
    options = f"--no-browser --ServerApp.port={port} --ServerApp.port_retries=0 --IdentityProvider.token=secret"
    recipe = subprocess.run(
        ["make", "--dry-run", "lab", f"BIN={Path(sys.executable).parent}", f"ARGS={options}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout.splitlines()[-1]  # fmt: skip
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            recipe, shell=True, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/api/status?token=secret", process, log)
        yield f"{url}/lab?token=secret"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        try:
            requests.get(url, timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)


def test_jupyterlab_lists_the_notebooks(lab: str, browser: webdriver.Chrome) -> None:
    browser.get(lab)
    names = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}

    def listed(page: webdriver.Chrome) -> bool:
        return names <= {each.text for each in page.find_elements(By.CSS_SELECTOR, ".jp-DirListing-itemText")}

    WebDriverWait(browser, 60, ignored_exceptions=[StaleElementReferenceException]).until(listed)
    save_screenshot(browser, "lab")
