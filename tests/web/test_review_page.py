"""A person corrects results on the page: with a mouse, by touch, and with keys alone."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import axe_selenium_python
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.conftest import Server
from tests.pictures import encoded
from tests.web.test_page import choose, is_true, open_result, save_screenshot, start_browser

#: whether the button to correct a result is there
CAN_CORRECT = "document.querySelector('.correction .main')?.offsetParent"
#: the colour of a pixel of the result that the page shows
SHOWN = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d");
canvas.drawImage(document.querySelector(".plane img:not(.ground)"), -arguments[0], -arguments[1]);
return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
"""
AXE = Path(axe_selenium_python.__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
#: of the video: its frames and their size, the one that a box is drawn in, and the patch that moves
FRAMES, SIZE_WH, FRAME, TOP, SIDE, STEP = 15, (320, 240), 7, 80, 64, 6


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def waiting_task(server: Server, content: bytes, name: str, query: str = "face=true") -> str:
    """Upload a picture whose result waits for a person."""
    task_id = server.upload_async(content, f"{query}&method=blacken&review=required", name=name)
    until(lambda: server.task(task_id)["progress"] == 1.0)
    return task_id


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.1)


def says(browser: webdriver.Chrome, words: str, seconds: float = 60) -> None:
    is_true(browser, f"document.querySelector('#viewer .message')?.textContent.includes({words!r})", seconds)


def press(browser: webdriver.Chrome, text: str) -> None:
    """Press a button of the viewer."""
    buttons = browser.find_elements(By.CSS_SELECTOR, "#viewer button")
    button = next(each for each in buttons if each.text == text)
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", button)
    button.click()


def open_earlier(browser: webdriver.Chrome, server: Server, name: str, status: str = "") -> WebElement:
    browser.get(server.url)
    browser.find_element(By.ID, "tasks-title").click()
    Select(browser.find_element(By.ID, "task-status")).select_by_value(status)
    is_true(browser, f"document.querySelector('[aria-label=\"Open {name}\"]')")
    # in one step: the list may be loaded again meanwhile
    is_true(browser, f"(document.querySelector('[aria-label=\"Open {name}\"]').click(), true)")
    is_true(
        browser, "document.querySelector('.plane .before') && document.querySelector('.correction .main')?.offsetParent"
    )
    return browser.find_element(By.CSS_SELECTOR, ".stage")


