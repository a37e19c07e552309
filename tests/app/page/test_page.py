"""What the page asks and is told: marks, idle fields, problems, plan, files, drafts, search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from app.answers import Answers
from app.form import dataset, help_texts, presets
from app.form import values as form
from app.form.drafts import Drafts
from app.form.look import look
from app.page.page import build_page, mount_options
from app.paths import Roots
from tests.app.conftest import ask
from trainer.errors import UserError
from trainer.settings import SETTINGS

# Gradio 6.31 leaves the event loop of a page that is never served to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)

BROWSER = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures in two sizes, four with captions."""
    folder = tmp_path / "data" / "3_cat"
    folder.mkdir(parents=True)
    for number in range(6):
        size = (128, 128) if number < 4 else (192, 96)
        Image.new("RGB", size, (number * 40, 90, 120)).save(folder / f"{number}.png")
        if number < 4:
            (folder / f"{number}.txt").write_text("cat", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def values(pictures: Path, tmp_path: Path, root: Path) -> dict:
    """A form that is ready to train."""
    (tmp_path / "out").mkdir()
    own = {
        "pretrained_model_name_or_path": str(root / "presets" / "demo" / "model"),
        "train_data_dir": str(pictures), "output_dir": str(tmp_path / "out"), "output_name": "cat",
        "caption_extension": ".txt", "max_resolution": "128,128", "mixed_precision": "no", "epoch": 2,
        "optimizer": "AdamW",
    }  # fmt: skip
    return {**form.shown_values({}), **own}


@pytest.fixture
def answers(store, tmp_path: Path) -> Answers:
    return Answers(store, Roots((tmp_path.resolve(),)))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_empty_form_says_what_is_missing(language):
    seen = look(form.shown_values({}), language)
    assert [item["done"] for item in seen["ready"]] == [False, False, False, True]
    assert seen["bar"]["state"] == "missing"
    assert seen["bar"]["key"] == "pretrained_model_name_or_path"
    assert seen["counts"]["stopping"] == {}  # a field not filled in yet is no mistake


def test_ready_form_has_a_plan(values):
    seen = look(values, "en")
    assert seen["bar"]["state"] == "ready", seen["problems"]
    assert seen["plan"]["total"] == 36
    assert "36" in seen["plan"]["sum"]
    assert [save["step"] for save in seen["plan"]["saves"]] == [18, 36]
    assert set(seen["plan"]["curve"]["lines"]) == {"unet", "text_encoder"}
    assert seen["plan"]["curve"]["labels"][0] == "1e-4"


def test_curve_ends_where_the_text_encoder_stops(values):
    lines = look({**values, "stop_text_encoder_training": 50}, "en")["plan"]["curve"]["lines"]
    assert lines["text_encoder"][-1][0] <= 18
    assert lines["unet"][-1][0] == 35


def test_idle_fields_say_why(values):
    idle = look(values, "en")["idle"]
    assert idle["dim_from_weights"] == "Idle: only with LoRA network weights."
    assert idle["lr_scheduler_power"] == "Idle: only with LR Scheduler polynomial."
    assert "lr_scheduler_power" not in look({**values, "lr_scheduler": "polynomial"}, "en")["idle"]
    assert "今は無効" in look(values, "ja")["idle"]["dim_from_weights"]


def test_changed_settings_are_counted_by_tab(values):
    seen = look({**values, "network_dim": 16}, "en")
    assert seen["changed"]["network_dim"] == "8"
    assert seen["counts"]["changed"]["training"] >= 3


def test_a_fix_is_named_and_mends(values, pictures):
    wrong = {**values, "train_data_dir": str(pictures / "3_cat")}
    [problem] = [entry for entry in look(wrong, "en")["problems"] if entry["blocks"]]
    assert problem["setting"] == "train_data_dir"
    assert problem["changes"]["train_data_dir"] == str(pictures)
    assert str(pictures)[-20:] in problem["button"]
    assert look({**wrong, **problem["changes"]}, "en")["bar"]["state"] == "ready"


def test_dataset_plan_counts_and_draws_pictures(values):
    plan = dataset.dataset(values, "en")
    assert plan is not None
    first = plan["buckets"][0]
    assert (first["size"], len(first["thumbs"])) == ("128 × 128", 4)
    assert all(
        thumb["src"].startswith("data:image/jpeg") for bucket in plan["buckets"] for thumb in bucket["thumbs"]
    )
    assert sum(not thumb["found"] for bucket in plan["buckets"] for thumb in bucket["thumbs"]) == 2
    assert "2 pictures" in plan["without"]


def test_save_and_load_give_the_same_form(answers, values, tmp_path):
    path = str(tmp_path / "momo")
    saved = ask(answers, "save", path=path, values={**values, "unet_lr": "3e-5"})
    assert saved == {"path": path + ".json"}
    assert json.loads(Path(saved["path"]).read_text(encoding="utf-8"))["unet_lr"] == 3e-5
    loaded = ask(answers, "load", path=saved["path"])
    assert loaded["values"] == {**values, "unet_lr": "3e-5"}


def test_save_asks_before_it_replaces(answers, values, tmp_path):
    path = tmp_path / "momo.json"
    path.write_text('{"epoch": 3}', encoding="utf-8")
    assert ask(answers, "save", path=str(path), values=values) == {"exists": str(path)}
    assert path.read_text(encoding="utf-8") == '{"epoch": 3}'
    assert "path" in ask(answers, "save", path=str(path), values=values, replace=True)


@pytest.mark.parametrize(
    ("typed", "written"),
    [("momo", "momo.json"), ("momo_ver1.0", "momo_ver1.0.json"), ("momo.toml", "momo.json"),
     ("friend.safetensors", "friend.json"), ("Momo.JSON", "Momo.json")],
)  # fmt: skip
def test_settings_are_saved_as_json_and_replace_no_other_kind(answers, values, tmp_path, typed, written):
    (tmp_path / "momo.toml").write_text("epoch = 3\n", encoding="utf-8")
    saved = ask(answers, "save", path=str(tmp_path / typed), values=values)
    assert saved == {"path": str(tmp_path / written)}
    assert (tmp_path / "momo.toml").read_text(encoding="utf-8") == "epoch = 3\n"


def test_a_bare_name_is_kept_in_the_workspace(answers, values):
    assert ask(answers, "save", path="momo", values=values)["path"] == str(
        answers.store.workspace / "configs" / "momo.json"
    )


def test_what_we_do_not_use_survives_load_and_save(answers, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(
        json.dumps({"epoch": 3, "flux1_t5xxl": "/models/t5", "LoRA_type": "Standard"}), encoding="utf-8"
    )
    loaded = ask(answers, "load", path=str(path))
    ask(answers, "look", values=loaded["values"], carried=loaded["carried"])
    carried = ask(answers, "start")["carried"]  # as after a reload
    ask(answers, "save", path=str(tmp_path / "new.json"), values=loaded["values"], carried=carried)
    written = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))
    assert written["flux1_t5xxl"] == "/models/t5"
    assert written["epoch"] == 3


