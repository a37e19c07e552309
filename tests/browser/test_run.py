"""From Train to the LoRA file in a real browser, with the real trainer and the demo model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import fill_demo, open_tab, ready, served
from trainer.events import Failed, Step, read_events
from trainer.files.job_folder import JobFolder
from trainer.lora.info import describe

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
LONG = 600_000
"""Milliseconds: a trainer has to start and load, on a busy machine too."""
SMALL = {
    "max_resolution": "64,64", "min_bucket_reso": 64, "train_batch_size": 1, "network_dim": 4,
    "sample_prompts": "sks mascot --w 64 --h 64 --s 4 --d 7", "text_encoder_lr": "0",
    "save_every_n_epochs": 0, "num_cpu_threads_per_process": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    with served(workspace, "real") as url:
        yield url


def title(page: Page):
    return page.locator(".la-live h2").first


def files_of(page: Page, name: str):
    """The lines of the run's files with this in their names."""
    return page.locator(".la-live .files li").filter(has_text=name).first


def train(page: Page) -> None:
    button = page.locator("[data-act=train]")
    expect(button).to_have_attribute("aria-disabled", "false", timeout=LONG)
    button.click()


@contextmanager
def halted_after_a_step(jobs: Path, before: set[Path]) -> Iterator[None]:
    """Inside, the process of the job that was not there before stands still: it cannot end unseen."""
    while not (new := {*jobs.glob("*")} - before) or not _has_begun(JobFolder(min(new))):
        time.sleep(0.01)
    pid = json.loads(JobFolder(min(new)).process_file.read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _has_begun(job: JobFolder) -> bool:
    """Whether a step was made, or none will be."""
    return any(isinstance(event, (Step, Failed)) for _, _, event in read_events(job.events_file))


def test_the_demo_from_its_offer_to_a_picture_with_it(open_page, workspace: Path):
    page = open_page()
    page.locator("#la-offer .btn.p").click()
    page.wait_for_function("String(atelier.page.values.max_train_steps) === '160'")
    short = {"max_train_steps": 24, "sample_every_n_steps": 12}
    page.evaluate("(values) => atelier.write(values)", {**SMALL, **short})
    jobs = workspace / "jobs"
    before = {*jobs.glob("*")}
    train(page)
    with halted_after_a_step(jobs, before):
        expect(title(page)).to_contain_text("Training, step", timeout=LONG)
        page.reload()
        open_tab(ready(page), "run")
        expect(title(page)).to_contain_text("of 24", timeout=LONG)
    expect(page.locator(".la-live .pb img").first).to_be_visible(timeout=LONG)
    expect(title(page)).to_have_text("Your LoRA is ready", timeout=LONG)
    assert page.locator(".la-live .sg img").count() == 3
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    kept = workspace / "kept.safetensors"
    download.value.save_as(kept)
    assert {module.dim for module in describe(kept).modules} == {4}
    tried(page)
    expect(page.locator(".la-live .v li").filter(has_text="ComfyUI")).to_contain_text("yes")
    trained_longer(page)


def trained_longer(page: Page) -> None:
    """The same job goes on for six steps more: curve, samples and files with it."""
    page.get_by_role("button", name="Train longer").click()
    page.get_by_label("more steps").fill("6")
    page.get_by_role("button", name="Go on training").click()
    page.wait_for_function("atelier.run.state === 'finished' && atelier.run.now.total === 30", timeout=LONG)
    expect(files_of(page, "step00000024")).to_be_visible(timeout=LONG)
    assert page.evaluate("atelier.run.now.step") == 30
    assert page.locator(".la-live .sg img").count() >= 3


def tried(page: Page) -> None:
    """A picture with the LoRA and one without, made from the page."""
    card = page.locator(".la-live .try")
    expect(card.get_by_label("Prompt", exact=True)).to_have_value("sks mascot")
    card.get_by_label("Strength", exact=True).last.fill("1.2")
    card.get_by_role("button", name="Make a picture").click()
    expect(card.locator("figure img")).to_have_count(2, timeout=LONG)
    expect(card.get_by_role("status")).to_contain_text("with the base model of this run", timeout=LONG)
    sides = "[...document.querySelectorAll('.la-live .try figure img')].map((one) => one.naturalWidth)"
    page.wait_for_function(f"{sides}.join() === '64,64'")
    urls = card.locator("figure img").evaluate_all("(all) => all.map((one) => one.src)")
    assert page.request.get(urls[0]).body() != page.request.get(urls[1]).body()


@pytest.mark.long
def test_sdxl_is_trained_from_a_japanese_page(open_page, root: Path, workspace: Path):
    """The model is chosen, SDXL is told by its file and taken over by the button; then Train."""
    checkpoint = workspace / "tiny_xl.safetensors"
    make = [sys.executable, "-m", "tests.checkpoints", str(checkpoint), "--family", "sdxl"]
    subprocess.run(make, check=True, cwd=root)
    page = open_page(language="ja-JP")
    out = workspace / "out"
    short = {
        "max_train_steps": 2,
        "output_name": "xl",
        "sample_every_n_steps": 2,
        "text_encoder_lr": "1e-4 5e-5",
    }
    fill_demo(page, root, out, **{**SMALL, **short})
    page.evaluate("(path) => atelier.write({pretrained_model_name_or_path: path})", str(checkpoint))
    page.wait_for_function(
        "atelier.page.values.sdxl === true || document.querySelector('#f-sdxl .prob button')"
    )
    if not page.evaluate("atelier.page.values.sdxl"):
        page.locator("#f-sdxl .prob button").first.click()
    page.evaluate("(values) => atelier.write(values)", {"max_resolution": "64,64"})
    train(page)
    expect(title(page)).to_contain_text("LoRA ができました", timeout=4 * LONG)
    modules = describe(out / "xl.safetensors").modules
    assert {module.name.split("_text")[0] for module in modules} >= {"lora_te1", "lora_te2"}
    assert page.locator(".la-live .sg img").count() == 1


def test_save_pause_and_stop_in_the_middle_leave_loras_that_can_be_used(
    open_page, root: Path, workspace: Path
):
    page = open_page(language="ja-JP")
    out = workspace / "out"
    prompt = "sks mascot --w 64 --h 64 --s 2"
    values = {**SMALL, "max_train_steps": 400_000, "output_name": "stopped", "sample_prompts": prompt}
    fill_demo(page, root, out, **values)
    train(page)
    expect(title(page)).to_contain_text("学習中", timeout=LONG)
    page.wait_for_function("atelier.run.now?.step >= 5", timeout=LONG)
    page.get_by_role("button", name="今すぐ保存").click()
    page.get_by_role("button", name="今すぐサンプル").click()
    expect(page.locator(".la-live .pb img").first).to_be_visible(timeout=LONG)
    expect(files_of(page, "stopped-step")).to_be_visible(timeout=LONG)
    saved = max(int(path.stem[-8:]) for path in out.glob("stopped-step*.safetensors"))
    # A pause at the very step that was saved needs no second file.
    page.wait_for_function("(step) => atelier.run.now.step > step", arg=saved, timeout=LONG)
    page.get_by_role("button", name="一時停止").click()
    expect(title(page)).to_contain_text("一時停止しました", timeout=LONG)
    paused = page.evaluate("atelier.run.now.step")
    page.locator(".la-live .out .btn").filter(has_text="再開").click()
    page.wait_for_function("(step) => atelier.run.state === 'running' && atelier.run.now.step > step",
                           arg=paused, timeout=LONG)  # fmt: skip
    page.locator("[data-act=stop]").click()
    page.wait_for_function("atelier.run.state === 'stopped'", timeout=LONG)
    expect(page.locator(".la-live .out")).to_contain_text("stopped", timeout=LONG)
    files = list(out.glob("stopped*.safetensors"))
    assert len(files) == 3, "saved, paused, stopped"
    assert all(describe(file).modules for file in files)
    expect(page.locator(".la-live .out .btn").filter(has_text="再開")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "said"), [("en-US", "there is no folder"), ("ja-JP", "ありません")], ids=["en", "ja"]
)
def test_a_wrong_folder_is_said_in_the_page(open_page, root: Path, workspace: Path, language: str, said: str):
    page = open_page(language=language)
    fill_demo(page, root, workspace / "out")
    page.evaluate("(path) => atelier.write({train_data_dir: path})", str(workspace / "none"))
    button = page.locator("[data-act=train]")
    expect(button).to_have_attribute("aria-disabled", "true", timeout=LONG)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#f-train_data_dir .prob")).to_contain_text(said, timeout=LONG)
