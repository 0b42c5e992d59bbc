"""The page at /, in a real browser: a person picks a photo and sees the result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import Server
from tests.videos import moving_square


def start_browser(profile: Path, *more_flags: str) -> webdriver.Chrome:
    """Start a browser with a new profile; the test is skipped where there is none."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (
        *more_flags,
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1100,1400", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    driver.set_page_load_timeout(60)
    return driver


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def save_screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Save a picture of the page if the variable SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_a_photo_is_picked_and_its_result_is_shown(browser: webdriver.Chrome, server: Server, data: Path) -> None:
    browser.get(server.url)
    assert browser.title == "Anonymizer"
    boxes = browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
    assert [(box.get_attribute("name"), box.is_selected()) for box in boxes] == [
        ("face", True),
        ("license-plate", True),
        ("person", True),
        ("vehicle", True),
    ]
    for box in boxes[1:]:
        box.click()
    browser.find_element(By.NAME, "fileobject").send_keys(str(data / "images" / "portrait.jpg"))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(browser, 60).until(
        lambda page: page.execute_script("return document.querySelector('#result img')?.naturalWidth > 0")
    )
    text = browser.find_element(By.ID, "result").text
    assert "Detected: 1 face" in text
    assert "binary mask" in text
    save_screenshot(browser, "page")


def test_a_video_is_followed_and_its_result_plays(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    video = moving_square(tmp_path / "clip.webm", seconds=1, codec="libvpx-vp9", audio="libopus")
    browser.get(server.url)
    for box in browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]:not([name=face])"):
        box.click()
    browser.find_element(By.NAME, "fileobject").send_keys(str(video))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    texts = []

    def duration(page: webdriver.Chrome) -> float | None:
        texts.extend(element.text for element in page.find_elements(By.CSS_SELECTOR, "#result progress + p"))
        return page.execute_script("return document.querySelector('#result video')?.duration")  # type: ignore[no-any-return]

    # the page replaces its elements while it follows the video
    wait = WebDriverWait(browser, 90, poll_frequency=0.1, ignored_exceptions=[StaleElementReferenceException])
    assert wait.until(duration) == pytest.approx(1, abs=0.1)
    assert texts, "the progress was not shown"
    assert "25 frames" in browser.find_element(By.ID, "result").text
    # seek to the middle: the server sends the requested range
    browser.execute_script("document.querySelector('#result video').currentTime = 0.5")
    WebDriverWait(browser, 30).until(
        lambda page: page.execute_script(
            "const v = document.querySelector('#result video'); return !v.seeking && v.readyState >= 2"
        )
    )
    save_screenshot(browser, "video")


def test_a_video_can_be_stopped(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    video = moving_square(tmp_path / "long.mp4", seconds=120, audio=None)
    browser.get(server.url)
    browser.find_element(By.NAME, "fileobject").send_keys(str(video))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    WebDriverWait(browser, 60).until(lambda page: "left" in page.find_element(By.ID, "result").text)
    save_screenshot(browser, "progress")
    browser.find_element(By.CSS_SELECTOR, "#result button").click()
    WebDriverWait(browser, 10).until(lambda page: page.find_element(By.ID, "result").text == "Deleted.")
    (task,) = server.get("/v1/task/list?kind=video&status=deleted&page_size=1").json()["results"]
    assert task["name"] == "long.mp4"


def test_the_page_shows_the_error(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("this is no picture")
    browser.get(server.url)
    browser.find_element(By.NAME, "fileobject").send_keys(str(tmp_path / "notes.jpg"))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    error = WebDriverWait(browser, 60).until(lambda page: page.find_element(By.CSS_SELECTOR, "#result .error"))
    assert "is text, which is not supported" in error.text


def test_the_api_page_needs_no_network(browser: webdriver.Chrome, server: Server) -> None:
    browser.get(f"{server.url}/docs")
    WebDriverWait(browser, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock-post"))
    save_screenshot(browser, "docs")
