"""The page at /, in a real browser: a person chooses files and looks at the results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

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


def choose(browser: webdriver.Chrome, *files: Path, only: str = "") -> list[WebElement]:
    """Choose files on the page, and return their cards; `only` is the one type that is looked for."""
    if only:
        for box in browser.find_elements(By.CSS_SELECTOR, f"#options input[type=checkbox]:not([name={only}])"):
            box.click()
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
    return browser.find_elements(By.CSS_SELECTOR, ".card")


def text_of(browser: webdriver.Chrome, card: WebElement, words: str, seconds: float = 60) -> str:
    """Wait until a card tells something, and return its whole text."""
    WebDriverWait(browser, seconds, poll_frequency=0.1).until(lambda _: words in card.text)
    return card.text


def open_result(browser: webdriver.Chrome, card: WebElement) -> WebElement:
    text_of(browser, card, "Look at the result")
    card.find_element(By.CSS_SELECTOR, "button.main").click()
    return browser.find_element(By.ID, "viewer")


def is_true(browser: webdriver.Chrome, script: str, seconds: float = 30) -> None:
    WebDriverWait(browser, seconds, poll_frequency=0.1).until(lambda page: page.execute_script(f"return {script}"))


def test_photos_are_chosen_and_one_is_compared_with_its_original(
    browser: webdriver.Chrome, server: Server, data: Path, tmp_path: Path
) -> None:
    browser.get(server.url)
    assert browser.title == "Anonymizer"
    boxes = browser.find_elements(By.CSS_SELECTOR, "#options input[type=checkbox]")
    assert [(box.get_attribute("name"), box.is_selected()) for box in boxes] == [
        ("face", True), ("license-plate", True), ("person", True), ("vehicle", True),
    ]  # fmt: skip
    photo = data / "images" / "portrait.jpg"
    second = shutil.copy(photo, tmp_path / "second.jpg")
    cards = choose(browser, photo, Path(second), only="face")
    assert len(cards) == 2
    for card in cards:
        assert "Found: 1 face (" in text_of(browser, card, "Found")
    save_screenshot(browser, "cards")
    viewer = open_result(browser, cards[0])
    is_true(browser, "document.querySelector('.plane img')?.naturalWidth > 0")
    is_true(browser, "document.querySelector('.objects text')")
    (label,) = viewer.find_elements(By.CSS_SELECTOR, "svg text")
    assert 0.5 <= float(label.text) <= 1
    # the original lies over the result up to the line
    is_true(browser, "document.querySelector('.plane .before')?.naturalWidth > 0")
    slider = viewer.find_element(By.CSS_SELECTOR, "input[type=range]")
    slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 40)
    clip = browser.execute_script("return getComputedStyle(document.querySelector('.plane .before')).clipPath")
    assert clip == "inset(0px 60% 0px 0px)"
    save_screenshot(browser, "result")
    # its row shows the object enlarged
    viewer.find_element(By.CSS_SELECTOR, ".found button.face").click()
    assert "scale(1)" not in browser.execute_script("return document.querySelector('.plane').style.transform")
    save_screenshot(browser, "object")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    is_true(browser, "!document.getElementById('viewer').open")
    assert browser.switch_to.active_element.text == "Look at the result"
    cards[0].find_elements(By.CSS_SELECTOR, "button")[-1].click()
    assert "Deleted." in text_of(browser, cards[0], "Deleted")


def test_a_video_is_followed_and_its_tracks_are_shown(
    browser: webdriver.Chrome, server: Server, tmp_path: Path
) -> None:
    video = moving_square(tmp_path / "clip.webm", seconds=1, codec="libvpx-vp9", audio="libopus")
    browser.get(server.url)
    (card,) = choose(browser, video, only="face")
    assert "25 frames" in text_of(browser, card, "25 frames", 90)
    viewer = open_result(browser, card)
    # seek to the middle: the server sends the requested range
    is_true(browser, "document.querySelector('.plane video')?.readyState >= 2")
    assert browser.execute_script("return document.querySelector('.plane video').duration") == pytest.approx(1, abs=0.1)
    picture = viewer.find_element(By.CSS_SELECTOR, ".timeline")
    ActionChains(browser).move_to_element(picture).click().perform()
    is_true(browser, "!document.querySelector('.plane video').seeking")
    assert "frame 13 of 25" in viewer.find_element(By.CSS_SELECTOR, ".left").text
    next(each for each in viewer.find_elements(By.CSS_SELECTOR, "button") if each.text == "▶").click()
    is_true(browser, "document.querySelector('.left').textContent.includes('frame 14 of 25')")
    save_screenshot(browser, "video")


def test_a_video_can_be_stopped(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    video = moving_square(tmp_path / "long.mp4", seconds=120, audio=None)
    browser.get(server.url)
    (card,) = choose(browser, video)
    text_of(browser, card, " left")
    save_screenshot(browser, "progress")
    card.find_element(By.CSS_SELECTOR, "button").click()
    text_of(browser, card, "Deleted.", 10)
    (task,) = server.get("/v1/task/list?kind=video&status=deleted&page_size=1").json()["results"]
    # a deleted task keeps no name
    assert (task["id"], task["name"]) == (card.get_attribute("data-id"), "")


def test_the_card_shows_the_error(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("this is no picture")
    browser.get(server.url)
    (card,) = choose(browser, tmp_path / "notes.jpg")
    assert "is text, which is not supported" in text_of(browser, card, "not supported")


def test_earlier_tasks_are_listed_filtered_opened_and_deleted(
    browser: webdriver.Chrome, server: Server, data: Path
) -> None:
    photo = (data / "images" / "portrait.jpg").read_bytes()
    assert server.upload(photo, "?face=true", name="earlier.jpg").status_code == 201
    browser.get(server.url)
    browser.find_element(By.ID, "tasks-title").click()
    rows = browser.find_element(By.ID, "task-rows")
    WebDriverWait(browser, 30).until(lambda _: "earlier.jpg" in rows.text)
    rows.find_element(By.CSS_SELECTOR, "button[aria-label='Open earlier.jpg']").click()
    is_true(browser, "document.querySelector('.plane .before')?.naturalWidth > 0")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    rows.find_element(By.CSS_SELECTOR, "button[aria-label='Delete earlier.jpg']").click()
    Select(browser.find_element(By.ID, "task-status")).select_by_visible_text("done")
    WebDriverWait(browser, 30).until(lambda _: "earlier.jpg" not in rows.text)
    save_screenshot(browser, "tasks")


def test_the_api_page_needs_no_network(browser: webdriver.Chrome, server: Server) -> None:
    browser.get(f"{server.url}/docs")
    WebDriverWait(browser, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock-post"))
    save_screenshot(browser, "docs")
