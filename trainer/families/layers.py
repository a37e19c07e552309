"""The layers of a Stable Diffusion model that a LoRA can change, told from a file's names and shapes.

Torch-free: what a LoRA of any type will weigh follows from it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, cast

from trainer.families.family import Family
from trainer.families.unet import UNET, Shape

LayerKind = Literal["attention", "transformer", "resnet", "time", "stem", "text_attention", "text_mlp"]
"""Where a module sits: attention projections, the rest of a transformer block, …; "stem" is conv_in and
conv_out."""
Layer = tuple[LayerKind, Shape]
"""Where it sits, and the shape of its weight: (out, in) or (out, in, k, k)."""
Layers = tuple[tuple[Layer, int], ...]
"""Each sort of layer and how many of it there are, sorted."""

UNET_NAMES: tuple[tuple[str, LayerKind], ...] = (
    (r"transformer_blocks\.\d+\.attn[12]\.to_(q|k|v|out\.0)", "attention"),
    (r"transformer_blocks\.\d+\.ff\.net\.(0\.proj|2)|\.1\.proj_(in|out)", "transformer"),
    (r"\.(in_layers\.2|out_layers\.3|emb_layers\.1|skip_connection|op|conv)", "resnet"),
    (r"^time_embed\.[02]", "time"),
    (r"^(input_blocks\.0\.0|out\.2)", "stem"),
)
TEXT_NAMES: tuple[tuple[str, LayerKind], ...] = (
    (r"(q_proj|k_proj|v_proj|out_proj|in_proj_)\.?weight$", "text_attention"),
    (r"(fc1|fc2|c_fc|c_proj)\.weight$", "text_mlp"),
)
LAST_OF_SD2 = re.compile(r"cond_stage_model\.model\.transformer\.resblocks\.23\.")
"""SD2 leaves the last layer of its text encoder out."""


def original_layers(shapes: Mapping[str, Shape], family: Family) -> Layers:
    """Layers of a checkpoint in the original layout."""
    text = tuple(encoder.checkpoint for encoder in family.text_encoders)
    return _counted(
        (layer for name, shape in shapes.items() for layer in _original(name, shape, text)), family
    )


def _original(name: str, shape: Shape, text: tuple[str, ...]) -> list[Layer]:
    if len(shape) < 2:
        return []
    if name.startswith(UNET) and name.endswith(".weight"):
        inner = name.removeprefix(UNET).removesuffix(".weight")
        kinds = _kinds(inner, ((f"({form})$", kind) for form, kind in UNET_NAMES))
        return [(kind, shape) for kind in kinds[:1]]
    if not name.startswith(text) or LAST_OF_SD2.match(name):
        return []
    kinds = _kinds(name, TEXT_NAMES)
    if name.endswith("in_proj_weight"):  # three layers in one tensor
        return [(kind, (shape[0] // 3, shape[1])) for kind in kinds for _ in range(3)]
    return [(kind, shape) for kind in kinds]


def _kinds(name: str, forms: Iterable[tuple[str, LayerKind]]) -> list[LayerKind]:
    return [kind for form, kind in forms if re.search(form, name)]


def diffusers_layers(unet: Mapping[str, Shape], text: Mapping[str, Shape], family: Family) -> Layers:
    """Layers of a model in diffusers' layout."""
    layers: list[Layer] = []
    for name, shape in unet.items():
        if len(shape) > 1 and (kind := module_kind(name.removesuffix(".weight"))):
            layers.append((kind, shape))
    for name, shape in text.items():
        if len(shape) == 2 and ".layers." in name:
            layers.append(("text_mlp" if ".mlp." in name else "text_attention", shape))
    return _counted(layers, family)


def text_layers(layers: Layers) -> int:
    """Transformer layers of an only text encoder; each has two linear layers in its MLP."""
    return sum(count for (kind, _), count in layers if kind == "text_mlp") // 2


def _counted(layers: Iterable[Layer], family: Family) -> Layers:
    return tuple(sorted(Counter(layer for layer in layers if takes_lora(layer[0], family)).items()))


def takes_lora(kind: LayerKind, family: Family) -> bool:
    """Whether any LoRA type reaches modules of this kind in a family."""
    return family.outer_layers or kind not in ("time", "stem")


