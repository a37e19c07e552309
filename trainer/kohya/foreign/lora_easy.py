"""Settings of LoRA_Easy_Training_Scripts: tables that hold sd-scripts' own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.kohya.foreign.taken import Flat, Taken, is_on

NAMES = {"batch_size": "train_batch_size", "warmup_ratio": "lr_warmup_steps"}
LISTS = ("network_args", "optimizer_args", "lr_scheduler_args")
NOT_MODELS = ("anima_args", "flux_args", "sd3_args", "lumina_args", "chroma_args", "hunyuan_args")
"""Tables of models that cannot be trained here."""


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    for key, value in flat.items():
        mark = ".args." if ".args." in key else ".dataset_args."
        table, _, option = key.partition(mark)
        parent, _, inner = option.partition(".")
        if not table or not option:
            continue
        if table in NOT_MODELS:
            reading.family = key, table.removesuffix("_args")
        elif inner and parent in LISTS:
            reading.argument(parent, key, inner, value)
        elif not inner and (option not in LISTS or _are_arguments(value)):
            reading.take(NAMES.get(option, option), key, value)
    _network(reading)
    if reading.word("train_mode.train_mode") == "lora":
        reading.used.add("train_mode.train_mode")
    if flat.get("train_mode.sdxl") is not None or reading.options.get("sdxl") is not None:
        reading.sdxl = is_on(flat.get("train_mode.sdxl", reading.options.pop("sdxl", False)))
    return reading


def take_subsets(reading: Taken, data: Mapping[str, Any]) -> None:
    """Its folders of pictures, which stand beside the tables; their names are for people."""
    subsets = data.get("subsets")
    for at, subset in enumerate(subsets if isinstance(subsets, list) else []):
        if isinstance(subset, Mapping) and subset.get("image_dir"):
            reading.subsets.append({key: value for key, value in subset.items() if key != "name"})
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
