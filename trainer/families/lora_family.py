"""For which family of base models a LoRA file was made: by its names and shapes, else by its own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from trainer.families.table import FAMILIES, SDXL
from trainer.families.unet import Shape, Shapes
from trainer.settings import FamilyKey

SECOND_ENCODER = ("lora_te2_", "text_encoder_2.")
ONLY_SDXL = re.compile(
    r"lora_unet_(input|output|middle)_block"
    r"|down_blocks[._]\d[._]attentions[._]\d[._]transformer_blocks[._][1-9]"
    r"|up_blocks[._]0[._]attentions"
)
"""Stability's own names, transformers of more than one layer, attention at the lowest level."""
CONTEXT = re.compile(r"attn2[._](processor[._])?to_[kv](_lora)?[._](?P<entry>.*)")
TITLES: Mapping[str, re.Pattern[str]] = {
    "Chroma": re.compile(r"distilled_guidance_layer"),
    "FLUX.1": re.compile(r"(double_blocks|single_blocks|single_transformer_blocks)[._]\d"),
    "Stable Diffusion 3": re.compile(r"joint_blocks[._]\d|[._]attn[._](add_k_proj|to_add_out)"),
    "Anima": re.compile(r"llm_adapter|lora_unet_blocks_\d+_(self|cross)_attn_output_proj"),
    "Qwen-Image": re.compile(r"transformer_blocks[._]\d+[._]img_mlp"),
    "Z-Image / Lumina": re.compile(r"noise_refiner|cap_embedder"),
    "Wan": re.compile(r"blocks[._]\d+[._](self|cross)_attn[._][qkvo]\b|blocks_\d+_(self|cross)_attn_[qkvo]$"),
}  # fmt: skip
"""Families of others -> names of modules that only they have."""
ARCHITECTURES: Mapping[str, FamilyKey] = {
    "stable-diffusion-xl": "sdxl", "stable-diffusion-v2": "sd2", "stable-diffusion-v1": "sd1",
}  # fmt: skip
"""Beginnings of modelspec.architecture."""
DOWN_FACTORS = (
    "lora_down.weight", "lora_A.weight", "lora.down.weight", "down.weight", "hada_w1_b", "a2.weight", "diff",
)  # fmt: skip
"""Weights whose second size is that of the inputs."""
VERSIONS: Mapping[str, FamilyKey] = {"sdxl": "sdxl", "sd_v2": "sd2", "sd_v1": "sd1"}
"""Beginnings of ss_base_model_version, which later versions end differently."""


def lora_family(shapes: Shapes, metadata: Mapping[str, str]) -> FamilyKey | None:
    """The family that can use a LoRA; None where it is another, or nothing tells."""
    if other_lora(shapes):
        return None
    if any(name.startswith(SECOND_ENCODER) for name in shapes) or any(map(ONLY_SDXL.search, shapes)):
        return SDXL.key
    contexts: dict[int, FamilyKey] = {family.context: family.key for family in FAMILIES.values()}
    for width in _widths(shapes):
        if width in contexts:
            return contexts[width]
    marks = metadata.get("ss_base_model_version", ""), metadata.get("modelspec.architecture", "")
    for text, beginnings in zip(marks, (VERSIONS, ARCHITECTURES), strict=True):
        for start, key in beginnings.items():
            if text.startswith(start):
                return key
    return None


def other_lora(shapes: Shapes) -> str:
    """The family of a LoRA that fits none of ours; "" where it may fit."""
    return next((title for title, form in TITLES.items() if any(map(form.search, shapes))), "")


def _widths(shapes: Shapes) -> Iterator[int]:
    """Widths of the text embeddings that cross-attention takes; then of the text encoder itself."""
    modules: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        if found := CONTEXT.search(name):
            modules.setdefault(name[: found.start("entry")], {})[found["entry"]] = shape
    yield from map(_input_width, modules.values())
    for name, shape in shapes.items():
        if (
            name.startswith(("lora_te_", "text_encoder."))
            and "self_attn" in name
            and "down" in name
            and len(shape) > 1
        ):
            yield shape[1]


def _input_width(entries: Mapping[str, Shape]) -> int:
    """Inputs of a module, by its weights in a file of any type; 0 where they do not show it."""
    for name in DOWN_FACTORS:
        if len(entries.get(name, ())) > 1:
            return entries[name][1]
    left = entries.get("lokr_w1") or entries.get("lokr_w1_b", ())
    right = entries.get("lokr_w2") or entries.get("lokr_w2_b", ())
    return left[1] * right[1] if len(left) > 1 and len(right) > 1 else 0
