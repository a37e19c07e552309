"""kohya_ss's JSON, of every age, and our own: the same keys, with what only we have under one more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.kohya import ages, schedule_options
from trainer.kohya.ages import Age, recognise
from trainer.kohya.differences import Case, difference, is_nothing
from trainer.kohya.draft import OWN, Draft
from trainer.kohya.fitting import as_number, fit
from trainer.kohya.free_text import move_options
from trainer.kohya.report import Imported
from trainer.kohya.roots import spelled_out
from trainer.kohya.write_kohya import OTHER_SWITCHES, OURS, OWN_MEANING, stand_in
from trainer.settings import TRAINING

OTHER_FAMILY: dict[str, Any] = json.loads(
    Path(__file__).with_name("other_families.json").read_text(encoding="utf-8")
)
"""Keys of Flux, SD3, HunyuanImage, Anima and Lumina, with kohya_ss v26's defaults."""
RENAMED = {
    "lora_network_weights": "network_weights", "conv_dims": "conv_block_dims",
    "conv_alphas": "conv_block_alphas", "cache_latent": "cache_latents",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
    "caption_extention": "caption_extension", "sdxl_checkbox": "sdxl", "optimizer_type": "optimizer",
    "resolution": "max_resolution",
}  # fmt: skip
SHARED = {
    "pretrained_model_name_or_path", "vae", "train_data_dir", "output_dir", "logging_dir", "resolution",
    "learning_rate", "text_encoder_lr", "lr_scheduler", "lr_warmup_steps", "optimizer", "optimizer_type",
    "train_batch_size", "max_train_steps", "epoch", "seed", "resume", "mixed_precision", "max_grad_norm",
    "gradient_accumulation_steps", "gradient_checkpointing", "noise_offset", "min_snr_gamma", "loss_type",
}  # fmt: skip
"""Keys that nearly every program for training has: alone they tell nothing."""
LEFTOVERS = {"save_as_bool", "save_as", "file_path", "headless", "print_only"}
"""Written by accident; they never meant anything."""
BLANKS: dict[str, Any] = {
    "max_train_steps": 0, "max_train_epochs": 0, "caption_dropout_every_n_epochs": 0, "keep_tokens": 0,
    "max_data_loader_n_workers": 0, "save_every_n_epochs": 0, "noise_offset": 0, "adaptive_noise_scale": 0,
    "lr_warmup": 0, "lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1.0, "max_token_length": 75,
    "clip_skip": 1, "gradient_accumulation_steps": 1, "epoch": 1,
}  # fmt: skip
"""What a blank box means to kohya_ss, where it means something (elsewhere: as if it were absent)."""
WIDER = {
    "network_dim": 512, "network_alpha": 1024, "conv_dim": 512, "conv_alpha": 512, "train_batch_size": 64,
    "gradient_accumulation_steps": 120, "keep_tokens": 32, "min_snr_gamma": 20, "scale_weight_norms": 10,
}  # fmt: skip
"""Where kohya_ss's own field ends earlier than ours."""


def read_kohya(data: Mapping[str, Any]) -> Imported:
    """Settings from kohya_ss's keys (or ours). Raises UserError only for what is no such file at all."""
    if not any(key in ages.KNOWN_KEYS or key in RENAMED for key in data):
        raise UserError("kohya.no_known_key")
    own = _own_part(data)
    if own is not None:
        return _read_ours(data, own)
    age = recognise(data)
    draft = Draft(age.defaults())
    _read_keys(draft, dict(data), age)
    if draft.get("sdxl") or draft.get("v2"):  # the model of kohya_ss's fresh form is Stable Diffusion 1.5
        draft.defaults["pretrained_model_name_or_path"] = ""
    known = {key for key in data if key in ages.KNOWN_KEYS or key in RENAMED or key in OTHER_FAMILY}
    if 2 * len(known) < len(data) or (known <= SHARED and len(known) < len(data)):
        draft.entries = [
            replace(entry, attention=True) if entry.kind == "unknown" else entry for entry in draft.entries
        ]
        return draft.finish("unknown", order=data)
    _notes_on_absent(draft, data, age)
    return draft.finish("kohya_ss", str(age), order=data)


