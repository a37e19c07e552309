"""Anyone can use it: axe finds nothing serious, the keyboard suffices, a phone shows everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import demo_values, fill_demo, open_tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.min.js"
TABS = ("source_model", "folders", "training", "advanced", "tools", "run", "jobs")
SERIOUS = """async () => (await axe.run({resultTypes: ['violations']})).violations
  .filter((found) => ['serious', 'critical'].includes(found.impact))
  .flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.target} ${node.failureSummary}`))"""
REGION = """() => { const at = document.activeElement;
  return ['head', 'la-panel', 'bar', 'rail', 'tabs'].find((id) => at.closest(`#${id}`)) || ''; }"""
CUT = """() => {
  const shown = (one) => one.offsetParent && getComputedStyle(one).visibility === 'visible';
  const texts = document.querySelectorAll(`.la-name, .la-ja, .la-note, .la-head h2, .btn, .link, .card h2,
    .card dd, .card p, .prob p, .unet .uh, .stats div, .legend span, .la-acc > button > span, #la-len,
    #la-panel p, #la-panel b, #la-panel dd, .job, .la-live h2, .la-live p`);
  const scrolls = (one) => one.closest('.scroll, .tab-container, pre, [hidden], .la-sr');
  return [...texts].filter((one) => shown(one) && !scrolls(one)).filter((one) => {
    const box = one.getBoundingClientRect();
    return box.right > innerWidth + 0.5 || box.left < -0.5 || one.scrollWidth > one.clientWidth + 1
      && getComputedStyle(one).display !== 'inline';
  }).map((one) => `${one.className} ${one.textContent.slice(0, 50)}`);
}"""


def fill_with_problems(page: Page, root: Path, out: Path) -> None:
    """A form with a problem, hints, a plan, sample prompts and changed fields."""
    wrong = {
        "network_dim": -4,
        "caption_extension": "",
        "sample_every_n_steps": 10,
        "sample_prompts": "an owl\na ball",
    }
    page.evaluate("(values) => atelier.write(values)", {**demo_values(root, out), **wrong})
    page.wait_for_function("atelier.page.look.problems.length > 1 && atelier.page.look.plan")


def have_a_run(page: Page, root: Path, out: Path) -> None:
    """A finished run, so that Run and Jobs have something to show."""
    if page.evaluate("atelier.run.state") != "finished":
        fill_demo(page, root, out, output_name="first")
        page.locator("[data-act=train]").click()
        page.wait_for_function("atelier.run.state === 'finished'")


def open_folds(page: Page, tab: str) -> None:
    """Open all that is folded up in a tab."""
    page.evaluate("(tab) => document.querySelectorAll(`#t-${tab} .la-acc > button:not(.open)`)"
                  ".forEach((button) => button.click())", tab)  # fmt: skip


def filled_tabs(page: Page, root: Path, out: Path) -> Iterator[str]:
    """Each tab in turn, opened and unfolded, with a past run and with problems in the form."""
    have_a_run(page, root, out)
    fill_with_problems(page, root, out)
    for tab in TABS:
        open_tab(page, tab)
        open_folds(page, tab)
        page.wait_for_timeout(400)
        yield tab


@pytest.mark.parametrize(("language", "dark"), [("en-US", False), ("ja-JP", True)])
def test_axe_finds_nothing_serious_on_any_tab_and_in_any_panel(open_page, root, tmp_path, language, dark):
    page = open_page(language=language, dark=dark)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(SERIOUS) == []
    for tab in filled_tabs(page, root, tmp_path / "out"):
        assert page.evaluate(SERIOUS) == [], tab
    page.evaluate("atelier.write({network_dim: 8})")
    open_tab(page, "folders")
    for action in ("presets", "open", "command", "changed"):
        page.locator(f"[data-act={action}]").click()
        expect(page.locator("#la-panel .panel")).to_be_visible()
        assert page.evaluate(SERIOUS) == [], action
        page.keyboard.press("Escape")


def test_tab_goes_through_the_page_from_top_to_bottom(open_page):
    page = open_page()
    open_tab(page, "folders")
    page.locator("body").click(position={"x": 3, "y": 3})
    page.evaluate("document.activeElement.blur()")
    regions: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        region = page.evaluate(REGION)
        if region and region not in regions[-1:]:
            regions.append(region)
        if region == "bar":
            break
    assert regions == ["head", "tabs", "rail", "bar"]


