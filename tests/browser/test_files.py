"""Settings in and out of the form: files of other programs, pasted commands, presets, the list of changes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import fill_demo, open_tab, ready

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
OLD = {
    "epoch": 3, "network_dim": "20", "optimizer": "AdamW", "lora_network_weights": "", "flux1_t5xxl": "/t5",
    "learning_rate": "0.0003", "made_up": 7, "LoRA_type": "Standard", "max_resolution": "640,640",
}  # fmt: skip
COMMAND = "accelerate launch train_network.py --network_module networks.lora --network_dim 24 --no_such 3"


def value(page: Page, key: str):
    return page.evaluate("(key) => atelier.page.values[key]", key)


def choose_file(page: Page, path: Path) -> None:
    page.locator("[data-act=open]").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#la-panel .btn.p").click()
    chooser.value.set_files(path)


@pytest.mark.parametrize("language", [pytest.param("en-US", marks=pytest.mark.long), "ja-JP"])
def test_a_kohya_file_is_opened_told_key_by_key_and_undone(open_page, tmp_path, language):
    page = open_page(language=language)
    page.evaluate("atelier.write({epoch: 9})")
    path = tmp_path / "friend.json"
    path.write_text(json.dumps(OLD), encoding="utf-8")
    choose_file(page, path)
    report = page.locator("#la-panel .report")
    expect(report).to_be_visible()
    for key in ("flux1_t5xxl", "made_up", "lora_network_weights"):
        expect(report).to_contain_text(key)
    assert report.locator("li").count() >= len(OLD)
    assert (value(page, "epoch"), value(page, "network_dim"), value(page, "learning_rate")) == (3, 20, "3e-4")
    expect(page.locator("#la-config")).to_have_value("friend.json")
    page.keyboard.press("Escape")
    page.locator("#la-toast .btn").click()
    page.wait_for_function("atelier.page.values.epoch === 9 && atelier.page.values.network_dim === 8")
    expect(page.locator("#la-config")).to_have_value("")
    expect(page.locator("[data-act=report]")).to_be_hidden()


def test_the_report_leads_to_the_field_and_stays_at_hand(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "friend.json"
    path.write_text(json.dumps(OLD), encoding="utf-8")
    choose_file(page, path)
    page.locator("#la-panel details[data-kind=taken] summary").click()
    page.locator("#la-panel details[data-kind=taken] li", has_text="Max resolution").locator(".link").click()
    page.wait_for_function("document.activeElement.closest('#f-max_resolution') !== null")
    page.locator("[data-act=report]").click()
    expect(page.locator("#la-panel .report")).to_contain_text("made_up")
    page.keyboard.press("Escape")
    page.locator("[data-lang=ja]").click()
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    ready(page)
    expect(page.locator("#la-config")).to_have_value("friend.json")
    page.locator("[data-act=report]").click()
    expect(page.locator("#la-panel .report")).to_contain_text("made_up")
    expect(page.locator("#la-panel .report")).to_contain_text("読み取った形式")


def test_what_is_not_ours_is_written_back_even_after_a_reload(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "friend.json"
    path.write_text(json.dumps(OLD), encoding="utf-8")
    choose_file(page, path)
    page.wait_for_function("atelier.page.look.changed.network_dim === '8'")
    page.reload()
    ready(page)
    page.locator("[data-act=save_as]").click()
    page.locator("#la-panel input").fill(str(tmp_path / "saved.json"))
    page.keyboard.press("Enter")
    expect(page.locator("#la-toast")).to_contain_text("saved.json")
    written = json.loads((tmp_path / "saved.json").read_text(encoding="utf-8"))
    assert (written["flux1_t5xxl"], written["network_dim"], written["epoch"]) == ("/t5", 20, 3)


def test_a_pasted_command_is_read(open_page):
    page = open_page()
    page.locator("[data-act=open]").click()
    page.locator("#la-panel textarea").fill(COMMAND)
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("#la-panel .report .prob")).to_contain_text("no_such")
    assert value(page, "network_dim") == 24


def test_a_file_that_is_not_utf_8_is_read_again_as_the_person_says(open_page, tmp_path):
    page = open_page()
    path = tmp_path / "old.toml"
    as_korean = "고양이".encode("cp949")
    path.write_bytes(b'network_module = "networks.lora"\noutput_name = "' + as_korean + b'"\n')
    choose_file(page, path)
    page.wait_for_function("atelier.page.values.output_name === '고양이'")
    again = page.locator("#la-panel .readings li", has_text=as_korean.decode("gbk"))
    again.get_by_role("button", name="Read it as GBK").click()
    expect(page.locator("#la-panel .report")).to_contain_text("as chosen: output_name")
    assert value(page, "output_name") == as_korean.decode("gbk")


def test_nonsense_is_refused_and_the_form_stays(open_page):
    page = open_page()
    page.evaluate("atelier.write({epoch: 9})")
    page.locator("[data-act=open]").click()
    page.locator("#la-panel textarea").fill("please train me a LoRA")
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("#la-toast.bad")).to_be_visible()
    expect(page.locator("#la-panel textarea")).to_have_value("please train me a LoRA")
    assert value(page, "epoch") == 9


def test_a_lora_file_dropped_on_the_page_is_trained_again(open_page):
    """A large file: its header is read, not its 40 MB."""
    page = open_page()
    tensors = {
        "lora_unet_x.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [6, 8], "data_offsets": [4, 196]},
        "lora_unet_x.lora_up.weight": {
            "dtype": "F32",
            "shape": [10**7],
            "data_offsets": [196, 196 + 4 * 10**7],
        },
    }
    text = json.dumps(tensors).encode()
    head = list(len(text).to_bytes(8, "little") + text + struct.pack("<f", 3.0))
    page.evaluate(
        """([head, size]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(head), new Uint8Array(size)], "friend.safetensors"));
          const drop = { dataTransfer: data, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new DragEvent("drop", drop));
        }""",
        [head, 192 + 4 * 10**7],
    )
    page.wait_for_function("atelier.page.values.network_dim === 6 && atelier.page.values.network_alpha === 3")
    expect(page.locator("#la-panel .report")).to_be_visible()


@pytest.mark.parametrize("language", [pytest.param("en-US", marks=pytest.mark.long), "ja-JP"])
def test_a_preset_shows_what_it_changes_is_applied_and_undone(open_page, root, tmp_path, language):
    page = open_page(language=language)
    fill_demo(page, root, tmp_path / "out", max_train_steps=77)
    page.locator("[data-act=presets]").click()
    page.locator("[data-preset=vram_6gb]").click()
    rows = page.locator("#la-panel tbody tr")
    row = rows.filter(has_text="Max train steps")
    expect(row.locator("td").nth(1)).to_have_text("77")
    expect(row.locator("td").nth(2)).to_have_text("0")
    assert rows.filter(has_text="Image folder").count() == 0  # one's own
    page.locator("#la-panel .btn.p").click()
    page.wait_for_function("atelier.page.values.gradient_checkpointing === true")
    assert value(page, "max_train_steps") == 0
    assert value(page, "output_name") == "owl"
    page.locator("#la-toast .btn").click()
    page.wait_for_function("atelier.page.values.gradient_checkpointing === false")
    assert value(page, "max_train_steps") == 77


def test_the_list_of_changes_resets_all_and_takes_it_back(open_page, root, tmp_path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out")
    open_tab(page, "folders")
    page.locator("[data-act=changed]").click()
    expect(page.locator("#la-panel tbody tr", has_text="Max train steps").locator("b")).to_have_text("20")
    page.get_by_role("button", name="Back to all defaults").click()
    page.wait_for_function("Object.keys(atelier.page.look.changed).length === 0")
    page.locator("#la-toast .btn").click()
    page.wait_for_function("atelier.page.values.max_train_steps === 20")


def test_commands_are_copied(open_page, root, tmp_path):
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fill_demo(page, root, tmp_path / "out")
    page.locator("[data-act=command]").click()
    page.locator("#la-panel section", has_text="sd-scripts").first.get_by_role("button").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("accelerate launch")
    assert "train_network.py" in copied


def test_a_block_tells_what_its_number_means(open_page):
    page = open_page()
    open_tab(page, "advanced")
    page.locator('.la-unet[data-kind=weights] input[aria-label="OUT3"]').fill("0.6")
    block = page.locator("#la-block")
    expect(block).to_contain_text("Up LR weights, 4 / 12")
    expect(block).to_contain_text("0.6 × 1e-4 = 6e-5")
    block.locator("input[type=range]").fill("0.3")
    expect(page.locator("#f-up_lr_weight input")).to_have_value("1,1,1,0.3,1,1,1,1,1,1,1,1")
    expect(block).to_contain_text("0.3 × 1e-4 = 3e-5")
    page.locator("#f-block_lr_zero_threshold input").fill("0.5")
    page.locator('.la-unet[data-kind=weights] input[aria-label="OUT3"]').focus()
    expect(block).to_contain_text("nothing is added")


def test_choices_are_told_in_words_and_keep_their_values(open_page):
    page = open_page(language="ja-JP")
    open_tab(page, "training")
    page.locator("#f-lr_scheduler input").click()
    option = page.locator("#f-lr_scheduler [role=option][aria-label=constant]")
    assert len(option.get_attribute("data-words") or "") > 3
    option.click()
    page.wait_for_function("atelier.page.values.lr_scheduler === 'constant'")
    expect(page.locator("#f-lr_scheduler input")).to_have_value("constant")


def test_which_setting_decides_the_length_is_said(open_page, root, tmp_path):
    page = open_page()
    fill_demo(page, root, tmp_path / "out", max_train_steps=0, epoch=2)
    open_tab(page, "training")
    expect(page.locator("#la-sum")).to_contain_text("Epoch decides the length: 2 epochs.")
    page.locator("#f-max_train_steps input").fill("50")
    expect(page.locator("#la-sum")).to_contain_text("Max train steps decides the length: 50 steps.")
    expect(page.locator("#f-epoch .la-note")).to_have_text("Idle: only without Max train steps.")


def test_a_name_typed_with_its_ending_before_the_ending_that_stands_there_has_one(open_page):
    page = open_page()
    page.evaluate("atelier.write({network_dim: 12})")
    page.locator("[data-act=save_as]").click()
    name = page.locator("#la-panel input")
    expect(name).to_be_focused()
    page.keyboard.type("mine.json")
    expect(name).to_have_value("mine.json.json")
    page.keyboard.press("Enter")
    expect(page.locator("#la-config")).to_have_value("mine.json")
    assert Path(page.evaluate("atelier.page.saved")).is_file()


def test_save_as_saves_once_and_closes_and_unsaved_changes_have_a_mark(open_page, tmp_path: Path):
    page = open_page()
    mark, config = page.locator("#la-unsaved"), page.locator("#la-config")
    expect(mark).to_be_hidden()
    page.evaluate("atelier.write({network_dim: 12})")
    expect(mark).to_be_visible()
    page.locator("[data-act=save_as]").focus()
    page.keyboard.press("Enter")
    page.locator("#la-panel input").fill("my owl 1.0")
    page.keyboard.press("Enter")
    expect(page.locator("#la-toast")).to_contain_text("my owl 1.0.json")
    expect(page.locator("#la-panel")).to_be_hidden()
    expect(config).to_have_value("my owl 1.0.json")
    assert config.get_attribute("title").endswith("configs/my owl 1.0.json")
    expect(mark).to_be_hidden()
    page.evaluate("atelier.write({network_dim: 20})")
    expect(mark).to_be_visible()
    page.reload()
    ready(page)
    expect(mark).to_be_visible()
    expect(config).to_have_value("my owl 1.0.json")
    config.focus()
    expect(config).to_have_value(config.get_attribute("title"))
    page.locator("[data-act=save]").click()
    expect(mark).to_be_hidden()
    page.evaluate("atelier.write({network_dim: 12})")
    expect(mark).to_be_visible()
    config.fill("my owl 1.0")
    page.keyboard.press("Enter")
    page.wait_for_function("atelier.page.values.network_dim === 20")
    expect(mark).to_be_hidden()
    page.evaluate("atelier.write({network_dim: 9})")
    page.locator("[data-act=presets]").click()
    page.locator("#la-panel .own button", has_text="my owl 1.0").click()
    page.wait_for_function("atelier.page.values.network_dim === 20")
    expect(page.locator("#la-panel")).to_be_hidden()
