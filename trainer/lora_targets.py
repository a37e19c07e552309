"""Which modules get a LoRA, of what size and under which name.

Names, sizes and order follow kohya's rules, so that the result is what every user interface reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from trainer import settings as schema
from trainer.blocks import block_index, block_rates, sizes_of
from trainer.messages import Message
from trainer.model import LoadedModel

Part = Literal["text_encoder", "unet"]


@dataclass(frozen=True)
class LoraTarget:
    """One module that gets a LoRA."""

    name: str
    """Its key in LoRA files: lora_unet_…, lora_te_…."""
    part: Part
    module_path: str
    dim: int
    alpha: float
    encoder: int = 0
    """Which text encoder (0 but for SDXL's second)."""
    block: int | None = None
    """UNet block, 0-24."""
    as_convolution: bool = False
    """A Linear layer that files hold as a 1x1 convolution (SD2's proj_in and proj_out)."""


def plan_targets(
    model: LoadedModel,
    network: schema.Network,
    *,
    train_unet: bool = True,
    train_text_encoder: bool = True,
    weights: Mapping[str, Tensor] | None = None,
) -> list[LoraTarget]:
    """Modules that get a LoRA, text encoder first, in the reference's order.

    `weights` (tensors of a LoRA file) take the place of the sizes in the settings: "DIM from weights".
    """
    targets: list[LoraTarget] = []
    if train_text_encoder:
        for encoder in range(len(model.text_encoders)):
            targets += _text_targets(model, encoder, network)
    if train_unet:
        targets += _unet_targets(model, network, everything=weights is not None)
    if weights is None:
        return targets
    return [_sized_as(target, weights) for target in targets if f"{target.name}.lora_down.weight" in weights]


def reader_notices(model: LoadedModel, targets: Sequence[LoraTarget]) -> list[Message]:
    """What to know about reading the file elsewhere.

    diffusers gives all attention layers of a part one alpha, and does not take SD2's proj_in and proj_out in
    the shape that kohya's trainer, A1111 and ComfyUI use.
    """
    attention = [
        target for target in targets if target.part == "text_encoder" or ".attentions." in target.module_path
    ]
    alphas = {(target.part, target.alpha) for target in attention}
    notices = []
    if len(alphas) > len({part for part, _ in alphas}):
        notices.append(Message("core.several_alphas"))
    if model.family == "sd2" and any(target.as_convolution for target in targets):
        notices.append(Message("core.sd2_shapes"))
    return notices


def kohya_name(prefix: str, path: str) -> str:
    """Key of a module in a LoRA file. transformers 5.6 dropped `text_model.`; the files keep it."""
    if prefix.startswith("lora_te") and not path.startswith("text_model."):
        path = f"text_model.{path}"
    return f"{prefix}_{path.replace('.', '_')}"


def _sized_as(target: LoraTarget, weights: Mapping[str, Tensor]) -> LoraTarget:
    dim = weights[f"{target.name}.lora_down.weight"].shape[0]
    alpha = weights.get(f"{target.name}.alpha")
    return replace(target, dim=dim, alpha=float(dim if alpha is None else alpha))


def _text_targets(model: LoadedModel, encoder: int, network: schema.Network) -> Iterator[LoraTarget]:
    """The attention and MLP projections of a text encoder."""
    prefix = "lora_te" if len(model.text_encoders) == 1 else f"lora_te{encoder + 1}"
    for path, module in model.text_encoders[encoder].named_modules():
        if isinstance(module, nn.Linear) and (".self_attn." in path or ".mlp." in path):
            dim, alpha = network.network_dim, network.network_alpha
            yield LoraTarget(kohya_name(prefix, path), "text_encoder", path, dim, alpha, encoder)


def _unet_targets(model: LoadedModel, network: schema.Network, *, everything: bool) -> Iterator[LoraTarget]:
    """Linear layers and 1x1 convolutions of the attentions; with 3x3 convolutions, the resnets too."""
    sizes, conv_sizes = sizes_of(network, conv=False), sizes_of(network, conv=True)
    rates = block_rates(network)
    named = model.unet.named_modules()
    modules = [(path, module) for path, module in named if isinstance(module, (nn.Linear, nn.Conv2d))]
    for path, module in sorted(modules, key=lambda item: _reference_order(item[0])):
        block = block_index(path)
        if block is None or not (".attentions." in path or everything or conv_sizes):
            continue
        wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        chosen = conv_sizes if wide else sizes
        dim, alpha = chosen[block] if chosen else (0, 1.0)
        learns = dim > 0 and (rates is None or rates[block] > 0)
        if learns or everything:
            projection = model.family == "sd2" and path.endswith(("proj_in", "proj_out"))
            name = kohya_name("lora_unet", path)
            yield LoraTarget(name, "unet", path, dim, alpha, block=block, as_convolution=projection)


_RANKS: Mapping[str, int] = {
    "down_blocks": 0,
    "up_blocks": 1,
    "mid_block": 2,
    "attentions": 0,
    "resnets": 1,
    "downsamplers": 2,
    "upsamplers": 2,
    "proj_in": 0,
    "transformer_blocks": 1,
    "proj_out": 2,
    "conv1": 0,
    "time_emb_proj": 1,
    "conv2": 2,
    "conv_shortcut": 3,
    "conv": 0,
    "attn1": 0,
    "ff": 1,
    "attn2": 2,
    "to_q": 0,
    "to_k": 1,
    "to_v": 2,
    "to_out": 3,
    "net": 0,
    "proj": 0,
}


def _reference_order(path: str) -> list[int]:
    """Sort key: order of the reference's UNet class, feed-forward before cross attention, middle last."""
    return [int(piece) if piece.isdigit() else _RANKS.get(piece, 9) for piece in path.split(".")]
