"""Settings of OneTrainer, LoRA_Easy_Training_Scripts, ai-toolkit and SimpleTuner, told by their marks.

What is plainly the same is put into sd-scripts' words and read from there; the rest is listed for a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainer.kohya.draft import Draft
from trainer.kohya.fitting import as_number
from trainer.kohya.read_sd_scripts import draft_from_options
from trainer.kohya.report import Imported, Source

MOST_REST = 400
"""Keys without a setting that are listed."""


@dataclass
class Taken:
    """Options in sd-scripts' words, each with the key it came from."""

    options: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    sdxl: bool | None = None

    def take(self, option: str, key: str, value: Any) -> None:
        """An option from the value of a key; nothing where the file has none."""
        if value is None or value == "":
            return
        self.options[option], self.keys[option] = value, key


Flat = Mapping[str, Any]


def program_of(data: Mapping[str, Any]) -> Source | None:
    """Which of these programs a file is from; None for others."""
    keys = {key.lstrip("-") for key in data}
    if {"training_method", "base_model_name"} <= keys or {"model_type", "lora_rank", "concepts"} <= keys:
        return "onetrainer"
    config = data.get("config")
    if isinstance(config, Mapping) and isinstance(config.get("process"), list):
        return "ai_toolkit"
    if "data_backend_config" in keys or {"model_family", "lora_rank"} <= keys:
        return "simpletuner"
    tables = [value for key, value in data.items() if key.endswith("_args") and isinstance(value, Mapping)]
    if any({"args", "dataset_args"} & set(table) for table in tables):
        return "lora_easy"
    return None


def read_foreign(data: Mapping[str, Any], program: Source) -> Imported:
    """Settings and report of such a file. Raises nothing for content."""
    flat = {key.lstrip("-"): value for key, value in _leaves(data)}
    taken = READERS[program](flat)
    draft = draft_from_options(taken.options, sdxl=taken.sdxl)
    _under_own_keys(draft, taken)
    used = set(taken.keys.values())
    rest = [
        (key, value) for key, value in flat.items() if key not in used and value not in (None, "", [], {})
    ]
    for key, value in rest[:MOST_REST]:
        draft.add(key, "unknown", value, why="kohya.foreign_key", attention=True)
    return draft.finish(program)


def _under_own_keys(draft: Draft, taken: Taken) -> None:
    draft.entries = [
        replace(entry, key=taken.keys[option], kind="renamed" if entry.kind == "taken" else entry.kind)
        if (option := entry.key.partition(" ")[0]) in taken.keys
        else entry
        for entry in draft.entries
    ]


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value under its path: "train.lr", "datasets[0].folder_path"; short lists whole."""
    if isinstance(data, Mapping) and data:
        for name, value in data.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(data, list) and any(isinstance(one, (Mapping, list)) for one in data):
        for at, value in enumerate(data):
            yield from _leaves(value, f"{key}[{at}]")
    else:
        yield key, data


def _copied(flat: Flat, names: Mapping[str, str]) -> Taken:
    taken = Taken()
    for key, option in names.items():
        taken.take(option, key, flat.get(key))
    return taken


def _word(flat: Flat, key: str) -> str:
    return str(flat.get(key) or "").lower()


def _precision(word: str) -> str:
    """ "BFLOAT_16", "bf16" or "float32" as sd-scripts has it."""
    plain = word.replace("_", "").replace("torch.", "")
    if "bf16" in plain or "bfloat16" in plain:
        return "bf16"
    return "fp16" if plain in ("fp16", "float16") else "float"


def _sizes(taken: Taken, key: str, value: Any) -> None:
    """The first of several sizes, as the trainer's own number or W,H."""
    if isinstance(value, list) and value:
        taken.take("resolution", key, str(value[0]))
    elif value not in (None, "", []):
        first = str(value).split(",")[0].strip().lower().replace("x", ",")
        taken.take("resolution", key, first.removesuffix(".0"))


def _is_on(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "on", "1", "cpu_offloaded")


ONETRAINER = {
    "base_model_name": "pretrained_model_name_or_path", "lora_rank": "network_dim",
    "lora_alpha": "network_alpha", "learning_rate": "learning_rate", "epochs": "max_train_epochs",
    "batch_size": "train_batch_size", "gradient_accumulation_steps": "gradient_accumulation_steps",
    "clip_grad_norm": "max_grad_norm", "offset_noise_weight": "noise_offset",
    "unet.learning_rate": "unet_lr", "text_encoder.learning_rate": "text_encoder_lr",
    "learning_rate_warmup_steps": "lr_warmup_steps", "learning_rate_scheduler": "lr_scheduler",
    "optimizer.optimizer": "optimizer_type", "seed": "seed", "aspect_ratio_bucketing": "enable_bucket",
    "concepts[0].path": "train_data_dir",
}  # fmt: skip


def _onetrainer(flat: Flat) -> Taken:
    taken = _copied(flat, ONETRAINER)
    taken.sdxl = "xl" in _word(flat, "model_type")
    taken.take("v2", "model_type", "_20" in _word(flat, "model_type") or "_21" in _word(flat, "model_type"))
    _sizes(taken, "resolution", flat.get("resolution"))
    _output(taken, "output_model_destination", flat.get("output_model_destination"))
    for key, option in (("train_dtype", "mixed_precision"), ("output_dtype", "save_precision")):
        if flat.get(key):
            word = _precision(_word(flat, key))
            taken.take(option, key, "no" if word == "float" and option == "mixed_precision" else word)
    if flat.get("text_encoder.train") is False:
        taken.take("network_train_unet_only", "text_encoder.train", True)
    if flat.get("gradient_checkpointing") is not None:
        on = _is_on(flat["gradient_checkpointing"])
        taken.take("gradient_checkpointing", "gradient_checkpointing", on)
    return taken