def test_loading_nothing_is_said(answers):
    assert ask(answers, "load", path="/nope/none.json")["error"]["what"]
    assert ask(answers, "load", path="")["error"]["what"].startswith("Type a file name")


def test_draft_comes_back_without_secrets(answers, values):
    ask(answers, "look", values={**values, "wandb_api_key": "hush"}, path="momo.json")
    started = ask(answers, "start")
    assert started["values"]["train_data_dir"] == values["train_data_dir"]
    assert started["path"] == "momo.json"
    assert not started["fresh"]
    assert "hush" not in (answers.store.workspace / "drafts" / f"{BROWSER}.json").read_text(encoding="utf-8")
    assert ask(answers, "start", browser="f" * 32)["values"]["train_data_dir"] == ""


@pytest.mark.parametrize("name", ["../../etc/passwd", "", None, "x" * 32, "a" * 200])
def test_drafts_have_no_other_names(tmp_path, name):
    drafts = Drafts(tmp_path / "drafts")
    drafts.write(name, values={"epoch": 2})
    assert drafts.read(name) == {}
    assert not list(tmp_path.rglob("*.json"))


def test_presets_keep_what_is_ones_own(values):
    new = presets.applied({"network_dim": 32, "epoch": 5}, values)
    assert new["train_data_dir"] == values["train_data_dir"]
    assert (new["network_dim"], new["epoch"], new["mixed_precision"]) == (32, 5, "fp16")
    changed = {row["key"]: (row["old"], row["new"]) for row in presets.difference(values, new, "en")}
    assert changed["network_dim"] == ("8", "32")
    assert changed["mixed_precision"] == ("no", "fp16")


def test_every_shipped_preset_loads():
    names = presets.names()
    assert len(presets.cards("en")) == len(presets.cards("ja")) == len(names)
    with pytest.raises(UserError):
        presets.read("../secret")


def test_train_starts_a_job_only_when_nothing_stops_it(answers, values, store):
    refused = ask(answers, "train", values={**values, "train_data_dir": ""})
    assert refused["look"]["bar"]["key"] == "train_data_dir"
    assert store.jobs() == []
    started = ask(answers, "train", values=values)
    job = store.get(started["job"]["id"])
    assert job.settings()["output_name"] == "cat"
    again = ask(answers, "load", job=job.id)
    assert again["values"]["train_data_dir"] == values["train_data_dir"]


def test_command_names_both_programs(answers, values):
    command = ask(answers, "command", values=values, path="my run.json")
    assert command["ours"] == "python -m trainer train 'my run.json'"
    assert "train_network.py" in command["theirs"]
    assert "train_data_dir" in command["toml"]


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_found_by_label_and_key(key):
    for query in (SETTINGS[key].spec.label, key):
        assert key in [hit["key"] for hit in help_texts.find(query, "en")], query


def test_search_reads_japanese_help():
    assert help_texts.find("正則化", "en")[0]["key"] == "reg_data_dir"
    assert help_texts.find("ｌｅａｒｎｉｎｇ　ｒａｔｅ", "ja")[0]["label"].lower().startswith("learning rate")


def test_page_builds_with_all_settings(store):
    page = build_page(store)
    ids = {component.get("props", {}).get("elem_id") for component in page.config["components"]}
    assert {f"f-{key}" for key in SETTINGS} <= ids


def test_the_page_asks_nothing_but_its_questions(store, answers):
    """What Gradio's server calls for the page is `answers`, whose errors are sentences."""
    asked = [
        function.__name__
        for block in build_page(store).blocks.values()
        for function in getattr(block, "server_fns", [])
    ]
    assert set(asked) == set(answers.questions)


def test_page_asks_no_other_host():
    head = mount_options()["head"]
    assert "http://" not in head.replace("http://www.w3.org", "")
    assert "https://" not in head
