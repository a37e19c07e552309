"""Files of every age of kohya_ss: recognised, absent keys as they were meant then, traps named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.files.job_folder import PROJECT
from trainer.kohya import Imported, read, to_kohya
from trainer.kohya.ages import AGE_NAMES, PLACES, Age, recognise
from trainer.preflight import check as preflight
from trainer.preflight.check import Checked
from trainer.settings import TRAINING

DATA = Path(__file__).parents[2] / "data" / "kohya"
V26 = json.loads((DATA / "v26_golden.json").read_text(encoding="utf-8"))["gui_defaults"]
MAY_2023 = json.loads((DATA / "2023_05_golden.json").read_text(encoding="utf-8"))["defaults"]
PRESETS = json.loads((DATA / "kohya_presets.json").read_text(encoding="utf-8"))
JANUARY_2023 = {
    "pretrained_model_name_or_path": "m.safetensors", "v2": False, "v_parameterization": False,
    "logging_dir": "", "train_data_dir": "img", "reg_data_dir": "", "output_dir": "out",
    "max_resolution": "512,512",
    "lr_scheduler": "cosine", "lr_warmup": "10", "train_batch_size": 1, "epoch": "1",
    "save_every_n_epochs": "1",
    "mixed_precision": "fp16", "save_precision": "fp16", "seed": "1234", "num_cpu_threads_per_process": 8,
    "cache_latent": True, "caption_extention": ".txt", "enable_bucket": True, "gradient_checkpointing": False,
    "full_fp16": False, "no_token_padding": False, "stop_text_encoder_training": 0, "use_8bit_adam": True,
    "xformers": True, "save_model_as": "same as source model", "shuffle_caption": False, "save_state": False,
    "resume": "", "prior_loss_weight": 1.0, "text_encoder_lr": "5e-5", "unet_lr": "1e-3", "network_dim": 32,
    "lora_network_weights": "", "color_aug": False, "flip_aug": False, "clip_skip": "1",
}  # fmt: skip
"""The 38 keys of v20.0."""


def without(form: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A file that lacks some keys."""
    return {key: value for key, value in form.items() if key not in keys}


def entry(imported: Imported, key: str) -> Any:
    """The report's entry for a key of the file."""
    return next(one for one in imported.report.entries if one.key == key)


@pytest.mark.parametrize(
    ("form", "age"),
    [(V26, "v26.0"), (MAY_2023, "v21.5.12"), (JANUARY_2023, "v20.0")],
    ids=["v26", "2023-05", "2023-01"],
)
def test_complete_files_are_dated(form: dict[str, Any], age: str) -> None:
    assert recognise(form).name == age


def test_a_file_without_its_places_is_dated_all_the_same() -> None:
    assert recognise(without(MAY_2023, *PLACES)).name == "v21.5.12"


@pytest.mark.parametrize("name", AGE_NAMES)
def test_each_release_is_recognised_by_its_own_keys(name: str) -> None:
    age = Age(name)
    form = dict.fromkeys((key for key in [*V26, *MAY_2023, *JANUARY_2023, "locon"] if age.has(key)), "")
    found = recognise(form)
    assert abs(found.index - age.index) <= 1, "neighbours may differ in keys of other model families only"


def test_a_handful_of_keys_counts_as_todays() -> None:
    assert recognise({"network_dim": 32, "unet_lr": 1e-4}).name == "v26.0"
    assert recognise({"network_dim": 32, "seed": "7"}).name == "v23.1.5"
    assert recognise({"network_dim": 32, "conv_dims": "1,2"}).name == "v21.8"