def _layers(**kinds: str) -> Layers:
    """Written as "30*320x320": thirty layers of that shape."""
    found: Counter[Layer] = Counter()
    for kind, text in kinds.items():
        for item in text.split():
            count, shape = item.split("*")
            found[cast("LayerKind", kind), tuple(map(int, shape.split("x")))] += int(count)
    return tuple(sorted(found.items()))


RESNETS = (
    "8*320x320x3x3 2*320x640x1x1 2*320x640x3x3 1*320x960x1x1 1*320x960x3x3 5*320x1280 "
    "1*640x320x1x1 1*640x320x3x3 8*640x640x3x3 1*640x960x1x1 1*640x960x3x3 5*640x1280 "
    "1*640x1280x1x1 1*640x1280x3x3 1*640x1920x1x1 1*640x1920x3x3 1*1280x640x1x1 1*1280x640x3x3 "
    "12*1280x1280 20*1280x1280x3x3 1*1280x1920x1x1 1*1280x1920x3x3 5*1280x2560x1x1 "
    "5*1280x2560x3x3"
)
"""Of SD1 and SD2, which are the same there."""
FULL_SIZE_LAYERS: Mapping[str, Layers] = {
    "sd1": _layers(
        attention="30*320x320 10*320x768 30*640x640 10*640x768 12*1280x768 36*1280x1280",
        resnet=RESNETS,
        stem="1*4x320x3x3 1*320x4x3x3",
        text_attention="48*768x768",
        text_mlp="12*768x3072 12*3072x768",
        time="1*1280x320 1*1280x1280",
        transformer=(
            "10*320x320x1x1 5*320x1280 10*640x640x1x1 5*640x2560 12*1280x1280x1x1 6*1280x5120 "
            "5*2560x320 5*5120x640 6*10240x1280"
        ),
    ),
    "sd2": _layers(
        attention="30*320x320 10*320x1024 30*640x640 10*640x1024 12*1280x1024 36*1280x1280",
        resnet=RESNETS,
        stem="1*4x320x3x3 1*320x4x3x3",
        text_attention="92*1024x1024",
        text_mlp="23*1024x4096 23*4096x1024",
        time="1*1280x320 1*1280x1280",
        transformer=(
            "10*320x320 5*320x1280 10*640x640 5*640x2560 12*1280x1280 6*1280x5120 5*2560x320 5*5120x640 "
            "6*10240x1280"
        ),
    ),
    "sdxl": _layers(
        attention="60*640x640 20*640x2048 360*1280x1280 120*1280x2048",
        resnet=(
            "8*320x320x3x3 2*320x640x1x1 2*320x640x3x3 1*320x960x1x1 1*320x960x3x3 5*320x1280 "
            "1*640x320x1x1 1*640x320x3x3 8*640x640x3x3 1*640x960x1x1 1*640x960x3x3 5*640x1280 "
            "1*640x1280x1x1 1*640x1280x3x3 1*640x1920x1x1 1*640x1920x3x3 1*1280x640x1x1 1*1280x640x3x3 "
            "7*1280x1280 11*1280x1280x3x3 1*1280x1920x1x1 1*1280x1920x3x3 2*1280x2560x1x1 "
            "2*1280x2560x3x3"
        ),
        text_attention="48*768x768 128*1280x1280",
        text_mlp="12*768x3072 32*1280x5120 12*3072x768 32*5120x1280",
        transformer="10*640x640 10*640x2560 12*1280x1280 60*1280x5120 10*5120x640 60*10240x1280",
    ),
}
"""The published models: for estimates where a file does not tell."""


def module_kind(path: str) -> LayerKind | None:
    """Where a module of the UNet sits; None for one that no LoRA changes."""
    if ".attentions." in path:
        is_projection = re.search(r"\.attn[12]\.to_(q|k|v|out\.0)$", path)
        return "attention" if is_projection else "transformer"
    if ".resnets." in path or "samplers." in path:
        return "resnet"
    if path in ("conv_in", "conv_out"):
        return "stem"
    return "time" if path.startswith("time_embedding.linear_") else None
