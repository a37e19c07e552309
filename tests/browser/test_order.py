"""Answers that come late, in another order or not at all, and tabs that change the same form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HELD, demo_values, fill_demo, open_tab, ready
from tests.trainer.tools.made import lora, tensors

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LONG = 240_000
MISCHIEF = """(plan) => {
  const real = atelier.page.server.look;
  let number = 0;
  window.asked = () => number;
  atelier.page.server.look = async (request) => {
    const wish = plan[number++] ?? 0;
    if (wish === 'refused') throw new Error('refused');
    const answer = await real(request);
    if (wish === 'lost') await new Promise(() => {});
    await new Promise((go) => setTimeout(go, wish));
    return answer;
  };
}"""
SLOW_WIDGETS = """() => {
  let held;
  Object.defineProperty(window, 'atelier', { get: () => held, set: (made) => {
    const real = made.written;
    held = { ...made, written: async (keys) => {
      await new Promise((go) => setTimeout(go, 1500));
      return real(keys);
    } };
  } });
}"""
"""Gradio takes long over what the script writes into the widgets, as on a busy machine."""


def settled(page: Page) -> None:
    """Until the look is of what the form holds, and the widgets hold it too."""
    page.wait_for_function("atelier.settled()", timeout=LONG)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param([3000, 0], id="late", marks=pytest.mark.long),
        pytest.param([0, 3000, 0], id="out of order", marks=pytest.mark.long),
        pytest.param(["lost"], id="lost", marks=pytest.mark.long),
        pytest.param(["refused", "refused", 2000], id="refused", marks=pytest.mark.long),
        pytest.param(["lost", "refused", 4000, 0], id="all of it"),
    ],
)
def test_train_follows_the_form_whatever_becomes_of_the_answers(open_page, root: Path, tmp_path: Path, plan):
    page = open_page()
    values = demo_values(root, tmp_path / "out")
    page.evaluate("(values) => atelier.write(values)", {**values, "output_dir": ""})
    settled(page)
    page.evaluate(MISCHIEF, plan)
    page.evaluate("(path) => atelier.write({output_dir: path})", values["output_dir"])
    for epoch in range(2, 7):  # quick changes while the answers are on their way
        page.wait_for_timeout(120)
        page.evaluate("(epoch) => atelier.write({epoch, max_train_steps: 10 + epoch})", epoch)
    expect(page.locator("[data-act=train]")).to_have_attribute("aria-disabled", "false", timeout=LONG)
    settled(page)
    assert page.evaluate("atelier.page.look.plan.total") == 16
    assert (
        page.evaluate("document.querySelector('[data-act=train]').getAttribute('aria-disabled')") == "false"
    )


REFUSED_AT_FIRST = """() => {
  let held;
  let asked = 0;
  Object.defineProperty(window, 'atelier', { get: () => held, set: (made) => {
    const refusing = { get: (server, name) =>
      name === 'start' && !asked++ ? () => Promise.reject(new Error('gone')) : server[name] };
    held = { ...made, connect: (server) => made.connect(new Proxy(server, refusing)) };
  } });
}"""
"""The first question of all gets no answer, as on a server that is only just coming back."""


def test_a_page_whose_first_question_is_lost_asks_again(open_page):
    page = open_page()
    page.add_init_script(f"({REFUSED_AT_FIRST})()")
    page.reload()
    expect(page.locator("#la-toast")).to_be_visible(timeout=LONG)
    ready(page)
    expect(page.locator("#f-pretrained_model_name_or_path input").first).to_be_visible()


def test_what_comes_back_after_a_reload_is_not_lost_to_slow_widgets(open_page, root: Path, tmp_path: Path):
    page = open_page()
    page.evaluate("(values) => atelier.write(values)", demo_values(root, tmp_path / "out"))
    settled(page)
    page.add_init_script(f"({SLOW_WIDGETS})()")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.locator("#la-listen").evaluate("(button) => button.click()")
    page.wait_for_timeout(500)
    assert page.evaluate("atelier.page.values.output_name") == "owl"
    ready(page)
    settled(page)
    assert page.evaluate("atelier.page.values.output_name") == "owl"
    expect(page.locator("[data-act=train]")).to_have_attribute("aria-disabled", "false", timeout=LONG)


def test_a_late_answer_to_a_slow_server_counts(open_page):
    """Asked anew each time, it would never be answered."""
    page = open_page()
    page.clock.install()
    settled(page)
    page.evaluate(MISCHIEF, [40_000, "lost", "lost", "lost"])
    page.evaluate("atelier.write({epoch: 4})")
    for _ in range(6):
        page.clock.run_for(10_000)
    page.wait_for_function("'epoch' in atelier.page.look.changed", timeout=LONG)


@pytest.mark.parametrize("language", ["en-US", "ja-JP"])
def test_a_server_that_is_slow_is_called_slow_and_waited_for(open_page, root: Path, tmp_path: Path, language):
    page = open_page(language=language)
    fill_demo(page, root, tmp_path / "out")
    line = page.locator("#la-toast")
    slow = "時間がかかっています" if language == "ja-JP" else "longer than usual"
    page.clock.install()
    page.evaluate(HELD, "command")
    page.locator("[data-act=command]").click()
    page.wait_for_function("Boolean(window.letGo)")
    page.clock.run_for(11_000)
    expect(line).to_contain_text(slow)
    expect(line).to_have_attribute("role", "status")
    page.clock.run_for(20_000)
    expect(line).to_contain_text(slow)
    page.evaluate("letGo()")
    expect(page.locator("#la-panel")).to_contain_text("trainer")
    expect(line).to_have_count(0)


def test_an_answer_that_never_comes_is_told_from_a_program_that_is_gone(
    open_page, root: Path, tmp_path: Path
):
    page = open_page()
    fill_demo(page, root, tmp_path / "out")
    page.clock.install()
    page.evaluate(HELD, "command")
    page.locator("[data-act=command]").click()
    page.wait_for_function("Boolean(window.letGo)")
    page.clock.run_for(61_000)
    expect(page.get_by_role("alert")).to_contain_text("has not answered for a minute")
    page.evaluate("() => void (atelier.page.server.command = () => Promise.reject(new Error('refused')))")
    page.locator("[data-act=command]").click()
    expect(page.get_by_role("alert")).to_contain_text("could not reach the program")


def test_the_view_of_a_run_calls_a_slow_server_slow_not_gone(open_page):
    page = open_page()
    open_tab(page, "run")
    page.locator(".la-live h2").wait_for()
    page.clock.install()
    page.evaluate(HELD, "live")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("Boolean(window.letGo)")
    page.clock.run_for(11_000)
    expect(page.locator(".la-live")).to_contain_text("is slow to answer")
    page.evaluate("letGo()")
    expect(page.locator(".la-live")).not_to_contain_text("is slow to answer")


SEEN_BEFORE = """() => {
  const real = atelier.page.server.train;
  atelier.page.server.train = async (request) => {
    const answer = await real(request);
    while (atelier.run.state !== 'running') await new Promise((go) => setTimeout(go, 100));
    return answer;
  };
}"""
"""The run is seen at work before what started it has its answer, as on a busy machine."""


def test_a_run_is_shown_though_it_was_seen_before_its_start_was_answered(
    open_page, root: Path, tmp_path: Path
):
    page = open_page()
    fill_demo(page, root, tmp_path / "out", output_name="early", training_comment="hold=5")
    page.evaluate(SEEN_BEFORE)
    page.locator("[data-act=train]").click()
    page.wait_for_function("atelier.run.state === 'running'", timeout=LONG)
    expect(page.locator("#t-run-button")).to_have_attribute("aria-selected", "true", timeout=LONG)
    (tmp_path / "out" / "go").touch()
    page.wait_for_function("atelier.run.state === 'finished'", timeout=LONG)


DELAYED = """([name, ...pauses]) => {
  const real = atelier.page.server[name];
  let number = 0;
  window.called = () => number;
  atelier.page.server[name] = async (request) => {
    const pause = pauses[number++] ?? 0;
    const answer = await real(request);
    await new Promise((go) => setTimeout(go, pause));
    return answer;
  };
}"""
"""The first answers to a question come so many milliseconds late."""


def test_a_double_click_starts_a_tool_once(open_page, tmp_path: Path):
    page = open_page()
    file = lora(tmp_path / "a.safetensors", tensors(4, 2))
    open_tab(page, "tools")
    page.locator("[data-tool=verify]").click()
    page.locator("form [data-key=lora] input").fill(str(file))
    page.evaluate(DELAYED, ["tool_start", 1000, 0])
    page.locator("form[data-form] button[type=submit]").dblclick()
    page.wait_for_function("atelier.run.tool && atelier.run.state === 'running'", timeout=LONG)
    assert page.evaluate("called()") == 1
    page.locator("[data-act=stop]").click()
    page.wait_for_function("atelier.run.state === 'stopped'", timeout=LONG)


def test_of_two_files_opened_quickly_the_last_one_counts(open_page, tmp_path: Path):
    page = open_page()
    for epoch in (3, 4):
        (tmp_path / f"{epoch}.json").write_text(json.dumps({"epoch": epoch}), encoding="utf-8")
    page.evaluate(DELAYED, ["load", 2000, 0])
    for epoch in (3, 4):
        page.locator("#la-config").fill(str(tmp_path / f"{epoch}.json"))
        page.keyboard.press("Enter")
    page.wait_for_timeout(4000)
    assert page.evaluate("called()") == 2
    assert page.evaluate("atelier.page.values.epoch") == 4


def test_a_double_click_on_save_does_not_ask_to_replace_what_it_has_just_saved(open_page, tmp_path: Path):
    page = open_page()
    page.locator("#la-config").fill(str(tmp_path / "new.json"))
    page.evaluate(DELAYED, ["save", 1000, 0])
    page.locator("[data-act=save]").dblclick()
    expect(page.locator("#la-toast")).to_contain_text("new.json", timeout=LONG)
    assert page.evaluate("called()") == 1
    expect(page.locator("#la-panel")).to_be_hidden()


def test_a_late_preset_does_not_open_over_the_one_chosen_after_it(open_page):
    page = open_page()
    page.evaluate(DELAYED, ["preset", 2000, 0])
    page.locator("[data-act=presets]").click()
    page.locator("#la-panel [data-preset=style]").click()
    page.locator("#la-panel [data-preset=character]").click()
    title = page.locator("#la-panel h2")
    expect(title).to_contain_text("settings", timeout=LONG)
    first = title.inner_text()
    page.wait_for_timeout(3000)
    assert title.inner_text() == first


HELD_SEARCH = """() => {
  const real = atelier.page.server.find;
  const held = [];
  window.held = 0;
  atelier.page.server.find = async (request) => {
    const answer = await real(request);
    if (request.query === 'optimizer') return answer;
    window.held += 1;
    return new Promise((go) => { held.push(() => go(answer)); });
  };
  window.letGo = async () => {
    for (const go of held.splice(0)) go();
    await new Promise((go) => setTimeout(go)); // what follows from them is done
    const list = document.querySelector('#la-found');
    return list.hidden ? '' : list.innerText;
  };
}"""
"""Answers of the search but one wait until they are let go, which gives the list that is open then."""


def test_a_late_list_of_the_search_neither_replaces_a_newer_one_nor_opens_again(open_page):
    page = open_page()
    search, found = page.locator("#la-search"), page.locator("#la-found")
    page.evaluate(HELD_SEARCH)
    search.fill("epoch")
    search.fill("optimizer")
    expect(found.locator("li").first).to_contain_text("Optimizer", timeout=LONG)
    page.wait_for_function("window.held === 1")
    assert page.evaluate("letGo()") == found.inner_text()
    expect(found.locator("li").first).to_contain_text("Optimizer")
    search.fill("bucket")
    page.keyboard.press("Escape")
    page.wait_for_function("window.held === 2")
    assert page.evaluate("letGo()") == ""


def test_a_language_that_could_not_be_had_leaves_the_page_in_its_own(open_page):
    page = open_page()
    page.evaluate("""() => {
      const real = atelier.page.server.start;
      window.refuse = true;
      const none = () => Promise.reject(new Error('gone'));
      atelier.page.server.start = (request) => window.refuse ? none() : real(request);
    }""")
    page.locator("#head [data-lang=ja]").click()
    expect(page.locator("#la-toast.bad")).to_be_visible(timeout=LONG)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.evaluate("window.refuse = false")
    page.locator("#head [data-lang=ja]").click()
    expect(page.locator("[data-act=train]")).to_contain_text("学習開始", timeout=LONG)


def test_two_tabs_bring_their_changes_together(open_page):
    one = open_page()
    two = one.context.new_page()
    two.goto(one.url)
    ready(two)
    one.evaluate("atelier.write({epoch: 5, output_name: 'one'})")
    two.evaluate("atelier.write({network_dim: 16})")
    for page in (one, two):
        page.wait_for_function("atelier.page.values.epoch === 5 && atelier.page.values.network_dim === 16")
    open_tab(two, "training")
    expect(two.locator("#f-epoch input")).to_have_value("5")
    expect(two.locator("#la-toast")).to_contain_text("Epoch")
    two.get_by_role("button", name="Undo").click()
    one.wait_for_function("atelier.page.values.epoch === 1 && atelier.page.values.network_dim === 16")


def test_a_setting_that_both_tabs_changed_is_said_and_can_be_taken_over(open_page):
    one = open_page()
    two = one.context.new_page()
    two.goto(one.url)
    ready(two)
    settled(one)
    settled(two)
    one.evaluate(MISCHIEF, ["refused"])  # so that both have typed before either is heard
    one.evaluate("atelier.write({epoch: 5})")
    two.evaluate("atelier.write({epoch: 7})")
    expect(one.locator("#la-toast")).to_contain_text("Another tab", timeout=LONG)
    assert one.evaluate("atelier.page.values.epoch") == 5
    one.get_by_role("button", name="Take 7").click()
    settled(one)
    for page in (one, two):
        page.wait_for_function("atelier.page.values.epoch === 7")