@pytest.mark.parametrize(
    ("form", "key", "then"),
    [
        (V26, "max_train_steps", 1600), (MAY_2023, "max_train_steps", 0), (V26, "caption_extension", ".txt"),
        (MAY_2023, "caption_extension", ""), (V26, "text_encoder_lr", 1e-4),
        (MAY_2023, "text_encoder_lr", 5e-5),
        (V26, "seed", None), (JANUARY_2023, "seed", 1234), (JANUARY_2023, "unet_lr", 1e-3),
        (V26, "multires_noise_discount", 0.3), (MAY_2023, "multires_noise_discount", 0),
        (V26, "max_bucket_reso", 2048), (MAY_2023, "max_bucket_reso", 1024),
        (V26, "bucket_no_upscale", True), (JANUARY_2023, "bucket_no_upscale", False),
    ],
)  # fmt: skip
def test_absent_keys_mean_what_they_meant_then(form: dict[str, Any], key: str, then: Any) -> None:
    imported = read(without(form, key))
    assert imported.settings.get(key) == then
    assert entry(imported, key).kind == "defaulted"


def test_before_alpha_there_was_no_scaling() -> None:
    settings = read(JANUARY_2023).settings
    assert settings.network.network_alpha == settings.network.network_dim == 32


def test_january_2023_keys_find_their_settings() -> None:
    imported = read(JANUARY_2023)
    settings = imported.settings
    assert settings.images.cache_latents
    assert settings.captions.caption_extension == ".txt"
    assert settings.optimizer.optimizer == "AdamW8bit"
    assert settings.saving.save_model_as == "safetensors"
    assert settings.machine.xformers == "xformers"
    assert settings.length.seed == 1234
    assert {one.key for one in imported.report.of("renamed")} == {
        "cache_latent",
        "caption_extention",
        "lora_network_weights",
    }
    assert imported.report.of("unknown") == ()


@pytest.mark.parametrize("name", PRESETS)
def test_kohyas_presets_load_with_a_complete_report(name: str) -> None:
    preset = PRESETS[name]
    imported = read(preset)
    keys = [one.key for one in imported.report.entries if one.kind != "defaulted"]
    assert set(preset) <= set(keys), "no key unaccounted for"
    assert len(keys) == len(set(keys)), "no key twice"
    named = {one.setting for one in imported.report.entries}
    assert set(TRAINING) <= named, "no setting unaccounted for"


@pytest.mark.parametrize("name", PRESETS)
def test_kohyas_presets_survive_saving_and_loading(name: str) -> None:
    first = read(PRESETS[name])
    second = read(json.loads(json.dumps(to_kohya(first.settings, first.carried))))
    assert second.settings == first.settings
    written = to_kohya(second.settings, second.carried)
    assert written == to_kohya(first.settings, first.carried)


def test_another_familys_preset_keeps_its_keys() -> None:
    preset = PRESETS["flux1D - adamw8bit fp8.json"]
    imported = read(preset)
    assert {one.key for one in imported.report.attention} == {"LoRA_type", "flux1_checkbox"}
    written = to_kohya(imported.settings, imported.carried)
    assert written["flux1_checkbox"] is True
    assert written["LoRA_type"] == "Flux1", "the value that had to be replaced comes back"
    others = {one.key: one.was for one in imported.report.of("other_family")}
    assert len(others) == 15
    assert {key: written[key] for key in others} == others
    changed = to_kohya(imported.settings.replace(LoRA_type="Kohya LoCon"), imported.carried)
    assert changed["LoRA_type"] == "Kohya LoCon", "but not over what somebody chose since"


def test_keys_that_nobody_knows_come_back() -> None:
    imported = read({**V26, "from_the_future": [1, {"a": 2}]})
    assert entry(imported, "from_the_future").kind == "unknown"
    assert to_kohya(imported.settings, imported.carried)["from_the_future"] == [1, {"a": 2}]


