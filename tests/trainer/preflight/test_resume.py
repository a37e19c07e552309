"""Checks of "Resume from saved training state", before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.trainer.found import expect, find
from tests.trainer.made import SD1, model_file, sound_settings
from trainer.preflight.check import check
from trainer.settings import FIXED_BY_STATE, TRAINING, Settings
from trainer.training.state import random_states


def written_state(folder: Path, settings: Settings, step: int = 20, **facts: Any) -> str:
    """A state as a run with these settings writes it, as far as the checks look."""
    folder.mkdir(parents=True)
    about = {"format": 1, "position": {"step": step, "epoch": 1, "batch": step}, "seed": 1, "name": "cat"}
    (folder / "state.json").write_text(json.dumps({**about, "settings": settings.flat(), **facts}))
    save_file({"x": torch.zeros(1)}, folder / "network.safetensors")
    optimizer = {"state": {}, "param_groups": []}
    schedule = {"last_epoch": step}
    torch.save({"optimizer": optimizer, "lr_scheduler": schedule, "scaler": {}}, folder / "optimizer.pt")
    torch.save(random_states(), folder / "random.pt")
    return str(folder)


def resumed(folder: Path, then: dict[str, Any], now: dict[str, Any], **more: Any) -> Settings:
    """Settings `now` of a run that begins in the state of a run with settings `then`."""
    settings = sound_settings(folder, **then)
    state = written_state(folder / "out" / "cat-000001-state", settings, **more)
    return settings.replace(**now, resume=state)


@pytest.mark.parametrize(
    ("content", "code"),
    [("", "preflight.state_missing"), ("train_state.json", "preflight.state_of_others")],
)
def test_states_that_cannot_be_continued_are_refused(tmp_path: Path, content: str, code: str):
    (tmp_path / "state").mkdir()
    if content:
        (tmp_path / "state" / content).write_text("{}")
    expect(sound_settings(tmp_path, resume=str(tmp_path / "state")), code, setting="resume", blocks=True)


def test_a_state_that_was_moved_aside_is_found(tmp_path: Path):
    """A crash has come in the middle of replacing it."""
    settings = resumed(tmp_path, {}, {})
    place = Path(settings.saving.resume)
    place.rename(place.with_name(f".{place.name}.old"))
    place.mkdir()
    assert not [problem for problem in check(settings).problems if problem.blocks]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("out/cat-000001-state/state.json", "out/cat-000001-state"),
        ("out/cat-000001-state/optimizer.pt", "out/cat-000001-state"),
        ("out/cat-000001.safetensors", "out/cat-000001-state"),
        ("out", "out/cat-000001-state"),
        ("jobs/1", "jobs/1/state"),
    ],
)
def test_a_state_near_the_path_is_offered(tmp_path: Path, given: str, meant: str):
    settings = resumed(tmp_path, {}, {})
    (tmp_path / "out" / "cat-000001.safetensors").write_text("a LoRA")
    (tmp_path / "out" / "older-state").mkdir()
    written_state(tmp_path / "jobs" / "1" / "state", settings)
    asked = settings.replace(resume=str(tmp_path / given))
    problem = expect(asked, "preflight.state_near", setting="resume", blocks=True)
    assert problem.fix == {"resume": str(tmp_path / meant)}
    assert not check(asked.replace(**(problem.fix or {}))).blocked


def test_a_file_that_is_no_state_is_said_to_be_none(tmp_path: Path):
    """And not that it is not there."""
    settings = sound_settings(tmp_path, resume=str(tmp_path / "model.safetensors"))
    expect(settings, "preflight.state_missing", setting="resume", blocks=True)


def test_the_rates_of_two_text_encoders_are_no_damage(tmp_path: Path):
    found = check(resumed(tmp_path, {"text_encoder_lr": (1e-5, 1e-6)}, {"text_encoder_lr": 1e-5})).problems
    assert not [problem.code for problem in found if problem.blocks]


def test_a_start_file_does_not_count_beside_a_state(tmp_path: Path):
    settings = resumed(tmp_path, {}, {"network_weights": str(tmp_path / "lora.safetensors")})
    down, up = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", (8, 32, 1, 1)
    model_file(tmp_path / "lora.safetensors", {down: up, down.replace("down", "up"): (32, 8, 1, 1)})
    problem = find(check(settings), "preflight.resume_start_file")
    assert (problem.setting, problem.blocks, problem.fix) == (
        "network_weights",
        False,
        {"network_weights": ""},
    )


JUDGES = {"seed": 1, "validation_split": 0.25}


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ({"seed": 1}, {"validation_split": 0.25}),
        (JUDGES, {"validation_split": 0.4}),
        (JUDGES, {"validation_seed": 7}),
        (JUDGES, {"seed": 2}),
        ({**JUDGES, "validation_seed": 3}, {"validation_seed": None}),
    ],
    ids=str,
)
def test_pictures_that_were_learned_are_no_judges(tmp_path: Path, then: dict[str, Any], now: dict[str, Any]):
    settings = resumed(tmp_path, then, now)
    expect(settings, "preflight.resume_judged", setting="validation_split", blocks=False)


@pytest.mark.parametrize(
    "now",
    [{}, {"validation_split": 0}, {"validation_split": 0.1}, {"validation_seed": 1, "seed": 9}],
    ids=str,
)
def test_pictures_that_were_kept_back_are_judges(tmp_path: Path, now: dict[str, Any]):
    told = [problem.code for problem in check(resumed(tmp_path, JUDGES, now)).problems]
    assert "preflight.resume_judged" not in told


FREE = {
    "rates": {"learning_rate": 1e-5, "unet_lr": 3e-5, "text_encoder_lr": None},
    "schedule": {"lr_scheduler": "linear", "lr_warmup": 0, "lr_scheduler_num_cycles": 3},
    "length": {"epoch": 9},
    "pictures": {"train_batch_size": 2, "gradient_accumulation_steps": 2, "flip_aug": True, "epoch": 9},
    "chance": {"seed": 9, "shuffle_caption": True, "network_dropout": 0.1, "noise_offset": 0.1},
    "machine": {"mixed_precision": "bf16", "gradient_checkpointing": True},
    "saving": {"save_every_n_steps": 3, "save_precision": "float", "save_model_as": "ckpt"},
    "samples": {"sample_every_n_steps": 5, "sample_prompts": "a cat"},
    "blanks": {"optimizer_args": " weight_decay=0.1  betas=0.9,0.99 "},
    "what does not count": {"conv_dim": 7, "unit": 2},
}


@pytest.mark.parametrize("what", FREE)
def test_what_may_change_may_change(tmp_path: Path, what: str):
    then = {"optimizer_args": "weight_decay=0.1 betas=0.9,0.99"}
    found = check(resumed(tmp_path, then, FREE[what])).problems
    assert not [problem.code for problem in found if problem.blocks]


LOCON = {"LoRA_type": "LyCORIS/LoCon"}
FIXED = [
    ({}, {"network_dim": 4}),
    ({}, {"network_alpha": 3}),
    ({"network_alpha": 1}, {"network_alpha": 1.5}),
    ({}, {"optimizer": "Lion"}),
    ({"optimizer": "Prodigy", "unet_lr": 1, "text_encoder_lr": 1}, {"optimizer": "AdamW"}),
    ({}, {"optimizer_args": "weight_decay=0.3"}),
    ({}, {"LoRA_type": "LoRA-FA"}),
    (LOCON, {"conv_dim": 4}),
    (LOCON, {"dora_wd": True}),
    (LOCON, {"LyCORIS_preset": "attn-only"}),
    ({}, {"block_dims": ",".join(["4"] * 25)}),
    ({}, {"v_parameterization": True}),
]


@pytest.mark.parametrize(("then", "now"), FIXED, ids=str)
def test_what_a_state_holds_cannot_change(tmp_path: Path, then: dict[str, Any], now: dict[str, Any]):
    [key] = now
    settings = resumed(tmp_path, then, now)
    problem = find(check(settings), "preflight.resume_fixed")
    assert (problem.setting, problem.blocks) == (key, True)
    fix = problem.fix or {}
    assert fix == {key: sound_settings(tmp_path, **then).get(key)}
    mended = check(settings.replace(**fix)).problems
    assert "preflight.resume_fixed" not in [one.code for one in mended]


def test_each_of_several_is_told(tmp_path: Path):
    found = check(resumed(tmp_path, {}, {"network_dim": 4, "optimizer": "Lion"})).problems
    assert [one.setting for one in found if one.blocks] == ["network_dim", "optimizer"]


def test_what_is_fixed_are_settings():
    assert set(FIXED_BY_STATE) <= set(TRAINING)
    assert len(set(FIXED_BY_STATE)) == len(FIXED_BY_STATE)


UNET_PLUS = "loraplus_unet_lr_ratio"
CURVE = {"down_lr_weight": "cosine", "block_lr_zero_threshold": "0.3"}


@pytest.mark.parametrize(
    ("then", "now", "code", "setting"),
    [
        ({}, {"text_encoder_lr": 0}, "preflight.resume_part_off", "text_encoder_lr"),
        ({"text_encoder_lr": 0}, {"text_encoder_lr": 1e-5}, "preflight.resume_part_on", "text_encoder_lr"),
        ({"unet_lr": None}, {"learning_rate": 0}, "preflight.resume_part_off", "unet_lr"),
        ({}, {"loraplus_lr_ratio": 16}, "preflight.resume_fixed", UNET_PLUS),
        ({UNET_PLUS: 4}, {UNET_PLUS: 0}, "preflight.resume_fixed", UNET_PLUS),
        ({}, {"mid_lr_weight": "0.5"}, "preflight.resume_block_rates_on", "down_lr_weight"),
        ({"mid_lr_weight": "1"}, {"mid_lr_weight": ""}, "preflight.resume_block_rates_off", "down_lr_weight"),
        ({"mid_lr_weight": "0.5"}, {"mid_lr_weight": "0"}, "preflight.resume_blocks", "down_lr_weight"),
        ({}, CURVE, "preflight.resume_block_rates_on", "down_lr_weight"),
    ],
    ids=str,
)  # fmt: skip
def test_parts_and_blocks_stay_as_they_were(
    tmp_path: Path, then: dict[str, Any], now: dict[str, Any], code: str, setting: str
):
    expect(resumed(tmp_path, then, now), code, setting=setting, blocks=True)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ({"loraplus_lr_ratio": 4}, {"loraplus_lr_ratio": 0, "loraplus_unet_lr_ratio": 2,
                                    "loraplus_text_encoder_lr_ratio": 8}),
        ({"mid_lr_weight": "0.5"}, {"mid_lr_weight": "0.7", "down_lr_weight": "0.1,0.2"}),
    ],
    ids=str,
)  # fmt: skip
def test_rates_of_the_same_parts_may_change(tmp_path: Path, then: dict[str, Any], now: dict[str, Any]):
    assert not [one.code for one in check(resumed(tmp_path, then, now)).problems if one.blocks]


def test_another_base_model_is_refused_and_a_moved_one_is_not(tmp_path: Path):
    settings, key = resumed(tmp_path, {}, {}), "pretrained_model_name_or_path"
    moved = model_file(tmp_path / "elsewhere" / "model.safetensors")
    assert not [one for one in check(settings.replace(**{key: str(moved)})).problems if one.blocks]
    other = model_file(tmp_path / "other.safetensors", {**SD1, "more": (3,)})
    changed = settings.replace(**{key: str(other)})
    problem = expect(changed, "preflight.resume_model", setting=key, blocks=True)
    assert problem.fix == {"model_list": "custom", key: str(tmp_path / "model.safetensors")}


def test_another_model_of_the_same_name_is_told_by_its_size(tmp_path: Path):
    key = "pretrained_model_name_or_path"
    settings = resumed(tmp_path, {}, {}, files={key: [1, 5]})
    other = model_file(tmp_path / "elsewhere" / "model.safetensors")
    changed = settings.replace(**{key: str(other)})
    values = expect(changed, "preflight.resume_model", setting=key, blocks=True).values
    assert values["old"] != values["new"], "their names alone would say nothing"


@pytest.mark.parametrize("mark", [5, "abc", None, [], {}, [None]], ids=str)
@pytest.mark.parametrize(
    "path", ["/a\0b/model.safetensors", "//server/x/other.safetensors", "x\0", "a/" * 9000]
)
def test_what_a_stranger_says_of_the_base_model(tmp_path: Path, mark: Any, path: str):
    """Nothing there is looked for, and nothing of it ends in a traceback."""
    key = "pretrained_model_name_or_path"
    settings = resumed(tmp_path, {}, {}, files={key: mark})
    state = Path(settings.saving.resume) / "state.json"
    about = json.loads(state.read_text())
    about["settings"][key] = path
    state.write_text(json.dumps(about))
    for problem in check(settings).problems:
        if problem.blocks:
            assert (problem.code, problem.fix) == ("preflight.resume_model", None)


@pytest.mark.parametrize(
    ("now", "setting"),
    [({"max_train_steps": 20}, "max_train_steps"), ({"epoch": 1, "train_batch_size": 2}, "epoch"),
     ({"max_train_epochs": 1, "train_batch_size": 4}, "max_train_epochs")],
)  # fmt: skip
def test_a_state_that_leaves_nothing_to_do(tmp_path: Path, now: dict[str, Any], setting: str):
    """4 pictures × 10."""
    problem = expect(resumed(tmp_path, {}, now), "preflight.resume_done", setting=setting, blocks=True)
    assert problem.values["done"] == "20"
    found = check(resumed(tmp_path / "more", {}, {"max_train_steps": 21}))
    assert not found.blocked
    assert found.plan is not None
    assert [save.step for save in found.plan.saves] == [21]


@pytest.mark.parametrize(
    "settings", [{}, {"network_dim": 8, "of_the_future": 1}, {"save_every_n_steps": "x"}], ids=str
)
def test_states_of_other_versions_are_compared_as_far_as_they_tell(tmp_path: Path, settings: dict[str, Any]):
    now = resumed(tmp_path, {}, {"network_dim": 8, "optimizer": "Lion"})
    about = Path(now.saving.resume) / "state.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "settings": settings}))
    assert not [one.code for one in check(now).problems if one.blocks]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("network_dim", value) for value in ("x", -3, None, 10**9, [1, 2])),
        *(("text_encoder_lr", value) for value in ("x", -1, [1, "x"], [1, 2, 3])),
        ("unet_lr", "x"), ("LoRA_type", "x"), ("optimizer", 5), ("optimizer_args", [1, 2]),
    ],
)  # fmt: skip
def test_settings_that_no_run_can_have_had(tmp_path: Path, key: str, value: Any):
    now = resumed(tmp_path, {}, {})
    about = Path(now.saving.resume) / "state.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "settings": {key: value}}))
    expect(now, "training.state_damaged", setting="resume", blocks=True)
