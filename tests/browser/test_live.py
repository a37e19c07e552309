# ruff: noqa: F811  # pytest hands fixtures over by their imported names
"""The live view and the jobs tab in a real browser, with real processes that only pretend to learn."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvicorn
from gradio.context import Context
from playwright.sync_api import Browser, Page, expect

from app.jobs.store import Job, JobStore
from app.page.page import build_page, mount_options
from app.web import server
from tests.app.conftest import settings, store, wait_for, wait_until  # noqa: F401  # fixtures
from tests.browser.conftest import HELD, ready
from trainer.settings import Settings

pytestmark = pytest.mark.browser
MakeSettings = Callable[..., Settings]
HOSTILE = "<img src=x onerror=window.hacked=1> <script>window.hacked=2</script>"
SECONDS = 30_000


class Served:
    """A server that can be stopped and started again on its port."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.port = 0
        self.start()

    async def _build(self):
        Context.id = 0  # a new process counts its components from 0
        return server.build_app(self.store, build_page(self.store), mount_options())

    def start(self) -> None:
        server.be_quiet()
        with ThreadPoolExecutor(1) as aside:  # Playwright's loop occupies this thread
            app = aside.submit(asyncio.run, self._build()).result()
        self.listener: socket.socket = server.bind("127.0.0.1", self.port)
        self.port = self.listener.getsockname()[1]
        self.up = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        )
        self.thread = threading.Thread(target=self.up.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        wait_for(lambda: self.up.started)

    def stop(self) -> None:
        self.up.should_exit = True
        self.thread.join(15)
        self.listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def served(store: JobStore) -> Iterator[Served]:
    made = Served(store)
    yield made
    made.stop()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """An English page; anything it complains about, and any other host it asks, fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    made = context.new_page()
    made.set_default_timeout(120_000)  # a busy machine
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("request", lambda request: None if _ours(request.url) else errors.append(request.url))
    yield made
    context.close()
    assert errors == []


def _ours(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def look(page: Page, served: Served, tab: str = "run") -> None:
    """Open the page at one of its views."""
    page.goto(served.url)
    ready(page)
    page.evaluate("(tab) => atelier.openTab(tab)", tab)


def title(page: Page):
    return page.locator(".la-live h2").first


def test_a_run_from_start_to_file(served: Served, page: Page, settings: MakeSettings):
    look(page, served)
    expect(title(page)).to_have_text("No run yet", timeout=SECONDS)
    prompts = f"a red circle\n{HOSTILE}"
    job = served.store.start(settings("hold=60", max_train_steps=100, sample_prompts=prompts))
    expect(title(page)).to_contain_text("Training, step", timeout=SECONDS)
    expect(page.locator(".la-live .pb img").first).to_be_visible(timeout=SECONDS)
    look(page, served)
    expect(title(page)).to_contain_text("of 100", timeout=SECONDS)
    expect(page.locator(".la-live .log")).to_contain_text("100 steps on cpu", timeout=SECONDS)
    expect(page.get_by_role("heading", name="Log", exact=True)).to_be_visible()
    expect(page.locator(".la-live [aria-current=step]")).to_have_text("Train")
    page.evaluate("scrollTo(0, 9999)")
    (Path(job.settings()["output_dir"]) / "go").touch()
    wait_until(job, "finished")
    expect(title(page)).to_have_text("Your LoRA is ready", timeout=SECONDS)
    expect(title(page)).to_be_in_viewport(timeout=SECONDS)
    expect(page.locator(".la-live .copy").nth(1)).to_have_text("<lora:mascot:0.8> sks mascot")
    page.wait_for_function("[...document.querySelectorAll('.pb img')].every(one => one.naturalWidth === 128)")
    assert page.locator(".la-live .pb img").count() == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    assert download.value.suggested_filename == "mascot.safetensors"
    assert page.get_by_text(HOSTILE, exact=True).first.is_visible()
    assert page.evaluate("window.hacked") is None


def test_pictures_grow_and_walk_by_keys(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings(sample_prompts="a red circle")), "finished")
    look(page, served)
    page.locator(".la-live .pb").first.click(timeout=SECONDS)
    caption = page.locator(".la-box .cap2")
    expect(caption).to_contain_text("step 0")
    page.wait_for_function("document.querySelector('.la-box img').naturalWidth")
    box = page.locator(".la-box img").bounding_box()
    assert box
    assert abs(box["width"] - box["height"]) < 2, "in its own shape"
    page.keyboard.press("ArrowRight")
    expect(caption).to_contain_text("step 5")
    page.keyboard.press("Escape")
    expect(page.locator(".la-box")).to_have_count(0)


def test_failure_says_what_to_change(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("fail=12")), "failed")
    look(page, served)
    expect(title(page)).to_have_text("Stopped at step 12 of 20", timeout=SECONDS)
    alert = page.locator(".la-live [role=alert]")
    expect(alert).to_contain_text("Memory ran out")
    expect(alert).to_contain_text("Nothing is lost: step 10 was saved.")
    expect(page.locator(".la-live .ways")).to_contain_text("Gradient checkpointing")


def test_a_crash_can_be_continued_from_the_page(served: Served, page: Page, settings: MakeSettings):
    job = served.store.start(settings("crash=13"))
    wait_until(job, "lost")
    job.folder.write_json(job.folder.settings_file, {**job.settings(), "training_comment": ""})
    look(page, served)
    expect(title(page)).to_have_text("Interrupted at step 13 of 20", timeout=SECONDS)
    page.get_by_role("button", name="Continue from step 10").click()
    expect(title(page)).to_have_text("Your LoRA is ready", timeout=SECONDS)
    assert list(job.record().curves.steps) == list(range(1, 21))


def test_view_follows_a_restarted_server(served: Served, page: Page, settings: MakeSettings):
    job = served.store.start(settings("seconds=0.1", max_train_steps=6000))
    look(page, served)
    expect(title(page)).to_contain_text("Training, step", timeout=SECONDS)
    page.evaluate("window.same = true")
    served.stop()
    expect(page.locator(".la-live .away")).to_be_visible(timeout=SECONDS)
    served.start()
    expect(page.locator(".la-live .away")).to_be_hidden(timeout=SECONDS)
    job.stop()
    expect(title(page)).to_contain_text("Stopped at step", timeout=SECONDS)
    assert page.evaluate("window.same") is True, "without a reload"


def test_a_server_that_is_gone_is_said_in_the_bar_and_on_run_though_it_was_never_opened(
    served: Served, page: Page, settings: MakeSettings
):
    job = served.store.start(settings("seconds=0.1", max_train_steps=6000))
    look(page, served, "source_model")
    bar = page.locator("#la-now .how")
    expect(bar).to_contain_text("Training, step", timeout=SECONDS)
    served.stop()
    expect(bar).to_have_text("No answer from the page's server", timeout=SECONDS)
    page.evaluate("atelier.openTab('run')")
    expect(page.locator(".la-live")).to_contain_text("does not answer", timeout=SECONDS)
    served.start()
    expect(title(page)).to_contain_text("Training, step", timeout=SECONDS)
    job.stop()
    expect(title(page)).to_contain_text("Stopped at step", timeout=SECONDS)


def test_waiting_jobs_can_be_reordered(served: Served, page: Page, settings: MakeSettings):
    served.store.start(settings("seconds=0.1", max_train_steps=2000))
    for name in ("second", "third"):
        served.store.start(settings(output_name=name))
    look(page, served)
    page.get_by_role("button", name="Move third up").click(timeout=SECONDS)
    wait_for(lambda: [job.name for job in served.store.queue()] == ["third", "second"])
    page.get_by_role("button", name="Take second out of the line").click()
    wait_for(lambda: [job.name for job in served.store.queue()] == ["third"])


def test_a_click_shows_a_run_and_comparing_is_a_mode_of_its_own(
    served: Served, page: Page, settings: MakeSettings
):
    for name, rate in (("fast", 1e-3), ("slow", 1e-5), ("third", 1e-3)):
        values = {"output_name": name, "unet_lr": rate, "sample_prompts": "a red circle"}
        wait_until(served.store.start(settings(**values)), "finished")
        time.sleep(1)  # job names sort by the second
    look(page, served, "jobs")
    rows, names = page.locator(".la-jobs .pick"), page.locator(".la-jobs .bar2 h2").nth(1)
    expect(rows).to_have_count(3, timeout=SECONDS)
    expect(names).to_have_text("third", timeout=SECONDS)
    rows.nth(1).click()
    expect(names).to_have_text("slow", timeout=SECONDS)
    page.get_by_role("button", name="Compare runs").click()
    rows.nth(2).click()
    expect(names).to_have_text("AslowBfast", timeout=SECONDS)
    cells = page.locator(".la-jobs tr", has_text="Unet learning rate").locator("td")
    assert cells.all_inner_texts() == ["Unet learning rate", "1e-5", "1e-3"]
    expect(page.locator(".la-jobs .sg img")).to_have_count(10)
    rows.nth(0).click()
    expect(names).to_have_text("AslowBfastCthird", timeout=SECONDS)
    expect(page.locator(".la-jobs tr", has_text="Unet learning rate")).to_contain_text("B, C1e-3")
    expect(page.locator(".la-jobs .sg img")).to_have_count(15)
    page.get_by_role("button", name="Use settings of B").click()
    page.wait_for_function("atelier.page.values.unet_lr === '0.001'")
    page.evaluate("atelier.openTab('jobs')")
    page.get_by_role("button", name="End comparing").click()
    expect(names).to_have_text("slow", timeout=SECONDS)


def test_a_run_is_removed_after_a_second_yes_and_its_file_stays(
    served: Served, page: Page, settings: MakeSettings
):
    job = served.store.start(settings(output_name="gone"))
    wait_until(job, "finished")
    kept = [Path(file.path) for file in job.record().lora_files()]
    look(page, served, "jobs")
    ask = page.get_by_role("button", name="Remove this run")
    ask.click(timeout=SECONDS)
    page.get_by_role("button", name="Keep it").click(timeout=SECONDS)
    assert job.folder.path.is_dir()
    ask.click()
    page.get_by_role("button", name="Remove", exact=True).click(timeout=SECONDS)
    expect(page.locator(".la-jobs .pick")).to_have_count(0, timeout=SECONDS)
    assert not job.folder.path.exists()
    assert kept
    assert all(file.is_file() for file in kept)


def test_a_double_click_asks_once_whether_a_run_goes(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("quiet")), "finished")
    look(page, served, "jobs")
    button = page.get_by_role("button", name="Remove this run")
    expect(button).to_be_visible(timeout=SECONDS)
    page.evaluate(HELD, "remove")
    button.dblclick()
    page.wait_for_function("Boolean(window.letGo)")
    assert page.evaluate("called") == 1
    page.evaluate("letGo()")
    expect(page.locator("dialog.ask")).to_have_count(1, timeout=SECONDS)


def test_a_double_click_trains_a_run_longer_once(served: Served, page: Page, settings: MakeSettings):
    job = served.store.start(settings("quiet"))
    wait_until(job, "finished")
    look(page, served)
    page.get_by_role("button", name="Train longer").click(timeout=SECONDS)
    page.get_by_label("more steps").fill("20")
    page.evaluate(HELD, "act")
    page.get_by_role("button", name="Go on training").dblclick()
    page.wait_for_function("Boolean(window.letGo)")
    assert page.evaluate("called") == 1
    page.evaluate("letGo()")
    expect(page.locator("#la-panel")).to_be_hidden(timeout=SECONDS)
    assert job.settings()["max_train_steps"] == 40
    wait_until(job, "finished")


def judged_at(job: Job, gains: list[float]) -> None:
    """Write into a finished job that it was judged, as a run does that judges itself."""
    lines = job.folder.events_file.read_text(encoding="utf-8").splitlines()
    points = [
        {"event": "judged", "time": 1.0, "step": 10 * number, "epoch": number,
         "held_out": [math.log(1 - gain)] * 8, "learned": [0.0] * 8, "drift": 0.0}
        for number, gain in enumerate(gains, 1)
    ]  # fmt: skip
    new = [json.dumps(point) for point in points] + lines[-1:]
    job.folder.events_file.write_text("\n".join(lines + new) + "\n", encoding="utf-8")


def test_a_run_with_too_few_points_names_no_file_and_offers_none(
    served: Served, page: Page, settings: MakeSettings
):
    job = served.store.start(settings("quiet"))
    wait_until(job, "finished")
    judged_at(job, [0.1, -0.2])
    look(page, served)
    card = page.locator(".la-live .card", has_text="Which file to take")
    expect(card).to_contain_text("understood 20 % worse", timeout=SECONDS)
    expect(card).to_contain_text("at least 3 points")
    expect(card.get_by_role("link")).to_have_count(0)


COLOURED = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((count, _, at) => count + (at % 4 === 0 && data[at + 1] - data[at] > 60), 0);
}"""
"""How many pixels of a drawing have the lines' green."""


def test_a_curve_of_one_point_shows_a_dot(served: Served, page: Page, settings: MakeSettings):
    job = served.store.start(settings("quiet"))
    wait_until(job, "finished")
    judged_at(job, [0.1])
    look(page, served)
    drawing = page.locator(".judged canvas").first
    expect(drawing).to_be_visible(timeout=SECONDS)
    assert drawing.evaluate(COLOURED) >= 12


def test_a_seventh_run_to_compare_is_refused_in_words(served: Served, page: Page, settings: MakeSettings):
    for number in range(7):
        wait_until(
            served.store.start(settings("quiet", output_name=f"run{number}", max_train_steps=4)), "finished"
        )
    look(page, served, "jobs")
    page.get_by_role("button", name="Compare runs").click(timeout=SECONDS)
    rows = page.locator(".la-jobs .pick")
    expect(rows).to_have_count(7, timeout=SECONDS)
    # The run that was shown is among them, unless it was not shown yet.
    for row in rows.all():
        if row.get_attribute("aria-pressed") != "true":
            row.click()
    expect(page.locator("#la-toast")).to_contain_text("up to 6 runs", timeout=SECONDS)


def test_html_in_a_prompt_stays_text(served: Served, page: Page, settings: MakeSettings):
    prompt = "<b id=hit onclick=alert(1)>cat</b><img src=x onerror=alert(1)>"
    wait_until(served.store.start(settings(sample_prompts=prompt)), "finished")
    look(page, served)
    expect(page.locator(".sg .q").first).to_have_text(prompt, timeout=SECONDS)
    page.locator("#t-jobs-button").click()
    expect(page.locator(".la-jobs .sg .q").first).to_have_text(prompt, timeout=SECONDS)
    assert page.locator("#hit, img[src=x]").count() == 0


LATE = """() => {
  const { jobs, show } = atelier.page.server;
  let free;
  const held = new Promise((go) => { free = go; });
  atelier.page.server.show = async (request) => {
    const answer = await show(request);
    if (request.lang === 'en') { window.held = true; await held; }
    return answer;
  };
  atelier.page.server.jobs = async (request) => {
    const answer = await jobs(request);
    if (request.lang === 'ja') { free(); await new Promise((go) => setTimeout(go, 100)); }
    return answer;
  };
}"""
"""The English answer about a run comes after the change of language, before the Japanese one is asked for."""


def test_a_late_answer_about_a_run_does_not_bring_the_former_language_back(
    served: Served, page: Page, settings: MakeSettings
):
    wait_until(served.store.start(settings()), "finished")
    look(page, served)
    page.evaluate(LATE)
    page.evaluate("atelier.openTab('jobs')")
    page.wait_for_function("window.held", timeout=SECONDS)
    page.locator("#head [data-lang=ja]").evaluate("(button) => button.click()")
    expect(page.locator(".la-jobs .said b")).to_have_text("LoRA ができました", timeout=SECONDS)


def test_what_stands_beside_the_list_is_dimmed_while_another_run_is_awaited(
    served: Served, page: Page, settings: MakeSettings
):
    for name in ("early", "later"):
        wait_until(served.store.start(settings("quiet", output_name=name)), "finished")
    look(page, served, "jobs")
    details = page.locator(".la-jobs .jobs > section").nth(1)
    expect(details.locator("h2").first).to_contain_text(re.compile("early|later"), timeout=SECONDS)
    expect(details).to_have_attribute("aria-busy", "false")
    page.evaluate(HELD, "show")
    page.locator(".la-jobs .pick[aria-pressed=false]").click()
    expect(details).to_have_attribute("aria-busy", "true")
    page.wait_for_function("Boolean(window.letGo)")
    page.evaluate("letGo()")
    expect(details).to_have_attribute("aria-busy", "false", timeout=SECONDS)


@pytest.mark.parametrize("tab", ["t-run", "t-jobs"])
def test_japanese_phone_has_no_sideways_scroll(
    served: Served,
    browser: Browser,
    settings: MakeSettings,
    tab: str,
):
    long = "とても長いプロンプト" * 12 + "x" * 90
    wait_until(served.store.start(settings(sample_prompts=long, output_name="n" * 80)), "finished")
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="ja-JP", color_scheme="dark")
    page = context.new_page()
    look(page, served)
    expect(title(page)).to_have_text("LoRA ができました", timeout=SECONDS)
    if tab == "t-jobs":
        page.evaluate("atelier.openTab('jobs')")
        expect(page.locator(".la-jobs h2").first).to_have_text("履歴", timeout=SECONDS)
        expect(page.locator(".la-jobs .card").first).to_be_visible(timeout=SECONDS)
    assert page.evaluate("document.documentElement.lang") == "ja"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_try_it_says_errors_and_keeps_earlier_pictures(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("quiet")), "finished")
    look(page, served)
    card = page.locator(".la-live .try")
    prompt, make = card.get_by_label("Prompt", exact=True), card.get_by_role("button", name="Make a picture")
    expect(prompt).to_have_value("sks mascot", timeout=SECONDS)
    prompt.fill("fail")
    make.click()
    expect(card.get_by_role("alert")).to_contain_text("Memory ran out while drawing.", timeout=SECONDS)
    for strength in ("0.3", "1.2"):
        prompt.fill(f"<lora:mascot:0.8> {HOSTILE}")
        card.get_by_label("Strength", exact=True).last.fill(strength)
        make.click()
        expect(card.locator("figcaption").last).to_have_text(f"with LoRA, {strength}", timeout=SECONDS)
        expect(card.get_by_role("status")).to_contain_text("Made in", timeout=SECONDS)
    expect(card.get_by_role("alert")).to_be_hidden()
    expect(card.locator(".trow .pb")).to_have_count(2)
    card.locator(".trow .pb").last.click()
    expect(card.locator("figcaption").last).to_have_text("with LoRA, 0.3")
    assert page.evaluate("window.hacked") is None