TRAPS: list[tuple[dict[str, Any], str, Any, str, str]] = [
    ({"seed": 0}, "seed", None, "kohya.seed_zero", ""),
    ({"seed": -1}, "seed", None, "kohya.seed_negative", ""),
    ({"gradient_accumulation_steps": "1.0"}, "gradient_accumulation_steps", 1, "kohya.text_as_number", ""),
    ({"learning_rate": "1e-4 "}, "learning_rate", 1e-4, "kohya.text_as_number", ""),
    ({"unet_lr": "1e-4x"}, "unet_lr", 1e-4, "kohya.not_a_number", "kohya.bad_rate"),
    ({"unet_lr": "0,0001"}, "unet_lr", 1e-4, "kohya.text_as_number", ""),
    ({"unet_lr": "０．０００１"}, "unet_lr", 1e-4, "kohya.text_as_number", ""),
    ({"learning_rate": "１ｅ−４"}, "learning_rate", 1e-4, "kohya.text_as_number", ""),
    ({"network_dim": "１６"}, "network_dim", 16, "kohya.text_as_number", ""),
    ({"text_encoder_lr": 0}, "text_encoder_lr", 0, "", ""),
    ({"text_encoder_lr": ""}, "text_encoder_lr", 0, "kohya.blank_rate", ""),
    ({"text_encoder_lr": 0, "unet_lr": 0}, "unet_lr", None, "kohya.both_rates_off", "kohya.both_rates_zero"),
    ({"max_grad_norm": 0}, "max_grad_norm", 0, "", "kohya.zero_dropped"),
    ({"prior_loss_weight": 0}, "prior_loss_weight", 0, "", "kohya.zero_dropped"),
    ({"max_train_steps": ""}, "max_train_steps", 0, "kohya.blank", ""),
    ({"epoch": 10, "max_train_steps": 1600}, "epoch", 10, "", "kohya.epoch_ignored"),
    ({"stop_text_encoder_training": 80}, "stop_text_encoder_training", 80, "", "kohya.stop_text_encoder"),
    (
        {"stop_text_encoder_training": -1}, "stop_text_encoder_training", 0,
        "kohya.moved_stop_text_encoder_training", "",
    ),
    ({"lr_scheduler": "constant"}, "lr_scheduler", "constant", "", "kohya.constant_warmup"),
    ({"LoRA_type": "LoCon"}, "LoRA_type", "LyCORIS/LoCon", "kohya.locon", ""),
    ({"LoRA_type": "LyCORIS/LoKr"}, "decompose_both", False, "", "kohya.decompose_both"),
    ({"LoRA_type": "LyCORIS/LoKr", "use_tucker": True}, "use_tucker", True, "", "kohya.use_tucker"),
    ({"xformers": True}, "xformers", "xformers", "kohya.became_choice", ""),
    ({"xformers": False}, "xformers", "none", "kohya.became_choice", ""),
    ({"max_token_length": "225"}, "max_token_length", 225, "kohya.spelling", ""),
    ({"optimizer": "pytorch_optimizer.CAME"}, "optimizer", "AdamW8bit", "kohya.no_such_choice", ""),
    (
        {"optimizer_args": '"d0=1e-5"  "d_coef=1.0"'}, "optimizer_args", "d0=1e-5 d_coef=1.0",
        "kohya.quotes_and_blanks", "",
    ),
    ({"model_list": []}, "model_list", "custom", "kohya.moved_model_list", ""),
    ({"bucket_reso_steps": 64.0}, "bucket_reso_steps", 64, "", ""),
    ({"network_dim": {"a": 1}}, "network_dim", 8, "kohya.wrong_type", ""),
    ({"network_dim": 768}, "network_dim", 768, "kohya.beyond_its_field", ""),
    ({"caption_dropout_rate": 3}, "caption_dropout_rate", 1, "kohya.clamped", ""),
    ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale", 0.1, "", "kohya.adaptive_alone"),
    ({"down_lr_weight": None}, "down_lr_weight", "", "", ""),
    ({"noise_offset": None}, "noise_offset", 0, "kohya.blank", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "key", "value", "why", "note"), TRAPS, ids=[f"{t[0]} {t[1]}" for t in TRAPS]
)
def test_traps_of_todays_files(change: dict[str, Any], key: str, value: Any, why: str, note: str) -> None:
    imported = read({**V26, "max_train_steps": 0, **change})
    found = entry(imported, key)
    assert imported.settings.get(key) == value
    assert (found.now, found.why, found.note) == (value, why, note)


