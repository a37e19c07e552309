"""The dataset room, choosing files and sending pictures, as a person does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.app.dataset.conftest import draw, lora_header
from tests.browser.conftest import HELD, open_tab, ready
from tests.browser.test_accessibility import AXE, SERIOUS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
CROP = """() => {
  const fitOf = (picture) => atelier.room.data.fits[picture.fits[0]];
  const cutOff = ({ bucket, resized }) => bucket[0] < resized[0] - 4 || bucket[1] < resized[1] - 4;
  const picture = atelier.room.pictures.find((one) => one.fits.length && cutOff(fitOf(one)));
  const cards = [...document.querySelectorAll('.room-card')];
  const card = cards.find((one) => one.innerHTML.includes(picture.name));
  const box = (part) => card.querySelector(`.room-whole${part}`).getBoundingClientRect();
  const [whole, cut] = ['', ' i'].map(box);
  return [[cut.width / whole.width, cut.height / whole.height], fitOf(picture)];
}"""
PROPOSE = """() => atelier.proposeCaptions(
  [{ path: `${atelier.room.data.folders[0].path}/0.png`, caption: 'new' }])"""
expect.set_options(timeout=60_000)  # a busy machine takes its time
COLOURS = ("red", "blue", "green", "gold", "navy", "pink")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures with captions, one without, one damaged, one with a caption of another ending."""
    inner = tmp_path / "img" / "4_momo"
    for number, colour in enumerate(COLOURS):
        draw(inner / f"{number}.png", (160 + 40 * number, 120), colour)
        (inner / f"{number}.txt").write_text(f"momo, {colour}, smile", encoding="utf-8")
    draw(inner / "bare.png", (300, 300), "white")
    draw(inner / "other.png", (300, 300), "black").with_suffix(".caption").write_text("momo, black")
    (inner / "damaged.png").write_bytes(b"\x89PNG")
    return inner


def open_room(page: Page, folder: Path) -> None:
    open_tab(page, "folders")
    values = {"train_data_dir": str(folder.parent), "caption_extension": ".txt", "max_resolution": "128,128"}
    page.evaluate("(values) => atelier.write(values)", values)
    page.locator("[data-act=room]").click()
    page.wait_for_function("atelier.room?.pictures.length === 9 && document.querySelector('.room-card')")


def captions(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}


