"""Settings of LoRA_Easy_Training_Scripts: tables that hold sd-scripts' own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.kohya.foreign.taken import Flat, Taken, is_on
from trainer.kohya.sd_defaults import DEFAULTS

NAMES = {"batch_size": "train_batch_size", "warmup_ratio": "lr_warmup_steps"}
ARGUMENT_LISTS = ("network_args", "optimizer_args", "lr_scheduler_args")
FIRST_MARKS = {"net_dim", "train_resolution", "num_epochs"}
"""Keys of its JSON of 2023 that no other program has."""
FIRST_NAMES = {
    "base_model": "pretrained_model_name_or_path", "img_folder": "train_data_dir",
    "output_folder": "output_dir", "reg_img_folder": "reg_data_dir", "change_output_name": "output_name",
    "net_dim": "network_dim", "alpha": "network_alpha", "scheduler": "lr_scheduler",
    "cosine_restarts": "lr_scheduler_num_cycles", "scheduler_power": "lr_scheduler_power",
    "warmup_lr_ratio": "lr_warmup_steps", "num_workers": "max_data_loader_n_workers",
    "persistent_workers": "persistent_data_loader_workers", "batch_size": "train_batch_size",
    "num_epochs": "max_train_epochs", "max_steps": "max_train_steps",
    "save_at_n_epochs": "save_every_n_epochs", "shuffle_captions": "shuffle_caption",
    "train_resolution": "resolution", "min_bucket_resolution": "min_bucket_reso",
    "max_bucket_resolution": "max_bucket_reso", "lora_model_for_resume": "network_weights",
    "unet_only": "network_train_unet_only", "text_only": "network_train_text_encoder_only",
    "test_seed": "seed", "gradient_acc_steps": "gradient_accumulation_steps", "save_as": "save_model_as",
    "max_clip_token_length": "max_token_length", "buckets": "enable_bucket",
}  # fmt: skip
NOT_MODELS = ("anima_args", "flux_args", "sd3_args", "lumina_args", "chroma_args", "hunyuan_args")
"""Tables of models that cannot be trained here."""


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    if set(flat) >= FIRST_MARKS:
        reading.take_all(FIRST_NAMES)
        reading.take_all({key: key for key in flat if key in DEFAULTS and key not in reading.options})
        return reading
    for key, value in flat.items():
        mark = ".args." if ".args." in key else ".dataset_args."
        table, _, option = key.partition(mark)
        parent, _, inner = option.partition(".")
        if not table or not option:
            continue
        if table in NOT_MODELS:
            reading.family = key, table.removesuffix("_args")
        elif inner and parent in ARGUMENT_LISTS:
            reading.argument(parent, key, inner, value)
        elif not inner and (option not in ARGUMENT_LISTS or _are_arguments(value)):
            reading.take(NAMES.get(option, option), key, value)
    _network(reading)
    if reading.word("train_mode.train_mode") == "lora":
        reading.used.add("train_mode.train_mode")
    if flat.get("train_mode.sdxl") is not None or reading.options.get("sdxl") is not None:
        reading.sdxl = is_on(flat.get("train_mode.sdxl", reading.options.pop("sdxl", False)))
    return reading


def unwrapped(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tables of a file in which they stand under "args", as its server is sent them."""
    inner = data.get("args")
    if not isinstance(inner, Mapping) or not any(str(key).endswith("_args") for key in inner):
        return data
    return {**{key: value for key, value in data.items() if key != "args"}, **inner}


def take_subsets(reading: Taken, data: Mapping[str, Any]) -> None:
    """Its folders of pictures, which stand beside the tables; their names are for people."""
    subsets = data.get("subsets")
    for at, subset in enumerate(subsets if isinstance(subsets, list) else []):
        if isinstance(subset, Mapping) and subset.get("image_dir"):
            reading.folder({key: value for key, value in subset.items() if key != "name"})
            reading.used |= {f"subsets[{at}].{key}" for key in subset}


def _are_arguments(value: Any) -> bool:
    """Whether a value is what sd-scripts has for a table of arguments: "name=value", one or several."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)


def _network(reading: Taken) -> None:
    """What its program makes of the arguments: LyCORIS, DyLoRA, or plain LoRA."""
    names = {argument.partition("=")[0] for argument in reading.options.get("network_args", [])}
    key = reading.keys.get("network_args", "")
    if is_on(reading.options.pop("fa", False)):
        reading.take("network_module", reading.keys.pop("fa"), "networks.lora_fa")
    elif "algo" in names:
        reading.take("network_module", key, "lycoris.kohya")
    elif "unit" in names:
        reading.take("network_module", key, "networks.dylora")