def _output(taken: Taken, key: str, value: Any) -> None:
    """ "out/momo.safetensors" as a folder and a name."""
    folder, _, name = str(value or "").replace("\\", "/").rpartition("/")
    taken.take("output_dir", key, folder)
    taken.take("output_name", key, name.removesuffix(".safetensors"))


def _lora_easy(flat: Flat) -> Taken:
    """Its tables hold sd-scripts' own options."""
    taken = Taken()
    lists: dict[str, list[str]] = {}
    for key, value in flat.items():
        mark = ".args." if ".args." in key else ".dataset_args."
        table, _, option = key.partition(mark)
        parent, _, inner = option.partition(".")
        if not table or not option:
            continue
        if inner and parent in ("network_args", "optimizer_args", "lr_scheduler_args"):
            lists.setdefault(parent, []).append(f"{inner}={value}")
            taken.keys[parent] = key
        elif not inner:
            name = {"batch_size": "train_batch_size", "warmup_ratio": "lr_warmup_steps"}.get(option, option)
            taken.take(name, key, value)
    taken.options |= lists
    if flat.get("train_mode.sdxl") is not None or taken.options.get("sdxl") is not None:
        taken.sdxl = _is_on(flat.get("train_mode.sdxl", taken.options.pop("sdxl", False)))
    return taken


TOOLKIT = {
    "network.linear": "network_dim", "network.linear_alpha": "network_alpha", "train.lr": "learning_rate",
    "train.steps": "max_train_steps", "train.batch_size": "train_batch_size",
    "train.gradient_accumulation_steps": "gradient_accumulation_steps",
    "train.gradient_accumulation": "gradient_accumulation_steps",
    "model.name_or_path": "pretrained_model_name_or_path", "training_folder": "output_dir",
    "train.optimizer": "optimizer_type", "train.lr_scheduler": "lr_scheduler",
    "save.save_every": "save_every_n_steps", "datasets[0].folder_path": "train_data_dir",
    "datasets[0].caption_ext": "caption_extension",
    "datasets[0].caption_dropout_rate": "caption_dropout_rate",
    "datasets[0].shuffle_tokens": "shuffle_caption",
    "train.gradient_checkpointing": "gradient_checkpointing", "model.is_v2": "v2",
    "train.max_grad_norm": "max_grad_norm",
}  # fmt: skip


def _ai_toolkit(flat: Flat) -> Taken:
    start = "config.process[0]."
    taken = _copied(flat, {f"{start}{key}": option for key, option in TOOLKIT.items()})
    taken.take("output_name", "config.name", flat.get("config.name"))
    _sizes(taken, f"{start}datasets[0].resolution", flat.get(f"{start}datasets[0].resolution"))
    for key, option in (("train.dtype", "mixed_precision"), ("save.dtype", "save_precision")):
        if word := _word(flat, start + key):
            found = _precision(word)
            taken.take(
                option, start + key, "no" if found == "float" and option == "mixed_precision" else found
            )
    if flat.get(f"{start}train.train_text_encoder") is False:
        taken.take("network_train_unet_only", f"{start}train.train_text_encoder", True)
    taken.sdxl = _is_on(flat.get(f"{start}model.is_xl", False))
    return taken


SIMPLETUNER = {
    "lora_rank": "network_dim", "lora_alpha": "network_alpha", "learning_rate": "learning_rate",
    "num_train_epochs": "max_train_epochs", "max_train_steps": "max_train_steps",
    "train_batch_size": "train_batch_size", "seed": "seed", "output_dir": "output_dir",
    "pretrained_model_name_or_path": "pretrained_model_name_or_path", "optimizer": "optimizer_type",
    "lr_scheduler": "lr_scheduler", "lr_warmup_steps": "lr_warmup_steps",
    "gradient_accumulation_steps": "gradient_accumulation_steps", "max_grad_norm": "max_grad_norm",
    "caption_dropout_probability": "caption_dropout_rate", "text_encoder_lr": "text_encoder_lr",
    "checkpointing_steps": "save_every_n_steps", "vae_batch_size": "vae_batch_size",
    "offset_noise": "noise_offset", "snr_gamma": "min_snr_gamma",
}  # fmt: skip


def _simpletuner(flat: Flat) -> Taken:
    taken = _copied(flat, SIMPLETUNER)
    taken.sdxl = "xl" in _word(flat, "model_family")
    if as_number(str(flat.get("num_train_epochs") or 0)) == 0:
        taken.options.pop("max_train_epochs", None)
    if flat.get("mixed_precision"):
        taken.take("mixed_precision", "mixed_precision", _word(flat, "mixed_precision"))
    size = as_number(str(flat.get("resolution") or ""))
    if size and (size >= 64 or flat.get("resolution_type") == "pixel"):
        _sizes(taken, "resolution", size)
    if flat.get("gradient_checkpointing") is not None:
        taken.take("gradient_checkpointing", "gradient_checkpointing", _is_on(flat["gradient_checkpointing"]))
    return taken


READERS: Mapping[str, Callable[[Flat], Taken]] = {
    "onetrainer": _onetrainer,
    "lora_easy": _lora_easy,
    "ai_toolkit": _ai_toolkit,
    "simpletuner": _simpletuner,
}
