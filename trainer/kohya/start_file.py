"""What a file for "LoRA network weights" holds, told from its header. Loads no torch."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.families.facts import read_shapes
from trainer.kohya.networks import lora_type
from trainer.lora.peft_names import in_kohyas_form
from trainer.lora.shapes import Shape, by_module
from trainer.lora.types import ALGORITHMS, TYPES, Algorithm, algorithm_in, rank_of

ONLY_LYCORIS = ("lora_mid.weight", "dora_scale", "w_norm", "hada_t1", "lokr_t2")
OUR_MODULES = re.compile(
    r"lora_te|lora_unet_(?:(?:down|up|mid|input|output|middle)_block|conv_|time_emb|add_emb|label_emb|out_)"
)
"""Beginnings of modules' names in the models that can be trained here."""
PAIRS: Mapping[Algorithm, tuple[tuple[str, str], ...]] = {
    "lora": (("lora_up.weight", "lora_down.weight"),),
    "loha": (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b")),
    "lokr": (("lokr_w1_a", "lokr_w1_b"), ("lokr_w2_a", "lokr_w2_b")),
    "glora": (("a1.weight", "a2.weight"), ("b1.weight", "b2.weight")),
}
"""Factors that make a matrix together: (out, rank) and (rank, in). LoKr may have the matrix instead."""
OUTSIDE_BLOCKS = re.compile(r"lora_unet_(conv_in|conv_out|time_embedding_linear_[12])$")


@dataclass(frozen=True)
class StartFile:
    """A LoRA file as a start for training."""

    algorithm: Algorithm
    type: str
    """The LoRA type that it was made with, as far as it tells."""
    ranks: Counter[int]
    """How often each rank occurs in attention layers."""
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
    ranks = Counter(rank_of(module) for name, module in modules.items() if "attn" in name)
    type_ = _type(main, metadata, wide=wide, lycoris=lycoris)
    torn = next((name for name, module in modules.items() if _is_torn(module)), "")
    return StartFile(main, type_, ranks, "dora_scale" in entries, wide, lycoris, torn)


def _is_torn(module: Mapping[str, Shape]) -> bool:
    """Whether parts are missing or not of one rank, or alpha is no single number."""
    if math.prod(module.get("alpha", ())) != 1:
        return True
    algorithm = algorithm_in(module)
    if algorithm is None:
        return any(part in module for pairs in PAIRS.values() for pair in pairs for part in pair)
    return not all(_is_whole(module, pair) for pair in PAIRS.get(algorithm, ())) or _is_other_length(module)


def _is_whole(module: Mapping[str, Shape], pair: tuple[str, str]) -> bool:
    """Whether both factors are there, of one rank; or what they would make."""
    left, right = (module.get(part) for part in pair)
    if left is None and right is None:
        return pair[0].removesuffix("_a") in module
    # With a core between them the rank comes first in both.
    return bool(left and right and len(left) > 1 and right[0] and right[0] in left[:2])


def _is_other_length(module: Mapping[str, Shape]) -> bool:
    """Whether DoRA's lengths are neither one per output nor one per input."""
    down, up = module.get("lora_down.weight"), module.get("lora_up.weight")
    if "dora_scale" not in module or not down or not up:
        return False
    return math.prod(module["dora_scale"]) not in (up[0], down[1])


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
