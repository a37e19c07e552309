"""Checks of single values: the problem stands at its field, and a form's blanks and texts are understood."""

from __future__ import annotations

import json

import pytest

from tests.trainer.found import expect, find
from tests.trainer.made import sound_settings, sound_values
from trainer.messages import Message, say
from trainer.preflight.check import check, check_values


@pytest.mark.parametrize(
    ("key", "value", "code", "fixed"),
    [
        ("epoch", "many", "preflight.value_no_number", 1),
        ("epoch", 1.5, "preflight.value_not_whole", 2),
        ("epoch", 0, "preflight.value_low", 1),
        ("vae_batch_size", 10**12, "preflight.value_range", 1024),
        ("max_grad_norm", -1, "preflight.value_low", 0),
        ("huber_c", 0, "preflight.value_over", 0.1),
        ("network_dim", "-3", "preflight.value_range", 1),
        ("lr_warmup", 150, "preflight.value_range", 100),
        ("unet_lr", "1e-4x", "preflight.value_no_number", 1e-4),
        ("lr_scheduler", "sine", "preflight.value_choice", "cosine"),
        ("lr_scheduler_type", "os.system", "preflight.value_choice_blank", ""),
        ("max_token_length", "80", "preflight.value_choice", 75),
        ("sample_prompts", "x" * 30_000, "preflight.value_too_long", "x" * 20_000),
    ],
)
def test_a_bad_value_is_a_problem_at_its_field(tmp_path, key, value, code, fixed):
    values = sound_values(tmp_path) | {key: value}
    settings, checked = check_values(values)
    problem = find(checked, code)
    assert settings is None
    assert (problem.setting, problem.blocks, problem.fix) == (key, True, {key: fixed})
    settings, checked = check_values(values | dict(problem.fix or {}))
    assert settings is not None
    assert not checked.blocked


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("epoch", "", 1),
        ("epoch", None, 1),
        ("epoch", "３", 3),  # as a Japanese keyboard writes it
        ("epoch", 3.0, 3),
        ("seed", "", None),
        ("unet_lr", "5e-5", 5e-5),
        ("unet_lr", " 0.0001 ", 1e-4),
        ("unet_lr", "", None),
        ("max_token_length", "150", 150),
        ("flip_aug", "true", True),
        ("training_comment", None, ""),
    ],
)
def test_what_a_form_gives_is_understood(tmp_path, key, value, meant):
    settings, _ = check_values(sound_values(tmp_path) | {key: value})
    assert settings is not None
    assert settings.get(key) == meant


def test_unknown_keys_are_told_and_left_out(tmp_path):
    settings, checked = check_values(sound_values(tmp_path) | {"network_dimm": 4, "xyzzy": 1})
    assert settings is not None
    assert find(checked, "preflight.setting_unknown_near").values["near"] == "network_dim"
    assert find(checked, "preflight.setting_unknown").values["key"] == "xyzzy"


def test_secrets_never_stand_in_a_message(tmp_path):
    for secret in ("hf_verysecret" * 3000, True):
        _, checked = check_values(sound_values(tmp_path) | {"huggingface_token": secret})
        said = json.dumps([p.as_json(language) for p in checked.problems for language in ("en", "ja")])
        assert "verysecret" not in said


@pytest.mark.parametrize("key", ["network_dropout", "rank_dropout", "module_dropout"])
def test_a_dropout_of_everything_stops_the_run(tmp_path, key):
    expect(sound_settings(tmp_path, **{key: 1}), "preflight.dropout_all", setting=key, blocks=True)
    assert check(sound_settings(tmp_path, **{key: 0.99})).problems == ()


def test_zero_terminal_snr_without_v_parameterization_is_a_hint(tmp_path):
    settings = sound_settings(tmp_path, zero_terminal_snr=True)
    expect(settings, "preflight.zero_snr_epsilon", setting="zero_terminal_snr", blocks=False)
    codes = {found.code for found in check(settings.replace(v_parameterization=True)).problems}
    assert "preflight.zero_snr_epsilon" not in codes


@pytest.mark.parametrize(
    ("count", "said"),
    [("1", "1 picture is not read"), ("2", "2 pictures are not read"), ("21", "21 pictures are not read")],
)
def test_one_is_one(count, said):
    values = {"label": "Image folder", "count": count, "names": "a", "example": "10_a"}
    assert said in str(say(Message("preflight.left_no_number", values)))
    judged = {"held": count, "total": "21", "points": count, "cost": "1 %"}
    noun, times = ("picture is", "1 time;") if count == "1" else ("pictures are", f"{count} times;")
    told = str(say(Message("judge.plan", judged)))
    assert told.startswith(f"{count} of 21 {noun.replace('picture ', 'pictures ')}")
    assert times in told
    assert "1,001 pictures" in str(say(Message("preflight.left_no_number", {**values, "count": "1,001"})))
