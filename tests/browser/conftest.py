"""The page in a real browser, with the fake trainer: one server for all tests of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.jobs.store import JobStore

Opener = Callable[..., Page]
expect.set_options(timeout=120_000)  # a busy machine; a test that fails takes that long once
KEYS = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}
HELD = """(name) => {
  const real = atelier.page.server[name];
  window.called = 0;
  atelier.page.server[name] = async (request) => {
    window.called += 1;
    const answer = await real(request);
    await new Promise((go) => { window.letGo = go; });
    return answer;
  };
}"""
"""The answers to a question wait until they are let go."""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the fake trainer in a fresh workspace."""
    with served(tmp_path_factory.mktemp("workspace")) as url:
        yield url


@contextmanager
def served(workspace: Path, *how: str) -> Iterator[str]:
    """A server of its own process; "real" as `how` is the real trainer."""
    program = str(Path(__file__).parent / "serve_page.py")
    command = [sys.executable, program, str(workspace), *how]
    without_keys = {name: value for name, value in os.environ.items() if name not in KEYS}
    environment = {**without_keys, "XDG_CONFIG_HOME": str(workspace / "home")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("LoRA Atelier: "), line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(20)
        for job in JobStore(workspace).jobs():
            job.kill()  # a run outlives the page's server
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def browser(browser_program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser_program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Opener]:
    """Open the page in a fresh browser; in the end no other host was asked and no script failed."""
    contexts, wrong = [], []

    def opened(*, phone: bool = False, language: str = "en-US", dark: bool = False) -> Page:
        context = browser.new_context(
            viewport=PHONE if phone else DESK,  # pyright: ignore[reportArgumentType]  # a size as Playwright has it
            locale=language,
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                wrong.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None
            ),
        )
        page.goto(address)
        return ready(page)

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def ready(page: Page) -> Page:
    """Wait until the form has its content and was looked at."""
    page.wait_for_selector("html[data-ready]", state="attached")
    page.wait_for_function("atelier.page.look")
    return page


def open_tab(page: Page, tab: str) -> None:
    """Click a tab and wait for it."""
    page.locator(f"#t-{tab}-button").click()
    expect(page.locator(f"#t-{tab}")).to_be_visible()


def demo_values(root: Path, out: Path) -> dict[str, object]:
    """A form that is ready to train, as a preset would write it."""
    out.mkdir(exist_ok=True)
    demo = root / "presets" / "demo"
    return {
        "pretrained_model_name_or_path": str(demo / "model"), "train_data_dir": str(demo / "pictures"),
        "output_dir": str(out), "output_name": "owl",
        "caption_extension": ".txt", "max_resolution": "128,128",
        "mixed_precision": "no", "optimizer": "AdamW", "max_train_steps": 20,
    }  # fmt: skip


def fill_demo(page: Page, root: Path, out: Path, **more: object) -> None:
    """Write it into the form."""
    page.evaluate("(values) => atelier.write(values)", {**demo_values(root, out), **more})
    expect(page.locator("[data-act=train]")).to_have_attribute("aria-disabled", "false", timeout=60_000)
