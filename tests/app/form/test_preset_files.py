"""Which files the page opens, shows and replaces: those in the allowed folders, of the kinds it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from app.answers import Answers
from app.form.preset_files import is_preset
from app.jobs.files import result_file
from app.jobs.outcome import files_of, outcome
from app.jobs.store import Job, JobStore
from app.paths import Roots, default_roots
from tests.app.conftest import ask, wait_until
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


OUTSIDE = (
    "../away/momo.json", "way_out/momo.json", "link.json", "loop.json", ".hidden/momo.json",
    "../away/not_there.json", "/etc/passwd.json", "\0.json",
)  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_preset_is_opened_outside(answers: Answers, mine: Path, name: str):
    seen = ask(answers, "load", path=str(mine / name))
    assert "values" not in seen
    assert "--root" in seen["error"]["what"]
    japanese = ask(answers, "load", lang="ja", path=str(mine / name))["error"]["what"]
    assert "--root" in japanese
    assert "フォルダ" in japanese


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_is_saved_outside(answers: Answers, mine: Path, name: str):
    before = sorted(mine.parent.rglob("*"))
    seen = ask(answers, "save", path=str(mine / name), values={}, replace=True)
    assert "--root" in seen["error"]["what"]
    assert sorted(mine.parent.rglob("*")) == before
    assert (mine.parent / "away" / "momo.json").read_text() == json.dumps(PRESET)


@pytest.mark.parametrize("name", ["/", "//", " / ", '"/"', "."])
def test_a_path_without_a_name_is_no_file(answers: Answers, name: str, capfd: pytest.CaptureFixture[str]):
    assert "error" in ask(answers, "load", path=name)
    if name != ".":
        assert "error" in ask(answers, "save", path=name, values={})
    assert capfd.readouterr().err == "", "no traceback"


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
        assert seen == {"dataset": None}
        look = ask(answers, "look", values={**values, "train_data_dir": str(path)})
        [said] = [one for one in look["problems"] if one["code"] == "preflight.outside_not_shown"]
        assert (said["setting"], said["blocks"]) == ("train_data_dir", False)
        assert "--root" in said["fix"]


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


def outside(answer: dict) -> list[str]:
    """Labels of the fields that lead out of the folders."""
    problems = answer.get("look", answer)["problems"]
    return [problem["label"] for problem in problems if problem["code"].startswith("preflight.outside")]


@pytest.fixture
def strict(store: JobStore, mine: Path) -> Answers:
    """The page as others may use it."""
    store.roots = Roots((store.workspace, mine.resolve()), strict=True)
    return Answers(store, store.roots)


WAYS_OUT = (
    {"output_dir": "{away}/out"}, {"train_data_dir": "{away}/img"}, {"vae": "{away}/out"},
    {"pretrained_model_name_or_path": "../x"}, {"resume": "{away}/out"}, {"logging_dir": "{mine}/way_out"},
    {"output_dir": "../out"}, {"additional_parameters": "--output_dir {away}/out"},
    {"additional_parameters": "--sample_prompts {away}/img/3_cat/a.txt"},
    {"additional_parameters": "--train_data_dir={away}/img"}, {"dataset_config": "{mine}/data.toml"},
)  # fmt: skip


@pytest.mark.parametrize("wanted", WAYS_OUT, ids=str)
def test_others_who_may_use_the_page_train_within_the_folders_too(
    strict: Answers, store: JobStore, mine: Path, wanted: dict[str, str]
):
    away = mine.parent / "away"
    pictures(away / "img")
    dataset = f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {json.dumps(str(away / 'img' / '3_cat'))}\n"
    (mine / "data.toml").write_text(dataset)
    before = sorted(away.rglob("*"))
    places = {"away": str(away), "mine": str(mine)}
    values = {key: text.format_map(places) for key, text in wanted.items()}
    for name in ("look", "train", "train"):
        seen = ask(strict, name, values=values)
        assert outside(seen), name
        assert "caption to read" not in json.dumps(seen)
    assert ask(strict, "pictures", values=values) == {"dataset": None}
    assert "error" in ask(strict, "list_pictures", folder=str(away / "img"))
    assert not store.jobs()
    assert sorted(away.rglob("*")) == before


def test_others_train_where_they_may(strict: Answers, mine: Path):
    for values in ({"output_dir": str(mine / "out")}, {"pretrained_model_name_or_path": "some/model"}):
        assert not outside(ask(strict, "look", values=values))


def test_a_trainer_that_is_started_for_others_knows_the_folders(strict: Answers, store: JobStore, mine: Path):
    """A waiting job's settings and files may change: the trainer judges once more."""
    job = store.start(Settings.from_flat({"output_dir": str(mine), "training_comment": "environment"}))
    wait_until(job, "finished")
    told = json.loads((mine / "environment.json").read_text())
    assert json.loads(told["LORA_ATELIER_ROOTS"]) == [str(store.workspace), str(mine.resolve())]


def test_what_a_job_from_elsewhere_says_it_wrote_stays_unseen(
    strict: Answers, store: JobStore, mine: Path, tmp_path: Path
):
    away = tmp_path / "away"
    (away / "m.safetensors").write_bytes(b"x" * 100)
    (away / "m-rank2.safetensors").write_bytes(b"x")
    job = Job(JobFolder.create(store.workspace, Settings.from_flat({"output_dir": str(away)})), store)
    event = {"time": 1, "step": 1, "path": str(away / "m.safetensors")}
    lines = [{"event": "saved", "epoch": 1, "size": 1, **event}, {"event": "finished", **event}]
    job.folder.events_file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert result_file(job, job.record(), "m.safetensors") is None
    assert result_file(job, job.record(), "m-rank2.safetensors") is None
    assert files_of(job, job.record()) == []
    told = outcome(job, job.record(), job.state, "en")
    assert told
    assert told["lora"] is None
    (store.root / "linked").symlink_to(away)
    (away / "settings.json").write_text("{}")
    assert store.get("linked") is None
    store.roots = None
    assert result_file(job, job.record(), "m.safetensors")


def test_nothing_is_saved_into_the_folder_of_a_run(answers: Answers, store: JobStore):
    seen = ask(answers, "save", path=str(store.root / "new" / "settings.json"), values={"epoch": 4})
    assert "error" in seen
    assert not (store.root / "new").exists()


@pytest.mark.parametrize("name", ["password.json", "secrets.json", "Password.JSON"])
def test_what_the_program_keeps_for_itself_is_not_opened(answers: Answers, store: JobStore, name: str):
    (store.workspace / name).write_text('{"hash": "a secret"}')
    seen = ask(answers, "load", path=str(store.workspace / name))
    assert "a secret" not in json.dumps(seen)
    assert "error" in seen
    assert "error" in ask(answers, "save", path=str(store.workspace / name), values={}, replace=True)


def test_roots_of_a_page_for_others_are_few(tmp_path: Path):
    added = tmp_path / "added"
    added.mkdir()
    beyond = default_roots(tmp_path / "w", [added, tmp_path / "not there"], beyond=True)
    assert added.resolve() in beyond.folders
    assert beyond.place(PROJECT / "presets" / "demo.json")
    assert beyond.place(PROJECT / "pyproject.toml") is None
    assert beyond.place(Path.home() / "x.json") is None
    assert default_roots(tmp_path).place(Path.home() / "x.json")
