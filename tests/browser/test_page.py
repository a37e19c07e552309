"""The page in a real browser: fields, marks, problems, search, files, drafts, languages, Train and Stop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.form.groups import fold_of
from tests.browser.conftest import fill_demo, open_tab, ready
from tests.trainer.made import SD1, SDXL, model_file
from trainer.settings import TRAINING

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_first_key_in_a_new_tab_is_heard_and_a_problem_mended_and_undone(open_page, root):
    page = open_page()
    open_tab(page, "folders")
    inner = str(root / "presets" / "demo" / "pictures" / "10_sks mascot")
    field = page.locator("#f-train_data_dir")
    field.locator("input").fill(inner)
    expect(field.locator(".prob")).to_contain_text("10_sks mascot", timeout=60_000)
    expect(field.locator("input")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#t-folders-button")).to_have_attribute("data-n", "1")
    field.locator(".prob .btn").click()
    expect(field.locator("input")).to_have_value(str(Path(inner).parent))
    expect(field.locator(".prob")).to_have_count(0)
    expect(page.locator("#la-dataset .bk .pic")).to_have_count(10, timeout=60_000)
    page.locator("#la-toast .btn").click()
    expect(field.locator("input")).to_have_value(inner)


def test_pictures_without_a_numbered_folder_are_used_as_they_lie(open_page, root, tmp_path):
    own = shutil.copytree(root / "presets" / "demo" / "pictures" / "10_sks mascot", tmp_path / "my owl")
    page = open_page()
    fill_demo(page, root, tmp_path / "out")
    open_tab(page, "folders")
    page.evaluate("(path) => atelier.write({train_data_dir: path})", str(own))
    train, button = page.locator("[data-act=train]"), page.locator("#f-train_data_dir .prob .btn")
    expect(button).to_have_text("Use these pictures as they are, 10 times each")
    button.click()
    expect(train).to_have_attribute("aria-disabled", "false")
    expect(page.locator("#la-dataset .stats")).to_contain_text("my owl")
    page.locator("#la-toast").get_by_role("button", name="Undo").click()
    expect(button).to_be_visible()


@pytest.mark.parametrize("language", ["en-US", pytest.param("ja-JP", marks=pytest.mark.long)])
def test_one_setting_of_every_place_is_reached_from_the_search(open_page, language):
    page = open_page(language=language)
    places = {
        (setting.spec.tab, setting.spec.group, fold_of(TRAINING[key])): key
        for key, setting in TRAINING.items()
    }
    for key in places.values():
        page.locator("#la-search").fill(key)
        hit = page.locator(f'#la-found [data-key="{key}"]')
        expect(hit).to_be_visible()
        hit.click()
        page.wait_for_function(f"document.activeElement.closest('#f-{key}') !== null")
        expect(page.locator("#la-rail .card.help code").last).to_have_text(key)


def test_changed_mark_and_reset(open_page):
    page = open_page()
    open_tab(page, "training")
    field = page.locator("#f-epoch")
    field.locator("input").fill("7")
    reset = field.get_by_role("button", name="Back to the default: 1")
    expect(reset).to_be_visible(timeout=60_000)
    reset.click()
    expect(field.locator("input")).to_have_value("1")
    expect(reset).to_be_hidden()


def test_field_is_idle_until_its_condition_holds(open_page):
    page = open_page()
    page.evaluate("atelier.goTo('lr_scheduler_power')")
    note = page.locator("#f-lr_scheduler_power .la-note")
    expect(note).to_have_text("Idle: only with LR Scheduler polynomial.")
    open_tab(page, "training")
    page.locator("#f-lr_scheduler input").click()
    page.locator("[role=option]", has_text="polynomial").click()
    page.wait_for_function("!('lr_scheduler_power' in atelier.page.look.idle)")
    open_tab(page, "advanced")
    expect(note).to_be_hidden()


@pytest.mark.parametrize("language", ["en-US", pytest.param("ja-JP", marks=pytest.mark.long)])
def test_train_goes_to_the_first_problem_even_in_a_tab_never_opened(open_page, root, tmp_path, language):
    page = open_page(language=language)
    fill_demo(page, root, tmp_path / "out")
    page.evaluate("atelier.write({network_dim: -4})")
    expect(page.locator("[data-act=train]")).to_have_attribute("aria-disabled", "true", timeout=60_000)
    page.locator("[data-act=train]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#f-network_dim') !== null")
    expect(page.locator("#f-network_dim .prob")).to_be_visible()


def test_draft_survives_reload_second_tab_and_language_switch(open_page):
    page = open_page()
    open_tab(page, "training")
    page.locator("#f-network_dim input").fill("24")
    page.wait_for_function("atelier.page.look.changed.network_dim === '8'")
    page.reload()
    assert ready(page).evaluate("atelier.page.values.network_dim") == 24
    second = page.context.new_page()
    second.goto(page.url)
    assert ready(second).evaluate("atelier.page.values.network_dim") == 24
    page.locator("[data-lang=ja]").click()
    page.wait_for_function("document.documentElement.lang === 'ja' && document.documentElement.dataset.ready")
    ready(page)
    expect(page.locator("#t-folders-button")).to_contain_text("フォルダ")
    open_tab(page, "training")
    expect(page.locator("#f-network_dim input")).to_have_value("24")
    expect(page.locator("#f-network_dim .la-ja")).to_contain_text("ランク")
    expect(page.get_by_role("button", name="学習開始", exact=True)).to_be_visible()


def test_save_as_and_load(open_page, tmp_path):
    page = open_page()
    page.evaluate("atelier.write({network_dim: 12, unet_lr: '3e-5'})")
    page.wait_for_function("atelier.page.look.changed.network_dim === '8'")
    page.locator("[data-act=save_as]").click()
    page.locator("#la-panel input").fill(str(tmp_path / "mine.json"))
    page.keyboard.press("Enter")
    expect(page.locator("#la-toast")).to_contain_text("mine.json")
    page.evaluate("atelier.write({network_dim: 99, unet_lr: ''})")
    page.locator("#la-config").fill(str(tmp_path / "mine.json"))
    page.locator("[data-act=load]").click()
    page.wait_for_function("atelier.page.values.network_dim === 12 && atelier.page.values.unet_lr === '3e-5'")


def test_quick_pick_fills_the_path_and_a_path_makes_it_custom(open_page):
    page = open_page()
    page.locator("#f-model_list input").click()
    page.locator("[role=option]", has_text="stable-diffusion-2-1-base").click()
    path = page.locator("#f-pretrained_model_name_or_path input")
    expect(path).to_have_value("stabilityai/stable-diffusion-2-1-base")
    expect(page.locator("#la-toast")).to_contain_text("v2 set to fit")
    path.fill("/models/mine.safetensors")
    expect(page.locator("#f-model_list input")).to_have_value("custom")


def test_a_chosen_model_sets_its_switches_and_undo_takes_them_back(open_page, tmp_path):
    noob = model_file(tmp_path / "noob.safetensors", {**SDXL, "v_pred": (0,), "ztsnr": (0,)})
    plain = model_file(tmp_path / "plain.safetensors", SD1)
    page = open_page()
    path, line = page.locator("#f-pretrained_model_name_or_path input"), page.locator("#la-toast")
    keys = "['sdxl', 'v_parameterization', 'zero_terminal_snr']"
    are = f"on => {keys}.every(key => atelier.page.values[key] === on)"
    path.fill(str(noob))
    expect(line).to_contain_text(
        "SDXL Model, v_parameterization, Zero terminal SNR set to fit", timeout=60_000
    )
    expect(page.locator("#n-pretrained_model_name_or_path")).to_contain_text("zero terminal SNR")
    page.wait_for_function(are, arg=True)
    line.get_by_role("button", name="Undo").click()
    page.wait_for_function(are, arg=False)
    page.locator("#f-sdxl .prob .btn").click()  # one click ends the contradiction
    page.wait_for_function(are, arg=True)
    open_tab(page, "advanced")
    expect(page.locator('.la-unet[data-kind=weights] input[aria-label="MID1"]')).to_be_visible()
    open_tab(page, "source_model")
    path.fill(str(plain))
    page.wait_for_function(are, arg=False)
    path.fill(str(noob))
    line.get_by_role("button", name="Max resolution 1024 × 1024, too").click()
    page.wait_for_function("atelier.page.values.max_resolution === '1024,1024'")
    page.wait_for_function(are, arg=True)


def test_blocks_and_their_text_fields_keep_in_step(open_page):
    page = open_page()
    open_tab(page, "advanced")
    page.locator('.la-unet[data-kind=weights] input[aria-label="IN1"]').fill("0.25")
    expect(page.locator("#f-down_lr_weight input")).to_have_value("1,0.25,1,1,1,1,1,1,1,1,1,1")
    page.locator("#f-up_lr_weight input").fill("0,0,0,0.6,0,0,0,0,0,0,0,0")
    expect(page.locator('.la-unet[data-kind=weights] input[aria-label="OUT3"]')).to_have_value(
        "0.6", timeout=60_000
    )


def test_train_shows_the_run_and_stop_ends_it(open_page, root, tmp_path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out", training_comment="seconds=0.3", max_train_steps=2000)
    page.locator("[data-act=train]").click()
    expect(page.locator("#t-run-button")).to_have_attribute("aria-selected", "true")
    stop = page.locator("[data-act=stop]")
    expect(stop).to_have_attribute("aria-disabled", "false", timeout=60_000)
    page.reload()
    ready(page)
    expect(stop).to_have_attribute("aria-disabled", "false", timeout=60_000)
    stop.click()
    page.wait_for_function("atelier.run.state === 'stopped'", timeout=60_000)
    expect(stop).to_have_attribute("aria-disabled", "true")


def test_command_can_be_read_in_the_page(open_page, root, tmp_path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out")
    page.locator("[data-act=command]").click()
    expect(page.locator("#la-panel")).to_contain_text("python -m trainer train")
    expect(page.locator("#la-panel")).to_contain_text("train_network.py")
    page.keyboard.press("Escape")
    expect(page.locator("#la-panel")).to_be_hidden()


def test_a_key_leaves_the_form_is_said_to_be_kept_and_can_be_forgotten(open_page):
    page = open_page()
    page.evaluate("atelier.goTo('wandb_api_key')")
    field, note = page.locator("#f-wandb_api_key input"), page.locator("#f-wandb_api_key .la-kept")
    expect(note).to_be_hidden()
    field.fill("abcdef0123456789")
    field.press("Tab")
    expect(note).to_contain_text("kept on this computer")
    expect(field).to_have_value("")
    page.reload()
    ready(page)
    page.evaluate("atelier.goTo('wandb_api_key')")
    expect(note).to_contain_text("kept on this computer")
    note.locator("button").click()
    expect(note).to_be_hidden()