TRAPS_2023: list[tuple[dict[str, Any], str, str, Any, str, str]] = [
    ({"seed": "0"}, "seed", "seed", 0, "", ""),
    ({"seed": "０"}, "seed", "seed", 0, "kohya.text_as_number", ""),
    ({"seed": ""}, "seed", "seed", None, "", ""),
    ({"epoch": 7}, "lr_scheduler_num_cycles", "lr_scheduler_num_cycles", 7, "kohya.cycles_are_epochs", ""),
    (
        {"lr_scheduler": "constant"}, "lr_scheduler", "lr_scheduler", "constant", "",
        "kohya.constant_warmup_dropped",
    ),
    ({"lora_network_weights": "a.pt"}, "lora_network_weights", "network_weights", "a.pt", "", ""),
    ({"conv_dims": "2,2"}, "conv_dims", "conv_block_dims", "2,2", "", "kohya.conv_dims"),
    ({"use_wandb": True}, "use_wandb", "log_with", "wandb", "kohya.became_choice", ""),
    (
        {"stop_text_encoder_training_pct": 50}, "stop_text_encoder_training_pct",
        "stop_text_encoder_training", 50, "", "kohya.stop_text_encoder",
    ),
    ({"no_token_padding": True}, "no_token_padding", "no_token_padding", True, "", "kohya.token_padding"),
    ({"optimizer": "Adafactor"}, "optimizer", "optimizer", "Adafactor", "", "kohya.adafactor_warmup"),
    ({"text_encoder_lr": "", "unet_lr": ""}, "unet_lr", "unet_lr", None, "kohya.both_rates_off", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "key", "setting", "value", "why", "note"), TRAPS_2023, ids=[str(t[0]) for t in TRAPS_2023]
)
def test_traps_of_2023(
    change: dict[str, Any], key: str, setting: str, value: Any, why: str, note: str
) -> None:
    imported = read({**MAY_2023, **change})
    found = entry(imported, key)
    assert imported.settings.get(setting) == value
    assert (found.setting, found.why, found.note) == (setting, why, note)


def test_options_in_the_free_text_move_to_their_fields() -> None:
    text = '--lr_scheduler_type "CosineAnnealingLR" --lr_scheduler_args "T_max=10" '
    text += '--log_prefix=x --caption_prefix "a b"'
    imported = read({**V26, "additional_parameters": text})
    assert imported.settings.optimizer.lr_scheduler_type == "CosineAnnealingLR"
    assert imported.settings.optimizer.lr_scheduler_args == "T_max=10"
    assert imported.settings.records.additional_parameters == '--caption_prefix "a b"'
    written = to_kohya(imported.settings, imported.carried)
    assert written["additional_parameters"] == '--log_prefix x --caption_prefix "a b"'
    assert entry(imported, "lr_scheduler_type").why == "kohya.from_text"


def test_secrets_are_read_but_never_written() -> None:
    imported = read({**V26, "wandb_api_key": "s3cret", "huggingface_token": "t0ken"})
    assert imported.settings.records.wandb_api_key == "s3cret"
    written = json.dumps([to_kohya(imported.settings, imported.carried), imported.as_json()])
    assert "s3cret" not in written
    assert "t0ken" not in written


@pytest.mark.parametrize("name", PRESETS)
def test_the_checks_name_what_cannot_train(name: str, tmp_path: Path) -> None:
    """Each preset on the demo's model and pictures: the checks end, with a plan, and name the trap."""
    demo = PROJECT / "presets" / "demo"
    places = {"pretrained_model_name_or_path": str(demo / "model"), "train_data_dir": str(demo / "pictures")}
    checked = check({**PRESETS[name], **places, "output_dir": str(tmp_path), "output_name": "x"})
    assert checked.plan is not None
    assert checked.plan.total_steps > 0
    blocked = {problem.setting for problem in checked.problems if problem.blocks}
    assert ("bucket_reso_steps" in blocked) == (PRESETS[name]["bucket_reso_steps"] == 1)


def check(form: dict[str, Any]) -> Checked:
    """What preflight says of a file."""
    return preflight.check(read(form).settings)
