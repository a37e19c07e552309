"""How soon the page is usable, and what it costs: the figures beside kohya_ss's own page.

Run by hand on a quiet machine: `python tests/bench/page.py [RUNS]`. Each run starts the program in a fresh
workspace and opens it in a fresh browser, as a newcomer's first start does. Median and minimum are printed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, Request, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("LORA_ATELIER_CHROMIUM", "/usr/bin/chromium")
TABS = ("folders", "training", "advanced", "source_model")
USABLE = "html[data-ready]"
"""Set when the form has its content; then the first field is typed into and read back."""


def start(workspace: Path) -> tuple[subprocess.Popen[str], str, float]:
    """The program, its address, and the seconds until it printed that."""
    began = time.perf_counter()
    command = [
        sys.executable,
        str(ROOT / "gui.py"),
        "--no-browser",
        "--workspace",
        str(workspace),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("LoRA Atelier: "):
            return process, line.split()[-1], time.perf_counter() - began
    raise SystemExit("the program ended before it served")


def wait_usable(page: Page) -> None:
    """Until a field can be typed into and the program has answered to it."""
    page.wait_for_selector(USABLE, state="attached")
    field = page.locator("#f-pretrained_model_name_or_path input")
    field.wait_for(state="visible")
    page.wait_for_function("atelier.page.look")


def run(browser: Browser, workspace: Path) -> dict[str, float]:
    """All figures of one first start."""
    process, address, listening = start(workspace)
    began = time.perf_counter()
    found: dict[str, float] = {"process start -> serving, s": listening}
    try:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        asked: list[Request] = []
        page.on("requestfinished", lambda request: asked.append(request))  # noqa: PLW0108  # it sets an attribute
        page.goto(address)
        wait_usable(page)
        usable = time.perf_counter() - began
        found["page open -> usable, s"] = usable
        found["process start -> usable, s"] = listening + usable
        times = psutil.Process(process.pid).cpu_times()
        found["processor time of the program until then, s"] = times.user + times.system
        found["requests"] = len(asked)
        found["kB transferred"] = sum(sum(size(request)) for request in asked) / 1000
        found["kB of HTML"] = sum(size(request)[1] for request in asked if request.url == address) / 1000
        found["foreign requests"] = sum(not request.url.startswith(address) for request in asked)
        found["DOM nodes at load"] = nodes(page)
        again = time.perf_counter()
        page.reload()
        wait_usable(page)
        found["reload -> usable, s"] = time.perf_counter() - again
        found["load a configuration, s"] = load_seconds(page, workspace)
        found["print training command, s"] = command_seconds(page)
        for tab in TABS:
            page.locator(f"#t-{tab}-button").click()
            page.locator(f"#t-{tab}").wait_for(state="visible")
            page.wait_for_timeout(600)
        found["DOM nodes, all tabs visited"] = nodes(page)
        found["JS heap, MB"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        found["memory of the program, MB"] = psutil.Process(process.pid).memory_info().rss / 1e6
        context.close()
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()
    return found


def size(request: Request) -> tuple[int, int]:
    """Bytes of a response's headers and of its body, as they came over the wire."""
    sizes = request.sizes()
    return sizes["responseHeadersSize"], sizes["responseBodySize"]


def nodes(page: Page) -> int:
    """Elements in the page."""
    return page.evaluate("document.querySelectorAll('*').length")


def load_seconds(page: Page, workspace: Path) -> float:
    """From Enter in "Configuration file" until all fields hold the file's values."""
    path = workspace / "bench.json"
    path.write_text(json.dumps({"epoch": 7, "network_dim": 20, "LoRA_type": "Standard"}), encoding="utf-8")
    page.locator("#la-config").fill(str(path))
    began = time.perf_counter()
    page.keyboard.press("Enter")
    page.wait_for_function("atelier.page.look?.changed.network_dim && atelier.page.values.epoch === 7")
    took = time.perf_counter() - began
    page.keyboard.press("Escape")
    return took


def command_seconds(page: Page) -> float:
    """From the press of "Print training command" until it can be read in the page."""
    began = time.perf_counter()
    page.locator("[data-act=command]").click()
    page.locator("#la-panel pre").first.wait_for(state="visible")
    return time.perf_counter() - began


def main() -> None:
    """Measure and print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {runs} runs")
    found: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        for _ in range(runs):
            # Its own profile each time: nothing is cached.
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            with tempfile.TemporaryDirectory() as folder:
                found.append(run(browser, Path(folder).resolve()))
            browser.close()
    print("| what | min | median |\n|---|---|---|")
    for name in found[0]:
        values = [figures[name] for figures in found]
        print(f"| {name} | {min(values):,.2f} | {statistics.median(values):,.2f} |")


if __name__ == "__main__":
    main()
