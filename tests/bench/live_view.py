"""What the live view costs with 100,000 recorded steps: python -m tests.bench.live_view [SECONDS].

A job is made up whose trainer writes five steps a second: a process of its own, since the server's end is its
end too. A real browser shows the page; its own counters tell the main thread's share and the bytes received,
first load and pictures left out.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import CDPSession, sync_playwright

from tests.browser.conftest import served
from trainer.events import EventLog, Phase, Started, Step
from trainer.files.job_folder import JobFolder
from trainer.settings import Settings

STEPS, TOTAL = 100_000, 120_000
EACH = 0.2
TRAINER = "trainer"


def train(workspace: Path) -> None:
    """Be the trainer of a job in the middle of its run, with a log and a curve, and go on for ever."""
    folder = JobFolder.create(workspace, Settings.from_flat({"output_name": "long", "unet_lr": 1e-4}))
    folder.write_own_process()
    log = EventLog(folder.events_file)
    log.emit(Phase("start"))
    log.emit(Started(TOTAL, 10, 1, "CPU", {}, 0, psutil.virtual_memory().total))
    for step in range(1, STEPS + 1):
        log.emit(step_event(step))
    print("in the middle", flush=True)
    for step in itertools.count(STEPS + 1):
        time.sleep(EACH)
        log.emit(step_event(step))


@contextmanager
def trainer(workspace: Path) -> Iterator[None]:
    """Its process, once it is in the middle."""
    command = [sys.executable, "-m", "tests.bench.live_view", TRAINER, str(workspace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def step_event(step: int) -> Step:
    """A step with a noisy, falling loss."""
    loss = 0.1 + 0.1 * math.exp(-step / 20_000) + 0.02 * math.sin(step * 12.9898)
    return Step(step, 1 + step * 10 // TOTAL, loss, {"unet": 1e-4, "text_encoder": 5e-5}, 0.1, 3_000_000_000)


def task_seconds(session: CDPSession) -> float:
    """Seconds that the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def measure(address: str, seconds: float) -> tuple[float, float]:
    """(share of the main thread, bytes per second) of the live view."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        session = page.context.new_cdp_session(page)
        received = [0]
        session.on("Network.dataReceived", lambda data: received.append(data["encodedDataLength"]))
        session.send("Network.enable")
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        page.locator("#t-run-button").click()
        page.get_by_text("of 120,000").first.wait_for(timeout=120_000)
        page.wait_for_timeout(8000)
        worked, bytes_ = task_seconds(session), sum(received)
        began = time.monotonic()
        page.wait_for_timeout(seconds * 1000)
        passed = time.monotonic() - began
        result = (task_seconds(session) - worked) / passed, (sum(received) - bytes_) / passed
        browser.close()
        return result


def main() -> None:
    """Print the figures."""
    if TRAINER in sys.argv:
        train(Path(sys.argv[2]))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        with trainer(workspace), served(workspace) as address:
            share, rate = measure(address, seconds)
    print(f"main thread {100 * share:.1f} %, {rate:,.0f} bytes/s")


if __name__ == "__main__":
    main()
