"""`--set` on the command line: a value that cannot be is one sentence and exit code 2."""

from __future__ import annotations

import json
import sys

import pytest

from trainer import __main__ as program
from trainer.errors import UserError
from trainer.files.roots import ROOTS_VARIABLE
from trainer.settings import TRAINING

CHANGES = [
    "network_dim=abc", "network_dim=0", "network_dim=2.5", "network_dim=", "network_dim=1e99",
    "LoRA_type=Foo", "LoRA_type=", "save_every_n_epochs=30,50,55", "learning_rate=", "learning_rate=nan",
    "v2=maybe", "v2=", "v2=2", "max_token_length=9999", "seed=-1", "lr_warmup=101", "no_such=1", "v2", "=1",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_is_refused_in_a_sentence(change, monkeypatch, capsys, root):
    monkeypatch.setattr(sys, "argv", ["trainer", "check", str(root / "presets/demo.json"), "--set", change])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert "pydantic" not in said[0]


def test_the_folders_that_others_may_use_hold_for_check_too(monkeypatch, capsys, root, tmp_path):
    folders = json.dumps([str(tmp_path), str(root / "presets")])
    monkeypatch.setenv(ROOTS_VARIABLE, folders)
    words = ["trainer", "check", str(root / "presets/demo.json"), "--set", f"output_dir={tmp_path}"]
    typed = "additional_parameters=--sample_prompts=/etc/passwd"
    monkeypatch.setattr(sys, "argv", [*words, "--set", typed])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "--listen" in said.out
    assert "root:" not in said.out + said.err
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 0


@pytest.mark.parametrize(("change", "value"), [
    ("network_dim=16", 16), ("network_dim=16.0", 16), ("learning_rate=5e-5", 5e-5), ("v2=on", True),
    ("v2=False", False), ("seed=", None), ("unet_lr=", None), ("output_name=a=b", "a=b"), ("log_with=", ""),
    ("max_token_length=150", 150), ("LoRA_type=standard", "Standard"), ("save_precision=float32", "float"),
])  # fmt: skip
def test_what_can_be_is_taken(change, value):
    assert program.parse_change(change) == (change.partition("=")[0], value)


@pytest.mark.parametrize("key", [key for key, one in TRAINING.items() if one.spec.widget != "secret"])
def test_every_setting_takes_its_own_default(key):
    default = TRAINING[key].default
    text = "" if default is None else str(default)
    assert program.parse_change(f"{key}={text}") == (key, default)


@pytest.mark.parametrize(
    "key", [key for key, one in TRAINING.items() if one.kind in ("int", "float", "switch")]
)
def test_no_setting_with_a_number_or_switch_takes_words(key):
    with pytest.raises(UserError):
        program.parse_change(f"{key}=perhaps")


def _check(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["trainer", "check", *words])
    with pytest.raises(SystemExit):
        program.main()
    return capsys.readouterr()


def test_what_a_file_asked_for_and_does_not_get_is_said(tmp_path, monkeypatch, capsys):
    asked = {"max_train_steps": 10**10, "network_dim": "much", "lr_scheduler": "cosin", "of_nobody": 1}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(asked), encoding="utf-8")
    printed = _check(monkeypatch, capsys, str(file), "--set", "network_dim=4")
    assert all(key in printed.err for key in ("10000000000 → 10000000", "cosin → cosine", "of_nobody: 1"))
    assert "network_dim" not in printed.err  # it was given, so the file's no longer counts
    assert "cosin" not in printed.out


def test_of_our_own_presets_nothing_is_said(monkeypatch, capsys, root):
    for preset in sorted((root / "presets").glob("*.json")):
        assert _check(monkeypatch, capsys, str(preset), "--json").err == "", preset
