"""The Tools tab in a real browser with the real trainer: a tool run through, its fixes, Stop, captions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save_file
from torch import Tensor

from tests.browser.conftest import open_tab, ready, served
from tests.browser.test_sight import AWAY, NOTICES
from tests.trainer.tools.lookers import tagger
from tests.trainer.tools.made import lora, tensors
from trainer.tools.table import TOOLS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LONG = 300_000
LOW = """() => [...document.querySelectorAll('.btn, .ib, #head .seg button, .toolbox nav button')]
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 39.5)
  .map((one) => one.outerHTML)"""
"""What can be pressed and is lower than a fingertip."""
DEAF = """() => [...document.querySelectorAll('.la-tools > button')].filter((one) => {
  if (!one.checkVisibility()) return false;
  one.scrollIntoView({ block: 'center', behavior: 'instant' });
  const box = one.getBoundingClientRect();
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  return [-19, 0, 19].some((off) => document.elementFromPoint(x, y + off) !== one);
}).map((one) => one.outerHTML)"""
"""Buttons at a label that do not hear a fingertip beside them."""
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    with served(workspace, "real") as url:
        yield url


def choose(page: Page, tool: str) -> None:
    open_tab(page, "tools")
    page.locator(f"[data-tool={tool}]").click()
    expect(page.locator(f"form[data-form={tool}]")).to_be_visible()


def field(page: Page, key: str):
    return page.locator(f"form [data-key={key}]")


def run(page: Page) -> None:
    page.locator("form[data-form] button[type=submit]").click()


@pytest.mark.parametrize(("language", "phone"), [("en-US", False), ("ja-JP", True)])
def test_every_tool_shows_its_form_on_a_phone_and_a_desk(open_page, language: str, phone: bool):
    page = open_page(language=language, phone=phone, dark=phone)
    for tool in TOOLS.values():
        choose(page, tool.name)
        shown = [key for key, one in tool.schema.items() if one.spec.widget != "hidden"]
        expect(page.locator("form [data-key]")).to_have_count(len(shown))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_tool_from_a_blank_form_over_its_fixes_to_the_file_and_back(open_page, tmp_path: Path):
    file = lora(tmp_path / "a.safetensors", tensors(8, 4))
    page = open_page()
    choose(page, "resize")
    expect(page.locator(".tsaid")).to_contain_text("LoRA file")
    run(page)  # nothing starts: the cursor goes to what is missing
    expect(field(page, "lora").locator("input")).to_be_focused()
    field(page, "lora").locator("input").fill(str(file))
    field(page, "output").locator(".btn.q2").click()
    expect(field(page, "output").locator("input")).to_have_value(str(tmp_path / "a-resized.safetensors"))
    field(page, "method").locator("select").select_option("share of the sum")
    field(page, "target").locator("input").fill("90")
    expect(field(page, "target").locator("input")).to_have_attribute("aria-invalid", "true")
    field(page, "target").locator(".prob .btn").click()
    expect(field(page, "target").locator("input")).to_have_value("0.9")
    page.reload()
    ready(page)
    choose(page, "resize")
    expect(field(page, "lora").locator("input")).to_have_value(str(file))  # this browser has kept it
    run(page)
    expect(page.locator(".la-live .out h2")).to_have_text("Resize: done", timeout=LONG)
    expect(page.locator(".la-live .findings li")).not_to_have_count(0)
    with page.expect_download() as got:
        page.locator(".la-live .out a.btn").click()
    assert got.value.path().read_bytes() == (tmp_path / "a-resized.safetensors").read_bytes()
    page.get_by_role("button", name="Open this tool again").click()
    expect(field(page, "output").locator(".prob")).to_contain_text("exists already")
    field(page, "output").locator(".prob .btn").click()
    expect(field(page, "output").locator("input")).to_have_value(str(tmp_path / "a-resized-2.safetensors"))


def test_a_tool_that_failed_says_what_to_do_and_has_no_button_into_the_training_form(
    open_page, tmp_path: Path
):
    damaged = tensors(8, 4)
    next(iter(damaged.values()))[0, 0] = float("nan")
    save_file(damaged, tmp_path / "bad.safetensors")
    page = open_page()
    choose(page, "merge")
    page.locator("form .tshare input").first.fill(str(tmp_path / "bad.safetensors"))
    field(page, "output").locator("input").fill(str(tmp_path / "made.safetensors"))
    run(page)
    for tab in ("run", "jobs"):
        page.evaluate("(tab) => atelier.openTab(tab)", tab)
        told = page.locator(f".la-{'live' if tab == 'run' else 'jobs'} .card", has_text="What to change")
        expect(told).to_contain_text("Take another file of that training", timeout=LONG)
        expect(told.get_by_role("button")).to_have_count(0)


def test_the_bar_speaks_of_the_tool_and_leads_to_what_it_needs(open_page, tmp_path: Path):
    page = open_page()
    train, stop, said = (
        page.locator("[data-act=train]"),
        page.locator("[data-act=stop]"),
        page.locator("#la-len"),
    )
    expect(train).to_be_visible()
    choose(page, "verify")
    expect(said).to_have_text("Not ready yet. Fill in LoRA file.")
    expect(train).to_be_hidden()
    expect(stop).to_be_hidden()  # nothing is at work
    said.get_by_role("button").click()
    expect(field(page, "lora").locator("input")).to_be_focused()
    page.keyboard.type(str(tmp_path / "none.safetensors"))
    expect(said).to_have_text("1 problem stops this tool: Show")
    file = lora(tmp_path / "a.safetensors", tensors(8, 4))
    field(page, "lora").locator("input").fill(str(file))
    expect(said).to_have_text("Ready. Verify starts it.")
    open_tab(page, "folders")
    expect(train).to_be_visible()
    expect(said).to_contain_text("Choose a base model")


def test_a_cleared_form_can_be_had_back(open_page):
    page = open_page()
    choose(page, "resize")
    field(page, "lora").locator("input").fill("/somewhere/a.safetensors")
    page.get_by_role("button", name="Clear the form").click()
    expect(field(page, "lora").locator("input")).to_have_value("")
    page.locator("#la-toast").get_by_role("button", name="Undo").click()
    expect(field(page, "lora").locator("input")).to_have_value("/somewhere/a.safetensors")


@pytest.mark.parametrize("tab", ["tools", "run", "jobs", "folders"])
def test_what_is_pressed_on_a_phone_is_a_fingertip_high(open_page, tab: str):
    page = open_page(phone=True, language="ja-JP")
    page.evaluate("(tab) => atelier.openTab(tab)", tab)
    page.wait_for_timeout(500)
    assert page.evaluate(LOW) == []


def test_the_buttons_at_a_label_hear_a_fingertip(open_page):
    page = open_page(phone=True, language="ja-JP")
    open_tab(page, "folders")
    expect(page.locator("#f-train_data_dir .la-choose")).to_be_visible()
    expect(page.locator("#f-train_data_dir .la-q")).to_be_visible()
    assert page.evaluate(DEAF) == []


def slow_to_resize() -> dict[str, Tensor]:
    """A LoHa whose changes are decomposed whole: seconds for each of many, so that Stop comes in time."""
    half = torch.ones(2, 3000)
    factors = {"hada_w1_a": half.T, "hada_w1_b": half, "hada_w2_a": half.T, "hada_w2_b": half}
    return {
        f"lora_unet_down_blocks_0_x_{number}.{name}": factor.contiguous().clone()
        for number in range(400)
        for name, factor in factors.items()
    }


def test_stop_leaves_nothing_half(open_page, tmp_path: Path):
    lora(tmp_path / "big.safetensors", slow_to_resize())
    page = open_page()
    choose(page, "resize")
    field(page, "lora").locator("input").fill(str(tmp_path / "big.safetensors"))
    field(page, "output").locator(".btn.q2").click()
    run(page)
    expect(page.locator(".la-live h2").first).to_contain_text("Working", timeout=LONG)
    expect(page.locator("#la-len")).to_contain_text("Stop leaves nothing half-made", timeout=LONG)
    expect(page).to_have_title(re.compile(r"^\d+ % · big"), timeout=LONG)
    page.evaluate(NOTICES)
    page.get_by_label("Notice when it ends").check()
    page.evaluate(AWAY)
    page.locator("[data-act=stop]").click()
    expect(page.locator(".la-live .out h2")).to_have_text("Resize: stopped", timeout=LONG)
    assert page.evaluate("notices") == [["Resize: stopped", "big-resized.safetensors"]]
    assert [path.name for path in tmp_path.iterdir()] == ["big.safetensors"]


def test_captions_are_looked_at_before_they_are_written(open_page, root: Path, tmp_path: Path):
    demo = root / "presets" / "demo" / "pictures" / "10_sks mascot"
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted(demo.glob("*.png"))[:2]:
        shutil.copy(path, folder)
    page = open_page()
    choose(page, "tag")
    field(page, "folder").locator("input").fill(str(folder))
    field(page, "model").locator("input").fill(str(tagger(tmp_path / "tagger")))
    field(page, "prefix").locator("input").fill("sks")
    run(page)
    card = page.locator(".la-live .card", has_text="Proposed captions")
    expect(card.locator("li")).to_have_count(2, timeout=LONG)
    assert not list(folder.glob("*.txt"))
    card.get_by_role("button", name="Write 2 captions").click()
    expect(card).to_contain_text("2 captions are written")
    assert all(path.read_text("utf-8").startswith("sks, ") for path in folder.glob("*.txt"))
    assert len(list(folder.glob("*.txt"))) == 2


def test_what_would_be_done_is_listed_first(open_page, root: Path, tmp_path: Path):
    page = open_page()
    choose(page, "prepare")
    field(page, "pictures").locator("input").fill(str(root / "presets" / "demo" / "pictures"))
    field(page, "output").locator("input").fill(str(tmp_path / "training"))
    field(page, "instance_prompt").locator("input").fill("sks")
    page.get_by_role("button", name="List what would be done").click()
    expect(page.locator(".tlist li").first).to_contain_text("pictures", timeout=LONG)
    assert not (tmp_path / "training").exists()
