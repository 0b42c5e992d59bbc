"""Measure the page in a real browser: its weight, when it is usable, and how fast a moved threshold shows.

    python -m benchmarks.page [--url http://127.0.0.1:7000] [--runs 20]

Without `--url`, it starts a service of its own. It uploads a picture of 12 megapixels made of the val images in
`../shared/data`, opens it on the page, and moves the threshold of persons. Each time ends after the frame in which the
browser has drawn the picture. It prints Markdown tables of milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import SHARED, serving
from tests.web.test_page import is_true, start_browser

SIZE_WH = (4000, 3000)
#: moves the slider, waits until the frame is drawn, and tells the milliseconds of each move
MOVE = """
const done = arguments[arguments.length - 1], slider = document.querySelector(arguments[0]), runs = arguments[1];
const frame = () => new Promise(go => requestAnimationFrame(() => setTimeout(go)));
(async () => {
  const times = [], inside = [];
  for (let run = 0; run < runs; run++) {
    slider.value = run % 2 ? 0.6 : 0.05 + run / 200;
    await frame();
    const start = performance.now();
    slider.dispatchEvent(new Event("input"));
    inside.push(performance.now() - start);
    await frame();
    times.push(performance.now() - start);
  }
  done([times, inside, document.querySelectorAll(".objects rect").length]);
})();
"""
LOADED = """
const [page] = performance.getEntriesByType("navigation"), parts = performance.getEntriesByType("resource");
const size = parts.reduce((sum, each) => sum + each.encodedBodySize, page.encodedBodySize);
return [page.domContentLoadedEventEnd, size, parts.length + 1];
"""


def large_picture() -> bytes:
    """A picture of 12 megapixels, with people from many val images."""
    canvas, across = Image.new("RGB", SIZE_WH), 8
    side = SIZE_WH[0] // across
    places = [(x, y) for y in range(0, SIZE_WH[1], side) for x in range(0, SIZE_WH[0], side)]
    for place, file in zip(places, sorted((SHARED / "data" / "val" / "coco").glob("*.webp")), strict=False):
        canvas.paste(Image.open(file).convert("RGB").resize((side, side)), place)
    buffer = io.BytesIO()
    canvas.save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


@contextlib.contextmanager
def service(url: str | None) -> Iterator[str]:
    if url:
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "--video-workers", "0") as server:
        yield server.url


def usable(browser: webdriver.Chrome, url: str, runs: int) -> None:
    times = []
    for _ in range(runs):
        browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        browser.get(url)
        ready, size, files = browser.execute_script(LOADED)
        times.append(ready)
    print("| page | value |\n|---|---|")
    print(f"| bytes of {files} files | {size} |")
    print(f"| ms until it is usable, median of {runs} | {statistics.median(times):.0f} |")
    print(f"| ms until it is usable, longest | {max(times):.0f} |\n")


def thresholds(browser: webdriver.Chrome, url: str, runs: int) -> None:
    files = {"fileobject": ("large.jpg", large_picture())}
    task = requests.post(f"{url}/v1/file?format=whole", files=files, headers={"x-is-async": "1"}, timeout=300).json()
    while requests.get(f"{url}/v1/task/{task['id']}", timeout=60).json()["status"] not in ("done", "failed"):
        time.sleep(1)
    browser.get(url)
    browser.find_element(By.ID, "tasks-title").click()
    is_true(browser, "document.querySelector('[aria-label=\"Open large.jpg\"]')", 60)
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Open large.jpg']").click()
    slider = "input[aria-label='Threshold of persons']"
    is_true(browser, f'document.querySelector("{slider}") && document.querySelector("canvas.redrawn")', 120)
    time.sleep(1)
    times, inside, objects = browser.execute_async_script(MOVE, slider, runs + 1)
    print(f"| a threshold moved, {SIZE_WH[0]} x {SIZE_WH[1]}, up to {objects} objects | ms |\n|---|---|")
    print(f"| the first move, a second after the picture was opened | {times[0]:.0f} |")
    print(f"| later moves until they are drawn, median of {runs} | {statistics.median(times[1:]):.0f} |")
    print(f"| later moves until they are drawn, longest | {max(times[1:]):.0f} |")
    print(f"| of this in JavaScript, median | {statistics.median(inside[1:]):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running service; default: one of its own")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with service(arguments.url) as url, tempfile.TemporaryDirectory() as profile:
        browser = start_browser(Path(profile))
        browser.set_script_timeout(120)
        try:
            usable(browser, url, arguments.runs)
            thresholds(browser, url, arguments.runs)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
