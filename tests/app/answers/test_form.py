"""Questions about the form: files in and out, the draft, Train, the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.conftest import ask

BROWSER = "0123456789abcdef0123456789abcdef"


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