def drag(browser: webdriver.Chrome, stage: WebElement, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the mouse from one point to another, both in pixels from the middle of the stage."""
    to = [round(last - first) for first, last in zip(start, end, strict=True)]
    mouse = ActionChains(browser).move_to_element_with_offset(stage, *map(round, start))
    mouse.click_and_hold().move_by_offset(*to).release().perform()


def moving_patch(path: Path) -> Path:
    """Write a video of a patch with a pattern, which a tracker can follow, and no detector finds."""
    rng = np.random.default_rng(7)
    width, height = SIZE_WH
    ground, patch = (
        cv2.resize(rng.integers(*span, (rows, columns, 3), np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
        for span, rows, columns, w, h in [((90, 130), 12, 16, width, height), ((130, 255), 8, 8, SIDE, SIDE)]
    )
    with av.open(str(path), "w") as file:
        video = file.add_stream("libvpx-vp9", rate=FRAMES)
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", 2_000_000
        for number in range(FRAMES):
            picture = ground.copy()
            picture[TOP : TOP + SIDE, left_at(number) : left_at(number) + SIDE] = patch
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def left_at(number: int) -> int:
    return 40 + STEP * number


def on_screen(browser: webdriver.Chrome, size_wh: tuple[int, int], x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the picture is, from the middle of the stage at zoom 1."""
    stage = browser.find_element(By.CSS_SELECTOR, ".stage").rect
    scale = min(stage["width"] / size_wh[0], stage["height"] / size_wh[1])
    return (x - size_wh[0] / 2) * scale, (y - size_wh[1] / 2) * scale


def serious(browser: webdriver.Chrome) -> list[Any]:
    """The serious and critical findings of axe-core."""
    browser.execute_script(AXE.read_text())
    found = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations.map("
        "each => [each.impact, each.id, each.nodes[0].html, each.nodes[0].failureSummary])))"
    )
    return [each for each in found if each[0] in ("serious", "critical")]


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def drawn_boxes(server: Server, task_id: str) -> list[list[int]]:
    found = server.get(f"/v1/file/{task_id}/metadata?review=1").json()["detections"]
    return [each["bbox"] for each in found if each["source"] == "caller"]


def test_a_result_is_corrected_with_the_mouse_then_approved_and_downloaded(
    browser: webdriver.Chrome, server: Server, data: Path, tmp_path: Path
) -> None:
    photo = (data / "images" / "portrait.jpg").read_bytes()
    task_id = waiting_task(server, photo, "street.jpg")
    assert server.get(f"/v1/file/{task_id}/anonymised").json()["code"] == "needs_review"
    stage = open_earlier(browser, server, "street.jpg", "review")
    assert browser.find_element(By.ID, "review-queue").text.startswith("Review ")
    # a lower threshold shows at once what it would redact, drawn in the browser
    slider = browser.find_element(By.CSS_SELECTOR, ".thresholds input")
    browser.execute_script("arguments[0].closest('details').open = true", slider)
    slider.send_keys(Keys.HOME)
    shown = browser.find_elements(By.CSS_SELECTOR, ".objects rect")
    assert f"0.05: {len(shown)} detection" in browser.find_element(By.CSS_SELECTOR, ".thresholds output").text
    assert len(shown) > 1
    is_true(browser, "!document.querySelector('canvas.redrawn').hidden")
    stage.send_keys(Keys.CONTROL, "z")
    is_true(browser, "document.querySelectorAll('.objects rect').length === 1")
    # a box over what was missed; undo, redo
    ActionChains(browser).move_to_element_with_offset(stage, -40, 40).click_and_hold().move_by_offset(
        80, 90
    ).release().perform()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".shapes .handle")) == 8
    assert serious(browser) == []
    save_screenshot(browser, "correction")
    for name, count in (("Undo", 0), ("Redo", 1)):
        press(browser, name)
        assert len(browser.find_elements(By.CSS_SELECTOR, ".shapes rect")) == count
    press(browser, "Apply")
    says(browser, "Version 2 is ready.")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".versions li")) == 2
    # the page shows the new version, not the picture that it has shown before
    is_true(browser, "document.querySelector('.plane img:not(.ground)').complete")
    ((x1, y1, x2, y2),) = drawn_boxes(server, task_id)
    assert max(browser.execute_script(SHOWN, (x1 + x2) // 2, (y1 + y2) // 2)) < 30
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    press(browser, "Approve")
    says(browser, "Approved.")
    press(browser, "Result")
    until(lambda: (tmp_path / "street.jpg").exists())
    task = server.task(task_id)
    assert (task["status"], task["review"], task["version"]) == ("done", "approved", 2)
    before, after = pixels(photo), pixels((tmp_path / "street.jpg").read_bytes())
    assert after[y1:y2, x1:x2].max() < 30
    assert before[y1:y2, x1:x2].mean() > 30
    assert np.abs(after[-40:, :40].astype(int) - before[-40:, :40]).max() < 30


def test_an_object_is_followed_through_a_video(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    video = moving_patch(tmp_path / "walk.webm")
    browser.get(server.url)
    browser.find_element(By.CSS_SELECTOR, "input[value=blacken]").click()
    (card,) = choose(browser, video, only="face")
    viewer = open_result(browser, card)
    is_true(browser, f"document.querySelector('.plane > video')?.readyState >= 2 && {CAN_CORRECT}")
    browser.find_element(By.CSS_SELECTOR, ".timeline").click()
    is_true(browser, f"document.querySelector('.clock').textContent.includes('frame {FRAME + 1} of')")
    press(browser, "Correct this result")
    stage = viewer.find_element(By.CSS_SELECTOR, ".stage")
    start = on_screen(browser, SIZE_WH, left_at(FRAME) - 3, TOP - 3)
    end = on_screen(browser, SIZE_WH, left_at(FRAME) + SIDE + 3, TOP + SIDE + 3)
    drag(browser, stage, start, end)
    assert "follow this object" in browser.find_element(By.CSS_SELECTOR, "section.chosen").text
    save_screenshot(browser, "follow")
    press(browser, "Apply")
    says(browser, "Version 2 is ready.", 120)
    task_id = card.get_attribute("data-id")
    content = server.get(f"/v1/file/{task_id}/video/anonymised").content
    with av.open(io.BytesIO(content)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    # the middle of the patch is black wherever it went
    middles = [frame[TOP + SIDE // 2, left_at(n) + SIDE // 2].max() for n, frame in enumerate(frames)]
    assert len(middles) == FRAMES
    assert max(middles) < 60


def test_a_face_below_the_threshold_of_a_video_is_worth_a_look_and_taken(
    browser: webdriver.Chrome, server: Server, data: Path, tmp_path: Path
) -> None:
    clip = first_frames(data / "videos" / "portrait-people.mp4", tmp_path / "faces.mp4", 10)
    task_id = server.upload(clip.read_bytes(), "face=1&face-threshold=0.999&method=blacken", name="faces.mp4").json()[
        "id"
    ]
    assert server.task(task_id)["detections"] == {"face": 0}
    listed = server.get(f"/v1/file/{task_id}/candidates").json()["candidates"]
    assert listed[0]["score"] > 0.5
    open_earlier(browser, server, "faces.mp4")
    assert browser.find_elements(By.CSS_SELECTOR, ".marks rect")
    browser.find_element(By.CSS_SELECTOR, ".worth").click()
    says(browser, "below the threshold, not redacted")
    press(browser, "Redact it")
    assert "will be redacted" in browser.find_element(By.CSS_SELECTOR, "section.chosen").text
    assert browser.find_elements(By.CSS_SELECTOR, ".objects rect")
    press(browser, "Apply")
    says(browser, "Version 2 is ready.")
    assert server.task(task_id)["detections"] == {"face": 1}
    (taken,) = [each for each in server.get(f"/v1/file/{task_id}/candidates").json()["candidates"] if each["track_id"]]
    found = server.get(f"/v1/file/{task_id}/video/metadata").json()
    assert [row["track_id"] for row in found[taken["frame"]]["detections"]] == [taken["id"]]


def first_frames(source: Path, path: Path, count: int) -> Path:
    """Write the first frames of a video at half its size."""
    with av.open(str(source)) as film, av.open(str(path), "w") as file:
        from_ = film.streams.video[0]
        video = file.add_stream("libx264", rate=FRAMES)
        video.width, video.height, video.pix_fmt = from_.width // 4 * 2, from_.height // 4 * 2, "yuv420p"
        for number, frame in zip(range(count), film.decode(from_), strict=False):
            small = frame.reformat(video.width, video.height, "yuv420p")
            small.pts, small.time_base = number, Fraction(1, FRAMES)
            file.mux(video.encode(small))
        file.mux(video.encode(None))
    return path


def type_keys(browser: webdriver.Chrome, *keys: str, held: str = "") -> None:
    """Press keys where the focus is, one of them held down meanwhile."""
    chain = ActionChains(browser)
    if held:
        chain.key_down(held)
    chain.send_keys(*keys)
    if held:
        chain.key_up(held)
    chain.perform()


def tab_to(browser: webdriver.Chrome, script: str) -> None:
    """Press the tab key until the element with the focus is the right one."""
    for _ in range(80):
        if browser.execute_script(f"const at = document.activeElement; return {script}"):
            return
        type_keys(browser, Keys.TAB)
    raise AssertionError(f"the tab key never reaches {script}")


def test_keys_alone_are_enough(browser: webdriver.Chrome, server: Server) -> None:
    task_id = waiting_task(server, encoded(), "keys.jpg")
    browser.get(server.url)
    tab_to(browser, "at.id === 'tasks-title'")
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    type_keys(browser, Keys.ENTER)
    is_true(browser, "document.querySelector('[aria-label=\"Open keys.jpg\"]')")
    tab_to(browser, "at.ariaLabel === 'Open keys.jpg'")
    type_keys(browser, Keys.ENTER)
    is_true(browser, "document.querySelector('.correction .main')?.offsetParent")
    tab_to(browser, "at.textContent === 'Correct this result'")
    type_keys(browser, Keys.ENTER)
    # the box is put in the middle, moved to the right, and made wider
    type_keys(browser, Keys.ENTER)
    type_keys(browser, *[Keys.ARROW_RIGHT] * 3)
    type_keys(browser, *[Keys.ARROW_RIGHT] * 2, held=Keys.SHIFT)
    type_keys(browser, Keys.ARROW_UP)
    type_keys(browser, "z", held=Keys.CONTROL)
    box = browser.find_element(By.CSS_SELECTOR, ".shapes rect").get_attribute
    type_keys(browser, "+", "0")
    wide, x = float(box("width")), float(box("x"))
    assert wide > float(box("height"))
    tab_to(browser, "at.textContent === 'Apply'")
    type_keys(browser, Keys.ENTER)
    says(browser, "Version 2 is ready.")
    tab_to(browser, "at.textContent === 'Approve'")
    type_keys(browser, Keys.ENTER)
    says(browser, "Approved.")
    ((x1, _, x2, _),) = drawn_boxes(server, task_id)
    assert (x1, x2) == (pytest.approx(x, abs=1), pytest.approx(x + wide, abs=1))
    type_keys(browser, Keys.ESCAPE)
    is_true(browser, "!document.getElementById('viewer').open && document.activeElement.ariaLabel === 'Open keys.jpg'")


def touch(browser: webdriver.Chrome, *points: tuple[float, float]) -> None:
    for kind, place in (
        ("touchStart", points[:1]),
        *(("touchMove", (point,)) for point in points[1:]),
        ("touchEnd", ()),
    ):
        where = [{"x": x, "y": y} for x, y in place]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})


def test_a_phone_in_the_dark(browser: webdriver.Chrome, server: Server) -> None:
    waiting_task(server, encoded(), "phone.jpg")
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    fits = "document.documentElement.scrollWidth <= 390"
    browser.get(server.url)
    browser.execute_script("document.querySelector('#options details').open = true")
    is_true(browser, fits)
    assert serious(browser) == []
    save_screenshot(browser, "phone")
    open_earlier(browser, server, "phone.jpg", "review")
    press(browser, "Correct this result")
    browser.execute_script("document.querySelector('.stage').scrollIntoView()")
    stage = browser.execute_script("return document.querySelector('.stage').getBoundingClientRect().toJSON()")
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    touch(browser, (x - 40, y - 40), (x, y), (x + 40, y + 40))
    assert len(browser.find_elements(By.CSS_SELECTOR, ".shapes .handle")) == 8
    assert serious(browser) == []
    is_true(browser, "document.getElementById('viewer').scrollWidth <= 390")
    save_screenshot(browser, "phone-correction")
    press(browser, "Close")
    is_true(browser, fits)
    assert serious(browser) == []
    browser.execute_script("const open = document.getElementById('token-open'); open.hidden = false; open.click()")
    assert serious(browser) == []
    save_screenshot(browser, "phone-token")


def test_the_page_is_light(server: Server) -> None:
    pages = [server.get("/")]
    folder = Path(__file__).parents[2] / "anonymizer" / "static" / "anonymizer" / "page"
    pages += [server.get(f"/static/anonymizer/page/{file.name}") for file in folder.iterdir()]
    assert all(page.ok for page in pages)
    assert sum(len(page.content) for page in pages) < 200_000
