"""Which programs load a LoRA file, and within which limits, told from its header. Loads no torch.

What each program reads was taken from its own loader: A1111's Lora extension (1.10), Forge's LoRA
collection, ComfyUI's weight_adapter, and diffusers 0.42 as measured with files of every type.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.families.table import FAMILIES
from trainer.lora.info import LoraInfo

Readability = Literal["yes", "limits", "no"]
PROGRAMS = ("a1111", "forge", "comfyui", "diffusers")
PLAIN_TYPES = ("LoRA", "LoCon")
MOST_WORDS = 12
IN_ATTENTION = re.compile(r"_attentions_|_transformer_blocks_|_proj_(in|out)$")
"""In diffusers' names, and in the original ones that files for SDXL have."""


@dataclass(frozen=True)
class Reader:
    """One program's verdict; `reason` is the code of a sentence (texts: reader.…), "" for a plain yes."""

    program: str
    verdict: Readability
    reason: str = ""


def readers(info: LoraInfo) -> tuple[Reader, ...]:
    """The verdict of every program on a .safetensors file."""
    return tuple(_verdict(program, info) for program in PROGRAMS)


def pickle_readers() -> tuple[Reader, ...]:
    """The verdicts on a .ckpt or .pt file, whose content is not looked at."""
    return tuple(
        Reader(program, "no" if program == "diffusers" else "limits", "pickle") for program in PROGRAMS
    )


def _verdict(program: str, info: LoraInfo) -> Reader:
    kinds, endings = set(info.kinds), _endings(info)
    rotated, signal = bool(kinds & {"Diag-OFT", "BOFT"}), "iA3" in kinds
    if program == "diffusers":
        return _diffusers(info, kinds, endings)
    if program == "forge" and (rotated or signal):
        return Reader(program, "no", "type")
    if program == "comfyui" and signal:
        return Reader(program, "no", "type")
    if program == "comfyui" and rotated:
        return Reader(program, "limits", "comfyui_2025")
    if program == "a1111" and (rotated or "dora_scale" in endings):
        return Reader(program, "limits", "a1111_19")
    return Reader(program, "yes")


def _diffusers(info: LoraInfo, kinds: set[str], endings: set[str]) -> Reader:
    """diffusers takes plain LoRA and LoCon only, and one alpha for all attention layers of a part."""
    if not kinds <= set(PLAIN_TYPES) or "lora_mid.weight" in endings:
        return Reader("diffusers", "no", "type")
    if "dora_scale" in endings:
        return Reader("diffusers", "no", "dora")
    if (
        info.family
        and FAMILIES[info.family].linear_as_convolution
        and any(_is_projection(module.name) for module in info.modules)
    ):
        return Reader("diffusers", "no", "sd2_shapes")
    alphas: dict[str, set[float | None]] = {}
    for module in info.modules:
        if module.part != "unet" or IN_ATTENTION.search(module.name):
            alphas.setdefault(module.part, set()).add(module.alpha)
    if any(len(values) > 1 for values in alphas.values()):
        return Reader("diffusers", "limits", "several_alphas")
    return Reader("diffusers", "yes")


def _endings(info: LoraInfo) -> set[str]:
    return {ending for module in info.modules for ending in module.shapes}


def _is_projection(name: str) -> bool:
    return name.endswith(("_proj_in", "_proj_out"))


@dataclass(frozen=True)
class LearnedWords:
    """Words the LoRA has seen, from its metadata."""

    classes: tuple[str, ...]
    """From the folders' names: "10_sks cat" -> "sks cat"."""
    captions: tuple[tuple[str, int], ...]
    """Most frequent caption parts and how often."""


def learned_words(metadata: Mapping[str, str]) -> LearnedWords:
    """What stands in ss_tag_frequency, as every trainer of this format writes it.

    Regularisation folders stand there, too: their words call nothing up.
    """
    own, reg = (_json_object(metadata.get(key, "")) for key in ("ss_dataset_dirs", "ss_reg_dataset_dirs"))
    all_folders = _json_object(metadata.get("ss_tag_frequency", ""))
    folders = {name: tags for name, tags in all_folders.items() if name in own or name not in reg}
    classes = [name.partition("_")[2].strip() or name for name in folders]
    counts: Counter[str] = Counter()
    for tags in folders.values():
        if isinstance(tags, dict):
            counts.update({str(tag).strip(): n for tag, n in tags.items() if isinstance(n, int)})
    counts.pop("", None)
    return LearnedWords(tuple(dict.fromkeys(filter(None, classes))), tuple(counts.most_common(MOST_WORDS)))


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_pickle(path: Path) -> bool:
    """Whether a file's ending says that it is no .safetensors."""
    return path.suffix.lower() in (".ckpt", ".pt", ".bin")
