"""Which files the page opens, shows and replaces: those in the allowed folders, of the kinds it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from app.answers import Answers
from app.form.preset_files import is_preset
from app.jobs.store import JobStore
from app.paths import Roots, default_roots
from trainer.files.job_folder import PROJECT, JobFolder
from trainer.settings import Settings

PRESET = {"LoRA_type": "Standard", "epoch": 3, "output_name": "momo", "network_dim": 8}
ENDINGS_OF_ALL = ("json", "toml", "txt", "safetensors")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An allowed folder, and beside it one that is not, with the same preset and a link into it."""
    mine, away = tmp_path / "mine", tmp_path / "away"
    for folder in (mine, away, mine / ".hidden"):
        folder.mkdir()
        (folder / "momo.json").write_text(json.dumps(PRESET))
    (mine / "link.json").symlink_to(away / "momo.json")
    (mine / "way_out").symlink_to(away)
    (mine / "loop.json").symlink_to(mine / "loop.json")
    return mine


@pytest.fixture
def answers(store: JobStore, mine: Path) -> Answers:
    return Answers(store, Roots((store.workspace, mine.resolve())))


def ask(answers: Answers, question: str, language: str = "en", **request):
    return getattr(answers, question)({"lang": language, "browser": "a" * 32, **request})


OUTSIDE = (
    "../away/momo.json", "way_out/momo.json", "link.json", "loop.json", ".hidden/momo.json",
    "../away/not_there.json", "/etc/passwd.json", "\0.json",
)  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_preset_is_opened_outside(answers: Answers, mine: Path, name: str):
    seen = ask(answers, "load", path=str(mine / name))
    assert "values" not in seen
    assert "--root" in seen["error"]["what"]
    japanese = ask(answers, "load", "ja", path=str(mine / name))["error"]["what"]
    assert "--root" in japanese
    assert "フォルダ" in japanese


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_is_saved_outside(answers: Answers, mine: Path, name: str):
    before = sorted(mine.parent.rglob("*"))
    seen = ask(answers, "save", path=str(mine / name), values={}, replace=True)
    assert "--root" in seen["error"]["what"]
    assert sorted(mine.parent.rglob("*")) == before
    assert (mine.parent / "away" / "momo.json").read_text() == json.dumps(PRESET)


def test_what_is_allowed_opens_and_saves(answers: Answers, mine: Path):
    assert ask(answers, "load", path=str(mine / "momo.json"))["values"]["epoch"] == 3
    saved = ask(answers, "save", path=str(mine / "new" / "other"), values={"epoch": 4})
    assert json.loads(Path(saved["path"]).read_text())["epoch"] == 4


@pytest.mark.parametrize("name", ["id_rsa", "notes.md", "x.py", "run.sh", "data.pkl"])
def test_only_files_of_settings_are_opened(answers: Answers, mine: Path, name: str):
    (mine / name).write_text("secret words")
    said = ask(answers, "load", path=str(mine / name))["error"]["what"]
    assert all(ending in said for ending in ENDINGS_OF_ALL)
    assert "secret words" not in said


@pytest.mark.parametrize(
    "content",
    [
        '{"name": "a-program", "scripts": {}, "version": "1"}',
        "not json",
        "[]",
        "{}",
        '{"a": 1, "epoch": 2, "b": 3}',
    ],
)
def test_only_a_preset_is_replaced(answers: Answers, mine: Path, content: str):
    path = mine / "package.json"
    path.write_text(content)
    seen = ask(answers, "save", path=str(path), values={}, replace=True)
    assert "not a file of settings" in seen["error"]["what"]
    assert path.read_text() == content


def test_a_job_s_own_settings_are_not_replaced(answers: Answers, store: JobStore):
    job = JobFolder.create(store.workspace, Settings())
    job.event_log().close()
    before = job.settings_file.read_bytes()
    assert "error" in ask(answers, "save", path=str(job.settings_file), values={}, replace=True)
    assert job.settings_file.read_bytes() == before


def test_every_shipped_preset_counts_as_one():
    presets = list((PROJECT / "presets").glob("*.json"))
    assert len(presets) > 5
    assert all(is_preset(path) for path in presets)


