"""The page at /, in a real browser: a person picks a photo and sees the result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import Server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1100,1400", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def look(browser: webdriver.Chrome, name: str) -> None:
    """Keep a picture of the page, where the developer asks for it: SCREENSHOTS=folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_a_photo_is_picked_and_its_result_is_shown(browser: webdriver.Chrome, server: Server, data: Path) -> None:
    browser.get(server.url)
    assert browser.title == "Anonymizer"
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]:not([name=auto])")
    assert [(each.get_attribute("name"), each.is_selected()) for each in boxes] == [
        ("face", True),
        ("license-plate", True),
        ("person", True),
        ("vehicle", True),
    ]
    for each in boxes[1:]:
        each.click()
    browser.find_element(By.NAME, "fileobject").send_keys(str(data / "images" / "portrait.jpg"))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(browser, 60).until(
        lambda page: page.execute_script("return document.querySelector('#result img')?.naturalWidth > 0")
    )
    text = browser.find_element(By.ID, "result").text
    assert "Found: 1 face" in text
    assert "binary mask" in text
    look(browser, "page")


def test_what_is_wrong_is_said_on_the_page(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("this is no picture")
    browser.get(server.url)
    browser.find_element(By.NAME, "fileobject").send_keys(str(tmp_path / "notes.jpg"))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    error = WebDriverWait(browser, 60).until(lambda page: page.find_element(By.CSS_SELECTOR, "#result .error"))
    assert "is text, which is not supported" in error.text


def test_the_api_page_draws_itself_without_a_network(browser: webdriver.Chrome, server: Server) -> None:
    browser.get(f"{server.url}/docs")
    WebDriverWait(browser, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock-post"))
    look(browser, "docs")
