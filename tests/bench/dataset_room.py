"""The dataset room with many pictures: how long it takes to open, and the longest tasks while one scrolls.

python -m tests.bench.dataset_room [pictures]
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.bench.page import CHROMIUM
from tests.browser.conftest import open_tab, ready, served

SIZES = ((512, 512), (640, 448), (448, 640), (768, 512))
TAGS = ["1girl", "solo", "red hair", "blue eyes", "smile", "standing", "white background", "ribbon", "sky"]
DRAWN = """() => { const image = document.querySelector('.room-card img[src]');
  return image?.complete && image.naturalWidth; }"""
WATCH = """() => { window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ type: 'longtask', buffered: false }); }"""
SCROLL = """async () => {
  const list = document.querySelector('.room-list');
  const frames = [];
  let last = performance.now();
  for (let step = 0; step < 240; step++) {
    list.scrollTop += step % 60 === 59 ? 20_000 : 300;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return frames.sort((one, other) => one - other);
}"""


def make(folder: Path, count: int) -> None:
    """So many pictures with captions."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for number in range(count):
        small = Image.frombytes("RGB", (8, 8), rng.randbytes(192))
        small.resize(rng.choice(SIZES)).save(folder / f"{number:05}.jpg", quality=80)
        tags = ["momo", *rng.sample(TAGS, 5), f"tag {rng.randrange(300)}"]
        (folder / f"{number:05}.txt").write_text(", ".join(tags), encoding="utf-8")


def opened(page: Page) -> float:
    """Seconds from the press of the button until the first pictures are drawn."""
    began = time.perf_counter()
    page.locator("[data-act=room]").click()
    page.wait_for_function(DRAWN)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {count} pictures")
    with tempfile.TemporaryDirectory() as place, served(Path(place).resolve()) as address:
        make(Path(place) / "img" / "10_momo", count)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address)
            ready(page)
            open_tab(page, "folders")
            values = {"train_data_dir": str(Path(place) / "img"), "caption_extension": ".txt"}
            page.evaluate("(values) => atelier.write(values)", values)
            page.wait_for_selector("[data-act=room]", timeout=120_000)
            page.evaluate(WATCH)
            for visit in ("first", "second"):
                print(f"open, {visit} time: {opened(page):.2f} s")
                print(f"  long tasks, ms: {page.evaluate('longTasks.splice(0).map(Math.round)')}")
                frames = page.evaluate(SCROLL)
                print(f"  scroll: median frame {frames[120]:.0f} ms, longest {frames[-1]:.0f} ms")
                print(f"  long tasks, ms: {page.evaluate('longTasks.splice(0).map(Math.round)')}")
                print(f"  elements: {page.evaluate('document.querySelectorAll(`#la-room *`).length')}")
                page.keyboard.press("Escape")
                page.keyboard.press("Escape")
            browser.close()


if __name__ == "__main__":
    main()