def _own_part(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What stands under our key; for a job's settings.json (flat, no such key) the same, gathered."""
    if isinstance(data.get(OWN), dict):
        return data[OWN]
    if all(key in data for key in OURS):
        return {"values": {key: data[key] for key in (*OWN_MEANING, *OURS) if key in data}, "flat": True}
    return None


def _read_ours(data: Mapping[str, Any], own: Mapping[str, Any]) -> Imported:
    draft = Draft({})
    draft.own |= {"sd_scripts": options} if (options := _dict(own, "sd_scripts")) else {}
    plain = {key: value for key, value in data.items() if key != OWN}
    standing_in: dict[str, dict[str, Any]] = {}
    for key, replacement in _dict(own, "replaced").items():
        if (
            key in TRAINING
            and set(_dict_or(replacement)) == {"file", "here"}
            and plain.get(key) == replacement["file"]
        ):
            plain[key] = replacement["here"]
            standing_in[key] = {"was": replacement["file"], "why": "kohya.stands_in"}
            draft.replaced(key, replacement["file"], replacement["here"])
    mine = {}
    for key, value in _dict(own, "values").items():
        if key in plain and not own.get("flat") and plain[key] != stand_in(key, value, plain):
            draft.add(OWN, "unknown", value, setting=key, why="kohya.edited_elsewhere", attention=True)
        elif key in TRAINING:
            mine[key] = value
    plain = {key: value for key, value in plain.items() if key not in mine}
    _rates(draft, plain)
    _seed(draft, plain, ages.NEWEST)
    for key, value in {**plain, **mine}.items():
        if key not in TRAINING:
            _foreign(draft, key, value)
        elif key not in draft.values:
            draft.take(key, spelled_out(key, value), **standing_in.get(key, {}))
    draft.add(OWN, "taken", why="kohya.own_part")
    return draft.finish("lora_atelier", card=_dict(own, "card"), order=data)


def _dict(own: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A part of our key; {} where somebody put something else there."""
    return _dict_or(own.get(key))


def _dict_or(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _read_keys(draft: Draft, data: dict[str, Any], age: Age) -> None:
    _old_names(draft, data)
    _old_switches(draft, data, age)
    _rates(draft, data)
    _seed(draft, data, age)
    _cycles(draft, data, age)
    _argument_texts(draft, data)
    for key in list(data):
        if key in TRAINING and key not in draft.values:
            raw = data.pop(key)
            case = Case(key, raw, lambda name: data[name] if name in data else draft.get(name), age)
            value, why = _moved(key, raw)
            draft.take(key, value, was=raw, why=why, **(difference(case) if value == raw else {}))
    _wider(draft)
    move_options(draft)
    for key, value in data.items():
        _foreign(draft, key, value)


def _old_names(draft: Draft, data: dict[str, Any]) -> None:
    for old, new in RENAMED.items():
        if old not in data:
            continue
        value = data.pop(old)
        if data.get(new) not in (None, "") or new in draft.values:
            draft.add(old, "unknown", value, setting=new, why="kohya.newer_name_wins")
            continue
        if new in data:
            draft.add(new, "unknown", data.pop(new), why="kohya.older_name_wins")
        effective = value not in (None, "", 0, False)
        note = "kohya.conv_dims" if old.startswith("conv_") and effective else ""
        if new == "stop_text_encoder_training" and effective:
            note = "kohya.stop_text_encoder"
        draft.take(new, value, key=old, note=note)


def _old_switches(draft: Draft, data: dict[str, Any], age: Age) -> None:
    """Checkboxes that became choices."""
    if "use_8bit_adam" in data:
        eight = fit(TRAINING["v2"], data.pop("use_8bit_adam"), False).value
        if "optimizer" in data:
            draft.add("use_8bit_adam", "unknown", eight, setting="optimizer", why="kohya.newer_name_wins")
        else:
            name = "AdamW8bit" if eight else "AdamW"
            draft.take("optimizer", name, key="use_8bit_adam", was=eight, why="kohya.became_choice")
    if "use_wandb" in data:
        wandb = fit(TRAINING["v2"], data.pop("use_wandb"), False).value
        if "log_with" in data:
            draft.add("use_wandb", "unknown", wandb, setting="log_with", why="kohya.newer_name_wins")
        else:
            draft.take(
                "log_with", "wandb" if wandb else "", key="use_wandb", was=wandb, why="kohya.became_choice"
            )
    if "locon" in data:
        locon = fit(TRAINING["v2"], data.pop("locon"), False).value
        if "LoRA_type" in data:
            draft.add("locon", "unknown", locon, setting="LoRA_type", why="kohya.newer_name_wins")
        else:
            kind = "LyCORIS/LoCon" if locon else "Standard"
            draft.take("LoRA_type", kind, key="locon", was=locon, why="kohya.became_choice")
    if isinstance(data.get("xformers"), bool):
        xformers = data.pop("xformers")
        draft.take("xformers", "xformers" if xformers else "none", was=xformers, why="kohya.became_choice")
    if data.get("LoRA_type") == "LoCon":
        draft.take("LoRA_type", "LyCORIS/LoCon", was=data.pop("LoRA_type"), why="kohya.locon")
    if age.before("v20.5.2") and "network_alpha" not in data and "network_dim" in data:
        draft.defaults["network_alpha"] = fit(TRAINING["network_dim"], data["network_dim"], 8).value


def _rates(draft: Draft, data: dict[str, Any]) -> None:
    """kohya_ss: a part at 0 or blank is not trained; both so, and both train at the base rate."""
    if not {"unet_lr", "text_encoder_lr"} & set(data):
        return
    raw = {key: data.get(key, draft.defaults[key]) for key in ("unet_lr", "text_encoder_lr")}
    off = {key for key, value in raw.items() if is_nothing(value)}
    base = data.get("learning_rate", draft.defaults["learning_rate"])
    for key, value in raw.items():
        if key not in data:
            if len(off) == 2 and not is_nothing(base):
                draft.defaults[key] = None
            continue
        del data[key]
        if len(off) == 2 and not is_nothing(base):
            draft.take(
                key,
                None,
                was=value,
                why="kohya.both_rates_off",
                note="kohya.both_rates_zero" if value in (0, "0") else "",
            )
        elif key in off:
            blank = value in (None, "") or (isinstance(value, str) and not value.strip())
            draft.take(key, 0, was=value, why="kohya.blank_rate" if blank else "")
        else:
            bad = isinstance(value, str) and fit(TRAINING[key], value, None).why == "kohya.not_a_number"
            draft.take(key, value, note="kohya.bad_rate" if bad else "")


def _seed(draft: Draft, data: dict[str, Any], age: Age) -> None:
    """Blank, 0 (since v24.0) and negative numbers mean "any seed"."""
    if "seed" not in data:
        return
    raw = data.pop("seed")
    number = as_number(raw) if isinstance(raw, str) else raw
    if number == 0 and not isinstance(raw, bool) and not age.before("v24.0"):
        draft.take("seed", None, was=raw, why="kohya.seed_zero")
    elif isinstance(number, (int, float)) and number < 0:
        draft.take("seed", None, was=raw, why="kohya.seed_negative")
    else:
        draft.take("seed", raw)


def _cycles(draft: Draft, data: dict[str, Any], age: Age) -> None:
    """Before v24.0 a blank number of cycles was the number of epochs."""
    if data.get("lr_scheduler_num_cycles", 0) != "" or not age.before("v24.0"):
        return
    epoch = fit(TRAINING["epoch"], data.get("epoch", 1), 1).value
    draft.take(
        "lr_scheduler_num_cycles",
        epoch,
        was=data.pop("lr_scheduler_num_cycles"),
        why="kohya.cycles_are_epochs",
    )


def _argument_texts(draft: Draft, data: dict[str, Any]) -> None:
    """key=value texts: kohya_ss takes the quotes out and divides at blanks."""
    for key in ("optimizer_args", "lr_scheduler_args"):
        raw = data.get(key)
        if isinstance(raw, str) and raw:
            plain = " ".join(raw.replace('"', "").split())
            if plain != raw:
                del data[key]
                draft.take(key, plain, was=raw, why="kohya.quotes_and_blanks")
    schedule = str(data.get("lr_scheduler", draft.get("lr_scheduler")))
    for option in schedule_options.ARGUMENT_OF:
        if data.get(option) not in (None, "", 0) and schedule_options.schedule_takes(schedule, option):
            so_far = draft.get("lr_scheduler_args") or str(data.pop("lr_scheduler_args", ""))
            raw = data.pop(option)
            text = schedule_options.with_argument(so_far, option, raw)
            draft.take("lr_scheduler_args", text, key=option, was=raw, why="kohya.schedule_option")


def _moved(key: str, raw: Any) -> tuple[Any, str]:
    """The value in today's spelling, and why it is another than the file's."""
    if key in BLANKS and (raw is None or raw == ""):
        return BLANKS[key], "kohya.blank"
    if key == "save_model_as" and isinstance(raw, str) and raw not in ("safetensors", "ckpt"):
        return "safetensors", "kohya.moved_save_model_as"
    if key == "model_list" and (not raw or not isinstance(raw, str)):
        return "custom", "kohya.moved_model_list"
    if key == "stop_text_encoder_training" and isinstance(raw, (int, float)) and raw < 0:
        return 0, "kohya.moved_stop_text_encoder_training"
    return raw, ""


def _wider(draft: Draft) -> None:
    """Values beyond kohya_ss's own field, which we allow."""
    for at, entry in enumerate(draft.entries):
        limit = WIDER.get(entry.setting)
        if limit is not None and entry.kind in ("taken", "converted") and (entry.now or 0) > limit:
            why, values = "kohya.beyond_its_field", {"limit": limit}
            draft.entries[at] = replace(entry, kind="out_of_range", why=why, values=values)


def _foreign(draft: Draft, key: str, value: Any) -> None:
    """Keys that are no setting here: kept, and written back."""
    if key in LEFTOVERS or key == OWN:
        draft.add(key, "unknown", value, why="kohya.leftover")
        return
    draft.carry(key, value)
    if key in OTHER_FAMILY or key in ages.KNOWN_KEYS:
        is_family = value is True and key in OTHER_SWITCHES
        draft.add(
            key, "other_family", value, why="kohya.other_model" if is_family else "", attention=is_family,
            values={"family": OTHER_SWITCHES.get(key, "")},
        )  # fmt: skip
    else:
        draft.add(key, "unknown", value, why="kohya.unknown_key")


def _notes_on_absent(draft: Draft, data: Mapping[str, Any], age: Age) -> None:
    if age.before("v21.8.9") and "max_train_steps" not in data:
        draft.notes["max_train_steps"] = "kohya.steps_absent"
    if "optimizer" not in data and "use_8bit_adam" not in data:
        draft.notes["optimizer"] = "kohya.optimizer_absent"