def test_try_it_can_be_stopped(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("quiet")), "finished")
    look(page, served)
    card = page.locator(".la-live .try")
    card.get_by_label("Prompt", exact=True).fill("slow", timeout=SECONDS)
    card.get_by_role("button", name="Make a picture").click()
    card.get_by_role("button", name="Stop drawing").click()
    expect(card.get_by_role("status")).to_have_text("Stopped.", timeout=SECONDS)
    expect(card.get_by_role("button", name="Make a picture")).to_be_enabled()


def test_a_file_is_explained(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("quiet")), "finished")
    look(page, served)
    page.get_by_role("button", name="All details and metadata").click(timeout=SECONDS)
    sheet = page.locator(".sheet")
    expect(sheet.locator("dl")).to_contain_text("alpha 2, counts × 0.5", timeout=SECONDS)
    expect(sheet.locator(".chips.main")).to_have_text("sks mascot")
    expect(sheet.locator(".v li")).to_have_count(3)
    sheet.locator("summary").click()
    expect(sheet.locator("td", has_text="ss_base_model_version")).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)


def test_a_remedy_continues_the_run_or_goes_into_the_form(served: Served, page: Page, settings: MakeSettings):
    job = served.store.start(settings("fail=12 quiet", train_batch_size=4))
    wait_until(job, "failed")
    look(page, served)
    for tab in ("run", "jobs"):
        page.evaluate("(tab) => atelier.openTab(tab)", tab)
        page.get_by_role("radio", name="Train batch size 4 → 2").check(timeout=SECONDS)
        page.get_by_role("button", name="Change the form", exact=True).click()
        expect(page.locator("#f-train_batch_size input")).to_be_focused(timeout=SECONDS)
        expect(page.locator("#f-train_batch_size input")).to_have_value("2")
        page.locator("#f-train_batch_size input").fill("4")
    page.evaluate("atelier.openTab('run')")
    expect(page.get_by_role("radio", name="Train batch size 4 → 2")).to_be_checked()  # Jobs has its own
    job.folder.write_json(job.folder.settings_file, {**job.settings(), "training_comment": "quiet"})
    page.get_by_role("radio", name="Turn on Gradient checkpointing").check()
    page.get_by_role("button", name="Apply and continue from step 10").click()
    expect(title(page)).to_have_text("Your LoRA is ready", timeout=SECONDS)
    assert job.settings()["gradient_checkpointing"] is True


