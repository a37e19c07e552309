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
    found = Taken(flat)
    for key, value in flat.items():
        mark = ".args." if ".args." in key else ".dataset_args."
        table, _, option = key.partition(mark)
        parent, _, inner = option.partition(".")
        if not table or not option:
            continue
        if table in NOT_MODELS:
            found.family = key, table.removesuffix("_args")
        elif inner and parent in LISTS:
            found.argument(parent, key, inner, value)
        elif not inner and (option not in LISTS or _are_arguments(value)):
            found.take(NAMES.get(option, option), key, value)
    _network(found)
    if found.word("train_mode.train_mode") == "lora":
        found.used.add("train_mode.train_mode")
    if flat.get("train_mode.sdxl") is not None or found.options.get("sdxl") is not None:
        found.sdxl = is_on(flat.get("train_mode.sdxl", found.options.pop("sdxl", False)))
    return found


def take_subsets(found: Taken, data: Mapping[str, Any]) -> None:
    """Its folders of pictures, which stand beside the tables; their names are for people."""
    subsets = data.get("subsets")
    for at, subset in enumerate(subsets if isinstance(subsets, list) else []):
        if isinstance(subset, Mapping) and subset.get("image_dir"):
            found.subsets.append({key: value for key, value in subset.items() if key != "name"})
            found.used |= {f"subsets[{at}].{key}" for key in subset}


def _are_arguments(value: Any) -> bool:
    """Whether a value is what sd-scripts has for a table of arguments: "name=value", one or several."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)


def _network(found: Taken) -> None:
    """What its program makes of the arguments: LyCORIS, DyLoRA, or plain LoRA."""
    names = {argument.partition("=")[0] for argument in found.options.get("network_args", [])}
    key = found.keys.get("network_args", "")
    if is_on(found.options.pop("fa", False)):
        found.take("network_module", found.keys.pop("fa"), "networks.lora_fa")
    elif "algo" in names:
        found.take("network_module", key, "lycoris.kohya")
    elif "unit" in names:
        found.take("network_module", key, "networks.dylora")