def test_a_toml_of_sd_scripts_counts_as_one(tmp_path: Path):
    (tmp_path / "a.toml").write_text('[model]\npretrained_model_name_or_path = "x"\n[net]\nnetwork_dim = 4\n')
    (tmp_path / "b.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    assert is_preset(tmp_path / "a.toml")
    assert not is_preset(tmp_path / "b.toml")


def test_files_that_a_command_names_are_read_only_inside(answers: Answers, mine: Path):
    """A pasted command names a config file: one from outside stays shut, and the report says so."""
    (mine / "in.toml").write_text("network_dim = 31\n")
    (mine.parent / "away" / "out.toml").write_text("network_dim = 37\n")
    (mine / "sneak.toml").symlink_to(mine.parent / "away" / "out.toml")

    def dim(file: Path) -> int:
        text = f"accelerate launch train_network.py --config_file={file} --network_module=networks.lora"
        return ask(answers, "load", text=text, name="")["values"]["network_dim"]

    assert dim(mine / "in.toml") == 31
    assert dim(mine.parent / "away" / "out.toml") != 37
    assert dim(mine / "sneak.toml") != 37


def test_a_loaded_name_does_not_lead_elsewhere(answers: Answers, mine: Path):
    """The name that comes with an upload is the browser's word: nothing beside it is read."""
    (mine.parent / "away" / "prompts.txt").write_text("a secret prompt")
    text = '{"network_module": "networks.lora", "sample_prompts": "prompts.txt"}'
    seen = ask(answers, "load", text=text, name=str(mine.parent / "away" / "x.json"))
    assert "secret prompt" not in json.dumps(seen)


def pictures(folder: Path) -> Path:
    (folder / "3_cat").mkdir(parents=True)
    Image.new("RGB", (64, 64), "#446688").save(folder / "3_cat" / "a.png")
    (folder / "3_cat" / "a.txt").write_text("a caption to read")
    return folder


def test_pictures_are_shown_from_allowed_folders_only(answers: Answers, mine: Path):
    values = {"caption_extension": ".txt", "max_resolution": "64,64"}
    inside = ask(answers, "pictures", values={**values, "train_data_dir": str(pictures(mine / "img"))})
    assert inside["dataset"]["buckets"][0]["thumbs"][0]["caption"] == "a caption to read"
    outside = pictures(mine.parent / "away" / "img")
    (mine / "linked").symlink_to(outside)
    for path in (outside, mine / "linked", mine / "way_out" / "img"):
        seen = ask(answers, "pictures", values={**values, "train_data_dir": str(path)})
        assert "--root" in seen["error"]["what"]
        assert "caption to read" not in json.dumps(seen)


def test_a_linked_picture_is_counted_but_not_shown(answers: Answers, mine: Path):
    folder = pictures(mine / "img")
    outside = pictures(mine.parent / "away" / "img")
    (folder / "3_cat" / "b.png").symlink_to(outside / "3_cat" / "a.png")
    (folder / "3_cat" / "b.txt").write_text("its caption")
    values = {"caption_extension": ".txt", "max_resolution": "64,64", "train_data_dir": str(folder)}
    thumbs = ask(answers, "pictures", values=values)["dataset"]["buckets"][0]["thumbs"]
    assert [bool(thumb["src"]) for thumb in thumbs] == [True, False]


def test_a_bomb_is_not_decoded_for_a_small_view(answers: Answers, mine: Path):
    folder = mine / "img" / "3_cat"
    folder.mkdir(parents=True)
    Image.new("1", (13_000, 10_000)).save(folder / "a.png")
    values = {"max_resolution": "64,64", "train_data_dir": str(mine / "img")}
    thumbs = ask(answers, "pictures", values=values)["dataset"]["buckets"][0]["thumbs"]
    assert thumbs[0]["src"] == ""


def test_others_who_may_use_the_page_train_within_the_folders_too(
    store: JobStore, mine: Path, tmp_path: Path
):
    strict = Answers(store, Roots((store.workspace, mine.resolve()), strict=True))
    (tmp_path / "away" / "out").mkdir()
    for key in (
        "output_dir",
        "train_data_dir",
        "pretrained_model_name_or_path",
        "vae",
        "resume",
        "logging_dir",
    ):
        for name in ("look", "train", "pictures"):
            seen = ask(strict, name, values={key: str(tmp_path / "away" / "out")})
            assert "--root" in seen["error"]["what"], (key, name)
    assert "error" not in ask(strict, "look", values={"output_dir": str(mine / "out")})
    assert "error" not in ask(strict, "look", values={"pretrained_model_name_or_path": "some/model"})


def test_roots_of_a_page_for_others_are_few(tmp_path: Path):
    added = tmp_path / "added"
    added.mkdir()
    beyond = default_roots(tmp_path / "w", [added, tmp_path / "not there"], beyond=True)
    assert added.resolve() in beyond.folders
    assert beyond.place(PROJECT / "presets" / "demo.json")
    assert beyond.place(PROJECT / "pyproject.toml") is None
    assert beyond.place(Path.home() / "x.json") is None
    assert default_roots(tmp_path).place(Path.home() / "x.json")
