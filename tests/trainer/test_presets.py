"""The presets that come along: each loads whole, here and in kohya_ss, and has a card in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.trainer.made import SD1, SD2, SDXL, image_folder, model_file
from trainer.families.facts import FULL_SIZE
from trainer.families.table import named_by
from trainer.files.job_folder import PROJECT
from trainer.kohya import read, to_kohya
from trainer.kohya.ages import NEWEST
from trainer.kohya.write_kohya import OURS
from trainer.messages import LANGUAGES
from trainer.plan.memory import lora_weights, memory_parts
from trainer.preflight.check import check
from trainer.settings import TRAINING

FOLDER = PROJECT / "presets"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CARD = ("title", "about", "family", "memory", "time", "changes")


def load(name: str) -> dict[str, object]:
    """A preset's file as it lies there."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_there_is_one_for_every_need() -> None:
    assert set(NAMES) >= {
        "character", "demo", "dylora_rank_finder", "first_lora", "locon", "loha", "style", "vram_6gb",
        "vram_8gb", "vram_12gb", "sdxl_character_12gb", "sdxl_8gb", "illustrious_noobai_vpred",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_without_a_remark(name: str) -> None:
    imported = read(FOLDER / f"{name}.json")
    assert imported.report.source == "lora_atelier"
    assert imported.report.attention == ()
    assert (
        imported.report.of("unknown")
        == imported.report.of("converted")
        == imported.report.of("out_of_range")
        == ()
    )


@pytest.mark.parametrize("name", NAMES)
def test_kohya_finds_all_its_keys_in_it(name: str) -> None:
    """An absent key would take what happens to stand on kohya_ss's screen."""
    file = load(name)
    public = {key for key, setting in TRAINING.items() if setting.spec.widget != "secret"}
    assert {key for key in public if NEWEST.has(key)} <= set(file)
    del file["lora_atelier"]
    plain, whole = read(file).settings, read(FOLDER / f"{name}.json").settings
    paths = {key for key in public if str(file.get(key)).startswith("{")}
    differing = {key for key in public if plain.get(key) != whole.get(key)}
    assert differing <= {*OURS, *paths}, "what kohya_ss reads trains the same"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_written_as_we_would_write_it(name: str) -> None:
    file, imported = load(name), read(FOLDER / f"{name}.json")
    again = to_kohya(imported.settings, imported.carried, imported.card)
    paths = {key for key, value in file.items() if str(value).startswith(("{project}", "{workspace}"))}
    assert paths == (
        {"pretrained_model_name_or_path", "train_data_dir", "output_dir"} if name == "demo" else set()
    )
    assert {key: value for key, value in file.items() if key not in {*paths, "lora_atelier"}} == {
        key: value for key, value in again.items() if key in file and key not in {*paths, "lora_atelier"}
    }


@pytest.mark.parametrize("name", NAMES)
def test_its_card_is_complete_in_both_languages(name: str) -> None:
    card = read(FOLDER / f"{name}.json").card
    assert set(card) == set(CARD)
    for part in CARD:
        assert set(card[part]) == set(LANGUAGES)
        assert all(text.strip() for text in card[part].values())
        assert any(ord(letter) > 0x3000 for letter in card[part]["ja"]), "Japanese"
        assert card[part]["en"].isascii() or "×" in card[part]["en"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_its_card_says_the_memory_that_we_reckon(name: str) -> None:
    imported = read(FOLDER / f"{name}.json")
    settings = imported.settings
    model = FULL_SIZE[named_by(settings.model).key]
    width, height = map(int, settings.images.max_resolution.split(","))
    weights = lora_weights(settings.network, settings.optimizer, model)
    pixels = width * height * settings.length.train_batch_size
    estimate = sum(memory_parts(settings, pixels, model, weights).values()) / 1e9
    said = float(imported.card["memory"]["en"].split()[1])
    assert said == pytest.approx(estimate, rel=0.15)
    assert f"{said:g} GB" in imported.card["memory"]["ja"].replace("約", "")
    if card := re.search(r"(\d+)gb", name):
        assert estimate < int(card[1]) * 0.85, "room for the desktop"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_nothing_in_it_contradicts_itself(name: str, tmp_path: Path) -> None:
    """With a model of its family and pictures, no field has a mark."""
    preset = read(FOLDER / f"{name}.json").settings
    shapes = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}[named_by(preset.model).key]
    marks = {"v_pred": (0,), "ztsnr": (0,)} if preset.model.v_parameterization else {}
    model_file(tmp_path / "model.safetensors", {**shapes, **marks})
    pictures = image_folder(tmp_path / "img", size=(1024, 1024))
    own = {
        "pretrained_model_name_or_path": str(tmp_path / "model.safetensors"),
        "train_data_dir": str(pictures),
        "output_dir": str(tmp_path / "out"),
        "sample_prompts": "a cat",
    }
    codes = {problem.code for problem in check(preset.replace(**own)).problems}
    assert not {code for code in codes if not code.startswith(("preflight.memory", "preflight.machine"))}


@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_files_of_somebody_else(name: str) -> None:
    settings = read(FOLDER / f"{name}.json").settings
    paths = [settings.get(key) for key, s in TRAINING.items() if s.spec.widget in ("file", "folder", "model")]
    assert all(str(path).startswith(str(PROJECT)) or not path or name == "demo" for path in paths)


def test_the_demo_finds_its_model_and_pictures_wherever_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "work"))
    settings = read(FOLDER / "demo.json").settings
    assert Path(settings.model.pretrained_model_name_or_path, "model_index.json").is_file()
    assert list(Path(settings.folders.train_data_dir).glob("*/*.png"))
    assert settings.folders.output_dir == str(tmp_path / "work" / "output")
    assert settings.optimizer.text_encoder_lr == 0
    assert settings.sampling.sample_at_first
    assert len(settings.sampling.sample_prompts.splitlines()) == 3


def test_nothing_stands_in_the_demos_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path))
    assert [
        problem for problem in check(read(FOLDER / "demo.json").settings).problems if problem.blocks
    ] == []