def find_and_fill(page: Page, label: str, key: str, text: str) -> None:
    """Search a setting and type into it, with the keyboard alone."""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type(label)
    expect(page.locator(f'#la-found li[aria-selected="true"][data-key="{key}"]')).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_function(f"document.activeElement.closest('#f-{key}') !== null")
    page.keyboard.press("Control+a")
    page.keyboard.type(text)
    page.keyboard.press("Tab")


@pytest.mark.parametrize("language", ["en-US", pytest.param("ja-JP", marks=pytest.mark.long)])
def test_a_run_is_set_up_and_started_with_the_keyboard_alone(open_page, root, tmp_path, language):
    page = open_page(language=language)
    fields = {
        "Pretrained model": "pretrained_model_name_or_path", "Image folder": "train_data_dir",
        "Output folder": "output_dir", "Model output name": "output_name", "Max resolution": "max_resolution",
        "Mixed precision": "mixed_precision", "Max train steps": "max_train_steps",
    }  # fmt: skip
    values = {**demo_values(root, tmp_path / "out"), "output_name": f"keys-{language}"}
    for label, key in fields.items():
        find_and_fill(page, label, key, str(values[key]))
    train = page.locator("[data-act=train]")
    page.wait_for_function("(wanted) => Object.entries(wanted).every(([key, value]) => "
                           "String(atelier.page.values[key]) === value)",
                           arg={key: str(values[key]) for key in fields.values()})  # fmt: skip
    for problem in page.evaluate("atelier.page.look.problems.filter((one) => one.blocks)"):
        assert problem["changes"], problem  # AdamW8bit where there is no such library: its button mends it
        page.evaluate("(key) => atelier.goTo(key)", problem["setting"])
        page.locator(f"#f-{problem['setting']} .prob .btn").focus()
        page.keyboard.press("Enter")
    expect(train).to_have_attribute("aria-disabled", "false")
    for _ in range(80):
        if page.evaluate("document.activeElement.dataset.act") == "train":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#t-run-button")).to_have_attribute("aria-selected", "true")
    page.wait_for_function("['running', 'queued', 'finished'].includes(atelier.run.state)")
    page.wait_for_function("atelier.run.state === 'none' || atelier.run.state === 'finished'")
    assert list((tmp_path / "out").glob("keys-*"))


@pytest.mark.parametrize("language", [pytest.param("en-US", marks=pytest.mark.long), "ja-JP"])
def test_a_phone_shows_everything_without_sideways_scroll(open_page, root, tmp_path, language):
    page = open_page(phone=True, language=language)
    for tab in filled_tabs(page, root, tmp_path / "out"):
        assert (
            page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)") == 390
        ), tab
        assert page.evaluate(CUT) == [], tab
    page.locator("[data-act=find]").click()
    expect(page.locator("#la-search")).to_be_focused()
    for action in ("presets", "open"):
        page.locator(f"[data-act={action}]").click()
        expect(page.locator("#la-panel .panel")).to_be_visible()
        assert page.evaluate(CUT) == [], action
        page.keyboard.press("Escape")
    open_tab(page, "training")
    page.locator("#f-lr_scheduler input").click()  # its field stands at the right edge
    expect(page.locator("#f-lr_scheduler [role=option]").first).to_be_visible()
    page.wait_for_function(
        "document.querySelector('#f-lr_scheduler .options').getBoundingClientRect().right <= 390"
    )
    page.keyboard.press("Escape")
    page.locator("#f-epoch .la-q").click()
    expect(page.locator("#la-sheet")).to_contain_text("Epoch")
    page.keyboard.press("Escape")
    expect(page.locator("#la-sheet")).to_have_count(0)


def test_help_and_reason_are_told_with_the_field(open_page, root, tmp_path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out")
    page.evaluate("atelier.goTo('epoch')")
    field = page.locator("#f-epoch input")
    expect(field).to_have_accessible_name("Epoch")
    expect(field).to_have_accessible_description(
        re.compile("Idle: only without Max train steps.*How often the whole set")
    )