def test_files_of_past_runs_say_their_epoch(served: Served, page: Page, settings: MakeSettings):
    wait_until(served.store.start(settings("quiet")), "finished")
    for tab in ("run", "jobs"):
        look(page, served, tab)
        files = page.locator(f".la-{'live' if tab == 'run' else 'jobs'} li", has_text="-000001")
        expect(files).to_contain_text("epoch 1", timeout=SECONDS)


@pytest.mark.parametrize("width", [pytest.param(1440, marks=pytest.mark.long), 390])
def test_long_paths_stay_in_their_place(served: Served, browser: Browser, settings: MakeSettings, width: int):
    path = "/home/someone/" + "very_long_folder_name_without_any_break" * 6
    wait_until(served.store.start(settings("quiet", train_data_dir=path, output_name="x" * 90)), "finished")
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB")
    page = context.new_page()
    look(page, served, "jobs")
    cell = page.locator(".la-jobs td", has_text=path)
    expect(cell).to_be_visible(timeout=SECONDS)
    outside = (
        "[...document.querySelectorAll('.la-jobs .card *')].filter((one) => one.offsetParent"
        " && !one.closest('.ell') && one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert page.evaluate(outside) == 0
    page.locator(".la-jobs .base").select_option("demo")
    expect(cell).to_contain_text("Preset", timeout=SECONDS)
    context.close()