def test_captions_are_changed_compared_written_and_restored(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    before = captions(folder)
    page.locator(".room-tags button", has_text="smile").click()
    expect(page.locator(".room-card:visible")).to_have_count(6)
    page.locator(".room-list").focus()
    page.keyboard.press("Control+a")
    page.locator(".room-bulk select").select_option("replace")
    page.locator(".room-bulk [name=tags]").fill("smile")
    page.locator(".room-bulk [name=by]").fill("grin, happy")
    page.locator(".room-bulk .btn.p").click()
    expect(page.locator(".room-foot")).to_contain_text("6 captions changed")
    assert captions(folder) == before, "nothing is written yet"
    page.locator(".room-foot .btn.p").click()
    expect(page.locator(".room-change")).to_have_count(6)
    expect(page.locator(".room-change ins").first).to_have_text(" grin")
    page.locator(".room-change .ib").first.click()
    page.locator(".room-write").click()
    expect(page.locator("#la-toast")).to_contain_text("5 captions written")
    changed = captions(folder)
    assert changed["0.txt"] == before["0.txt"]
    assert changed["1.txt"] == "momo, blue, grin, happy"
    page.locator("#la-toast .btn").click()
    expect(page.locator("#la-toast")).to_contain_text("5 captions are as they were")
    assert captions(folder) == before


def test_what_is_typed_while_captions_are_written_stays_a_change(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-card", has_text="momo, red, smile").click()
    page.locator(".room-caption").fill("momo, crimson")
    page.locator(".room-foot .btn.p").click()
    page.evaluate(HELD, "room_write")
    page.locator(".room-write").click()
    page.locator(".room-changes-head .btn", has_text="Back").click()
    page.locator(".room-card", has_text="momo, blue, smile").click()
    page.locator(".room-caption").fill("momo, azure")
    page.wait_for_function("Boolean(window.letGo)")
    page.evaluate("letGo()")
    expect(page.locator("#la-toast")).to_contain_text("1 caption written")
    expect(page.locator(".room-foot")).to_contain_text("1 caption changed")
    assert captions(folder)["1.txt"] == "momo, blue, smile"
    page.locator(".room-foot .btn.p").click()
    page.evaluate("window.letGo = null")
    page.locator(".room-write").click()
    page.wait_for_function("Boolean(window.letGo)")
    page.evaluate("letGo()")
    expect(page.locator(".room-foot")).to_be_hidden()
    assert captions(folder)["1.txt"] == "momo, azure"


def test_what_is_typed_while_many_captions_are_changed_stays(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-list").focus()
    page.keyboard.press("Control+a")
    page.locator(".room-bulk select").select_option("replace")
    page.locator(".room-bulk [name=tags]").fill("smile")
    page.locator(".room-bulk [name=by]").fill("grin")
    page.evaluate(HELD, "room_edit")
    page.locator(".room-bulk .btn.p").click()
    page.locator(".room-card", has_text="momo, red, smile").click()
    page.locator(".room-caption").fill("momo, crimson, smile")
    page.wait_for_function("Boolean(window.letGo)")
    page.evaluate("letGo()")
    expect(page.locator(".room-card", has_text="grin")).to_have_count(5)
    expect(page.locator(".room-card", has_text="momo, crimson, smile")).to_be_visible()
    expect(page.locator(".room-foot")).to_contain_text("6 captions changed")


def test_one_caption_is_typed_undone_and_kept_through_a_reload(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-card", has_text="momo, red, smile").click()
    page.locator(".room-caption").fill("momo, crimson")
    expect(page.locator(".room-foot")).to_contain_text("1 caption changed")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    open_room(page, folder)
    expect(page.locator(".room-card", has_text="momo, crimson")).to_be_visible()
    page.locator(".room-filters [data-filter=changed]").click()
    expect(page.locator(".room-card:visible")).to_have_count(1)
    page.locator(".room-foot .btn.p").click()
    page.locator(".room-changes-head .btn", has_text="Discard").click()
    expect(page.locator(".room-card:visible", has_text="momo, crimson")).to_have_count(0)
    assert captions(folder)["0.txt"] == "momo, red, smile"


def test_two_tabs_on_one_room_lose_nothing_of_each_other(open_page, folder: Path):
    one = open_page()
    two = one.context.new_page()
    two.goto(one.url)
    for page in (one, two):
        open_room(ready(page), folder)
    for page, colour in ((one, "red"), (two, "blue")):
        page.locator(".room-card", has_text=f"momo, {colour}, smile").click()
        page.locator(".room-caption").fill(f"momo, dark {colour}")
        expect(page.locator(".room-foot")).to_contain_text("1 caption changed")
    one.reload()
    open_room(ready(one), folder)
    expect(one.locator(".room-card", has_text="momo, dark red")).to_be_visible()
    expect(one.locator(".room-card", has_text="momo, dark blue")).to_be_visible()
    for page in (one, two):  # the second finds what it would write
        page.locator(".room-foot .btn.p").click()
        page.locator(".room-write").click()
        expect(page.locator(".room-foot")).to_be_hidden()
    assert captions(folder)["0.txt"] == "momo, dark red"
    assert captions(folder)["1.txt"] == "momo, dark blue"


def test_filters_find_what_is_wrong_and_the_other_ending_is_copied(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    for name, count in (("unreadable", 1), ("no_caption", 2), ("others", 1)):
        page.locator(f".room-filters [data-filter={name}]").click()
        expect(page.locator(".room-card:visible")).to_have_count(count)
    page.locator(".room-note .btn", has_text="Copy missing").click()
    page.locator(".room-write").click()
    expect(page.locator("#la-toast")).to_contain_text("1 caption written")
    assert captions(folder)["other.txt"] == "momo, black\n"


def test_one_may_type_while_the_pictures_are_looked_at(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-find").press_sequentially("momo, blue", delay=30)
    expect(page.locator(".room-find")).to_be_focused()
    expect(page.locator(".room-find")).to_have_value("momo, blue")
    expect(page.locator(".room-card:visible")).to_have_count(1)


def test_the_crop_is_drawn_where_the_trainer_cuts(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.wait_for_selector(".room-card img[src]")
    shares, fit = page.evaluate(CROP)
    for share, bucket, resized in zip(shares, fit["bucket"], fit["resized"], strict=True):
        assert abs(share - bucket / resized) < 0.02


def test_repeats_and_words_of_a_folder_change_without_renaming_it(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-card", has_text="momo, red").click()
    page.locator(".room-folder [name=repeats]").fill("１２")
    page.locator(".room-folder [name=words]").fill("momo owl")
    page.locator(".room-folder .btn").click()
    expect(page.locator("#la-toast")).to_contain_text("Dataset config file")
    assert page.evaluate("atelier.room.data.folders[0].repeats") == 12
    assert folder.is_dir()
    page.locator("#la-toast .btn").click()
    page.wait_for_function("atelier.room.data.folders[0].repeats === 4")


def test_the_keyboard_suffices_and_escape_leaves_step_by_step(open_page, folder: Path):
    page = open_page()
    open_room(page, folder)
    page.locator(".room-list").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator('.room-card[aria-selected="true"]')).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator(".room-zoom img")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator(".zoom-cut")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator(".room-zoom")).to_have_count(0)
    page.keyboard.press("e")
    expect(page.locator(".room-caption")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".room-caption")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#la-room")).to_have_count(0)


@pytest.mark.parametrize(("phone", "language", "dark"), [(False, "en-US", True), (True, "ja-JP", False)])
def test_axe_finds_nothing_and_nothing_is_cut_off(open_page, folder: Path, phone, language, dark):
    page = open_page(phone=phone, language=language, dark=dark)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    open_room(page, folder)
    page.wait_for_function("atelier.room.told.size > 3")
    assert page.evaluate(SERIOUS) == []
    page.locator(".room-card", has_text="momo, red").click()
    assert page.evaluate(SERIOUS) == []
    page.evaluate(PROPOSE)
    expect(page.locator(".room-change")).to_have_count(1)
    assert page.evaluate(SERIOUS) == []
    assert page.evaluate("document.querySelector('#la-room').scrollWidth <= innerWidth")


def test_a_phone_goes_from_picture_to_picture_and_writes_without_going_back(open_page, folder: Path):
    page = open_page(phone=True)
    open_room(page, folder)
    page.locator(".room-card", has_text="momo, red, smile").click()
    page.locator(".room-caption").fill("momo, crimson")
    more = page.locator(".room-more")
    covered = more.bounding_box()
    assert covered
    assert covered["y"] == 0
    assert covered["height"] > 0.8 * page.viewport_size["height"]
    expect(more.get_by_role("button", name="Previous picture")).to_be_disabled()
    for name in ("Next picture", "Previous picture", "Next picture"):
        more.get_by_role("button", name=name).click()
    expect(more.get_by_role("button", name="Next picture")).to_be_focused()
    expect(page.locator(".room-caption")).to_have_value("momo, blue, smile")
    page.locator(".room-caption").fill("momo, azure")
    page.get_by_role("button", name="Compare and write").click()
    expect(page.locator(".room-change")).to_have_count(2)
    page.locator(".room-write").click()
    expect(page.locator("#la-toast")).to_contain_text("2 captions written")
    assert captions(folder)["1.txt"] == "momo, azure"


def choose(page: Page, key: str) -> None:
    page.locator(f"#f-{key} .la-choose").click()
    expect(page.locator("#la-browse .browse-list li").first).to_be_visible()


def test_a_folder_is_chosen_with_its_pictures_counted(open_page, folder: Path):
    page = open_page()
    open_tab(page, "folders")
    page.evaluate("(path) => atelier.write({train_data_dir: path})", str(folder.parents[1] / "nowhere"))
    choose(page, "train_data_dir")
    expect(page.locator(".browse-said")).to_contain_text("nowhere")
    row = page.locator(".browse-list li", has_text="img")
    expect(row).to_contain_text("1 folder, 9 pictures")
    row.locator("button").first.click()
    expect(page.locator(".browse-list")).to_contain_text("9 pictures")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(SERIOUS) == []
    page.locator("#la-browse footer .btn.p").click()
    page.wait_for_function("(path) => atelier.page.values.train_data_dir === path", arg=str(folder.parent))
    page.evaluate("atelier.write({reg_data_dir: ''})")
    choose(page, "reg_data_dir")  # blank: it begins where the last one was found
    expect(page.locator(".browse-way input").first).to_have_value(str(folder.parents[1]))
    expect(page.locator(".browse-said")).to_be_empty()


def test_a_model_shows_its_family_before_it_is_chosen(open_page, tmp_path: Path):
    lora_header(tmp_path / "friend.safetensors")
    (tmp_path / "notes.txt").write_text("x")
    page = open_page()
    page.evaluate("(path) => atelier.write({pretrained_model_name_or_path: path})", str(tmp_path))
    choose(page, "pretrained_model_name_or_path")
    expect(page.locator(".browse-list li", has_text="friend")).to_contain_text("LoRA")
    expect(page.locator(".browse-list")).not_to_contain_text("notes")
    page.locator(".browse-list li", has_text="friend").locator("button").click()
    page.locator("#la-browse footer .btn.p").click()
    chosen = str(tmp_path / "friend.safetensors")
    page.wait_for_function("(path) => atelier.page.values.pretrained_model_name_or_path === path", arg=chosen)


@pytest.mark.parametrize("phone", [False, pytest.param(True, marks=pytest.mark.long)])
def test_pictures_of_this_device_become_a_dataset(open_page, tmp_path: Path, phone: bool):
    """A large one in several pieces, one that is none, and a caption."""
    Image.effect_noise((1700, 1700), 90).convert("RGB").save(tmp_path / "ねこ.png", compress_level=0)
    (tmp_path / "ねこ.txt").write_text("momo", encoding="utf-8")
    (tmp_path / "false.png").write_bytes(b"no picture")
    (tmp_path / "program.exe").write_bytes(b"MZ")
    page = open_page(phone=phone)
    open_tab(page, "folders")
    choose(page, "train_data_dir")
    page.locator("#la-browse footer .btn", has_text="this device").click()
    page.locator("#la-upload input[type=file]").first.set_input_files(
        [tmp_path / name for name in ("ねこ.png", "ねこ.txt", "false.png", "program.exe")]
    )
    expect(page.locator(".upload-files")).to_contain_text("1 file cannot be taken")
    page.locator("#la-upload [name=name]").fill("my/../cat")
    page.locator("#la-upload [name=words]").fill("momo cat")
    page.locator("#la-upload .btn.p").click()
    expect(page.locator("#la-upload")).to_contain_text("2 files are in")
    expect(page.locator("#la-upload")).to_contain_text("false.png")
    page.locator("#la-upload .btn.p").click()
    expect(page.locator(".room-card:visible")).to_have_count(1)
    made = Path(page.evaluate("atelier.room.data.folders[0].path"))
    assert made.name == "10_momo cat"
    assert (made / "ねこ.png").read_bytes() == (tmp_path / "ねこ.png").read_bytes()
    assert sorted(path.name for path in made.iterdir()) == ["ねこ.png", "ねこ.txt"]


def test_a_double_click_sends_pictures_into_one_folder(open_page, tmp_path: Path):
    draw(tmp_path / "cat.png", (96, 96), "red")
    page = open_page()
    open_tab(page, "folders")
    choose(page, "train_data_dir")
    page.locator("#la-browse footer .btn", has_text="this device").click()
    page.locator("#la-upload input[type=file]").first.set_input_files(tmp_path / "cat.png")
    page.locator("#la-upload [name=name]").fill("pressed twice")
    page.evaluate(HELD, "upload_folder")
    page.locator("#la-upload .btn.p").dblclick()
    page.wait_for_function("Boolean(window.letGo)")
    assert page.evaluate("called") == 1
    page.evaluate("letGo()")
    expect(page.locator("#la-upload")).to_contain_text("1 file is in")
    made = Path(page.evaluate("atelier.page.values.train_data_dir"))
    assert [path.name for path in made.parent.iterdir() if path.name.startswith("pressed")] == [made.name]


def test_a_folder_outside_is_said_at_its_field_and_stays_said(open_page, folder: Path):
    page = open_page()
    open_tab(page, "folders")
    page.evaluate("atelier.write({train_data_dir: '/proc/self'})")
    said = page.locator("#p-train_data_dir", has_text="outside the folders")
    expect(said).to_be_visible()
    page.evaluate("atelier.write({epoch: 3})")
    page.wait_for_timeout(600)
    expect(said).to_be_visible()
    page.evaluate("(path) => atelier.write({train_data_dir: path})", str(folder.parent))
    expect(said).to_have_count(0)
