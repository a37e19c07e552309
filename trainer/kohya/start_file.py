"""What a file for "LoRA network weights" holds, told from its header. Loads no torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.families.facts import read_shapes
from trainer.kohya.networks import lora_type
from trainer.lora.peft_names import in_kohyas_form
from trainer.lora.shapes import Shape, by_module
from trainer.lora.torn import is_torn
from trainer.lora.types import ALGORITHMS, TYPES, Algorithm, algorithm_in, rank_of

ONLY_LYCORIS = ("lora_mid.weight", "dora_scale", "w_norm", "hada_t1", "lokr_t2")
OUR_MODULES = re.compile(
    r"lora_te|lora_unet_(?:(?:down|up|mid|input|output|middle)_block|conv_|time_emb|add_emb|label_emb|out_)"
)
"""Beginnings of modules' names in the models that can be trained here."""
OUTSIDE_BLOCKS = re.compile(r"lora_unet_(conv_in|conv_out|time_embedding_linear_[12])$")


@dataclass(frozen=True)
class StartFile:
    """A LoRA file as a start for training."""

    algorithm: Algorithm
    type: str
    """The LoRA type that it was made with, as far as it tells."""
    ranks: Counter[int]
    """How often each rank occurs in the denoiser's attention layers."""
    text_ranks: Counter[int]
    """The same of text encoders."""
    dora: bool
    wide: bool
    """Whether it changes convolutions beyond 1x1."""
    lycoris: bool
    """Whether it has parts that only LyCORIS types have."""
    torn: str = ""
    """A module whose parts do not belong together; "" for none."""


def read_start_file(path: Path) -> StartFile | None:
    """What a file holds; None where it is no LoRA. Raises ModelUnreadableError, OSError."""
    shapes, metadata = read_shapes(path)
    return start_file_of(in_kohyas_form(shapes, shapes), metadata)


def shapes_by_module(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """{"lora_unet_x": {"alpha": (), "lora_down.weight": (4, 320)}}."""
    return by_module({key: size for key, size in shapes.items() if key.startswith(("lora_unet_", "lora_te"))})


def start_file_of(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> StartFile | None:
    """What a file with these tensors holds; None where it is no LoRA in kohya's or LyCORIS' format."""
    modules = {name: module for name, module in shapes_by_module(shapes).items() if OUR_MODULES.match(name)}
    algorithms: list[Algorithm] = [
        algorithm for module in modules.values() if (algorithm := algorithm_in(module)) is not None
    ]
    if not algorithms:
        return None
    main: Algorithm = max(
        set(algorithms), key=lambda algorithm: (algorithm != "norm", algorithms.count(algorithm))
    )
    wide = any(shape[2:] == (3, 3) for shape in shapes.values())
    entries = {entry for module in modules.values() for entry in module}
    lycoris = main != "lora" or bool(entries & set(ONLY_LYCORIS))
    lycoris = lycoris or any(map(OUTSIDE_BLOCKS.match, modules))
    attention = {name: rank_of(module) for name, module in modules.items() if "attn" in name}
    ranks, text_ranks = (
        Counter(rank for name, rank in attention.items() if name.startswith("lora_te") == of_text)
        for of_text in (False, True)
    )
    type_ = _type(main, metadata, wide=wide, lycoris=lycoris)
    torn = next((name for name, module in modules.items() if is_torn(module)), "")
    return StartFile(main, type_, ranks, text_ranks, "dora_scale" in entries, wide, lycoris, torn)


def _type(algorithm: Algorithm, metadata: Mapping[str, str], *, wide: bool, lycoris: bool) -> str:
    """By the file's own words where these agree with its tensors, else the usual type of such tensors."""
    try:
        arguments = json.loads(metadata.get("ss_network_args") or "{}")
        kind = lora_type(metadata.get("ss_network_module", "-"), {k: str(v) for k, v in arguments.items()})
    except (ValueError, AttributeError):
        kind = ""
    if kind and TYPES[kind].replace("dylora", "lora") == algorithm:
        return kind
    if algorithm == "lora":
        return "LyCORIS/LoCon" if lycoris else "Kohya LoCon" if wide else "Standard"
    return (*ALGORITHMS["lora"].types, *ALGORITHMS[algorithm].types)[-1]
