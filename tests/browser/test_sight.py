"""A run is never out of sight: the bar, the title and a notice tell of it, and the line waits after Stop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import fill_demo, open_tab, ready

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LONG = 240_000
AWAY = "() => Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })"
NOTICES = """() => {
  window.notices = [];
  window.Notification = class { constructor(title, more) { window.notices.push([title, more.body]); }
    static permission = 'granted'; static requestPermission = async () => 'granted'; };
}"""


def start(page: Page, root: Path, out: Path, name: str, **more: object) -> None:
    """A run that takes its time."""
    values = {"training_comment": "seconds=0.5", "max_train_steps": 400, "output_name": name, **more}
    fill_demo(page, root, out, **values)
    page.locator("[data-act=train]").click()
    page.wait_for_function("(name) => atelier.run.now?.name === name && atelier.run.now.step > 0",
                           arg=name, timeout=LONG)  # fmt: skip


def end_all(page: Page) -> None:
    """Nothing runs and nothing waits."""
    for job in page.evaluate("atelier.run.queue.map((one) => one.id)"):
        page.evaluate("(job) => atelier.page.server.act({do: 'take_out', job})", job)
    page.evaluate("atelier.page.server.stop({})")
    page.wait_for_function("['stopped', 'finished'].includes(atelier.run.state)", timeout=LONG)


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_the_bar_and_the_title_tell_of_the_run_on_every_tab(
    open_page, root: Path, tmp_path: Path, phone: bool
):
    page = open_page(phone=phone)
    start(page, root, tmp_path / "out", f"seen-{phone}")
    for tab in ("source_model", "folders", "training", "advanced"):
        page.evaluate("(tab) => atelier.openTab(tab)", tab)
        expect(page.locator("#la-now")).to_contain_text(re.compile(r"seen.*Training, step \d+ of 400"))
        expect(page.locator("#la-line i")).to_be_attached()
        box = page.locator("#la-now .now").bounding_box()
        assert box
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        assert page.locator("#la-now .how").evaluate("(how) => how.scrollWidth <= how.clientWidth"), "cut"
    expect(page).to_have_title(re.compile(r"^\d+ % · seen-\w+ — LoRA Atelier$"))
    page.locator("#la-now .now").click()
    expect(page.locator("#t-run-button")).to_have_attribute("aria-selected", "true")
    end_all(page)
    expect(page).to_have_title(re.compile("^■ seen"))
    page.keyboard.press("Shift")
    expect(page).to_have_title("LoRA Atelier")


def test_an_end_far_from_the_page_is_told(open_page, root: Path, tmp_path: Path):
    page = open_page()
    page.evaluate(NOTICES)
    start(page, root, tmp_path / "out", "told", max_train_steps=30, training_comment="hold=20")
    page.get_by_label("Notice when it ends").check()
    page.evaluate(AWAY)
    (tmp_path / "out" / "go").touch()
    page.wait_for_function("notices.length === 1", timeout=LONG)
    assert page.evaluate("notices[0]") == ["Your LoRA is ready", "told"]
    expect(page).to_have_title("✓ told — LoRA Atelier")


def test_a_run_at_work_lets_one_add_to_the_line_and_stop_lets_the_line_wait(
    open_page, root: Path, tmp_path: Path
):
    page = open_page()
    train, panel = page.locator("[data-act=train]"), page.locator("#la-panel")
    expect(train).to_have_text("Train", use_inner_text=True)
    start(page, root, tmp_path / "out", "first")
    expect(train).to_have_text("Add to queue", use_inner_text=True)
    train.dblclick()
    expect(panel).to_contain_text("The same settings are at work already (first)")
    panel.get_by_role("button", name="Cancel").click()
    fill_demo(page, root, tmp_path / "out", output_name="second")
    train.dblclick()
    page.wait_for_function("atelier.run.queue.length === 1")
    train.click()
    expect(panel).to_contain_text("The same settings are waiting already (second)")
    panel.get_by_role("button", name="Add anyway").click()
    page.wait_for_function("atelier.run.queue.length === 2")
    page.locator("[data-act=stop]").click()
    page.wait_for_function("atelier.run.state === 'stopped' && atelier.run.waits", timeout=LONG)
    page.wait_for_timeout(5000)  # the line is looked after every two seconds
    assert page.evaluate("atelier.run.now.name + atelier.run.queue.length") == "first2"
    page.reload()
    ready(page)
    expect(page.locator("#la-now")).to_contain_text("2 runs wait")
    open_tab(page, "run")
    expect(page.locator(".la-live .out")).to_contain_text("Stopped at step")
    expect(train).to_have_text("Train", use_inner_text=True)
    page.locator("#la-now").get_by_role("button", name="Go on with the line").click()
    page.wait_for_function("atelier.run.state === 'finished' && !atelier.run.queue.length", timeout=LONG)
