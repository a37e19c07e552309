"""A reload, a second tab, another language or theme keep tab, scroll and form."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import fill_demo, open_tab, ready

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SAID = """() => {
  const shown = (one) => one.offsetParent !== null && !one.closest('[hidden], #la-toast');
  const all = [...document.querySelectorAll('#head *, #split *, #bar *')].filter(shown);
  const own = (one) => [...one.childNodes].map((node) => (node.nodeType === 3 ? node.data : '')).join('');
  const texts = all.filter((one) => getComputedStyle(one).visibility === 'visible').map(own);
  const names = ['aria-label', 'title', 'placeholder', 'aria-description'];
  const told = all.flatMap((one) => names.map((name) => one.getAttribute(name) || ''));
  return [...texts, ...told].map((text) => text.trim()).filter(Boolean);
}"""
"""All that a person reads or hears on the page."""
TABS = ("source_model", "folders", "training", "advanced", "tools", "run", "jobs")


def at(page: Page, tab: str) -> None:
    expect(page.locator(f"#t-{tab}-button")).to_have_attribute("aria-selected", "true")


def test_a_reload_brings_back_the_place_though_what_stands_above_is_built_later(open_page):
    page = open_page(phone=True, language="ja-JP")
    open_tab(page, "advanced")
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo({ top: 300, behavior: 'instant' })")
    page.wait_for_timeout(500)
    page.reload()
    ready(page)
    page.wait_for_timeout(1500)
    assert page.evaluate("Math.round(scrollY)") == 300


def test_another_language_changes_every_word_and_nothing_else(open_page, root: Path, tmp_path: Path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out", network_dim=24, caption_extension="")
    page.wait_for_function("atelier.settled()")
    page.reload()
    ready(page)
    for tab in TABS:  # all of them stand there in English first
        open_tab(page, tab)
        page.wait_for_timeout(500)
    open_tab(page, "training")
    block = page.locator("#f-network_dim")
    block.evaluate("(one) => one.scrollIntoView({block: 'start'})")
    page.evaluate("window.same = true")
    before = block.bounding_box()
    page.locator("[data-lang=ja]").evaluate("(button) => button.click()")
    expect(page.locator("#f-network_dim .la-ja")).to_contain_text("ランク")
    page.wait_for_function("atelier.settled()")
    after = block.bounding_box()
    assert page.evaluate("window.same") is True, "without a reload"
    assert before
    assert after
    assert abs(before["y"] - after["y"]) < 60
    at(page, "training")
    assert page.evaluate("atelier.page.values.network_dim") == 24
    fresh = page.context.new_page()
    fresh.goto(page.url)
    ready(fresh)
    for tab in TABS:
        said = []
        for one in (page, fresh):
            open_tab(one, tab)
            one.evaluate("document.activeElement.blur()")
            one.wait_for_function("atelier.settled()")
            one.wait_for_timeout(1500)
            said.append(one.evaluate(SAID))
        assert set(said[0]) == set(said[1]), tab


def test_a_reload_and_a_second_tab_keep_the_place(open_page):
    page = open_page()
    open_tab(page, "advanced")
    page.evaluate("scrollTo(0, 700)")
    page.wait_for_function("scrollY === 700")
    page.locator("[data-act=light]").evaluate("(button) => button.click()")
    at(page, "advanced")
    assert page.evaluate("scrollY") == 700
    page.reload()
    ready(page)
    at(page, "advanced")
    page.wait_for_function("Math.abs(scrollY - 700) < 40")
    second = page.context.new_page()
    second.goto(page.url)
    ready(second)
    at(second, "advanced")
    assert second.evaluate("scrollY") == 0


def test_a_page_opens_on_the_run_at_work_unless_the_person_went_elsewhere(
    open_page, root: Path, tmp_path: Path
):
    page = open_page()
    fill_demo(page, root, tmp_path / "out", training_comment="seconds=0.5", max_train_steps=900)
    page.locator("[data-act=train]").click()
    page.wait_for_function("atelier.run.state === 'running'")
    other = open_page(language="ja-JP")  # another browser
    at(other, "run")
    open_tab(page, "folders")
    page.wait_for_timeout(500)
    second = page.context.new_page()
    second.goto(page.url)
    ready(second)
    at(second, "folders")
    second.evaluate("atelier.page.server.stop({})")
    second.wait_for_function("atelier.run.state === 'stopped'")
