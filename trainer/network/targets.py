"""Which modules get a LoRA, of what size and under which name.

Names, sizes and order follow kohya's rules, so that the result is what every user interface reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from trainer import settings as schema
from trainer.families.family import Blocks
from trainer.families.layers import LayerKind, module_kind, takes_lora
from trainer.lora.blocks import block_rates, sizes_of
from trainer.lora.shapes import by_module
from trainer.lora.target import LoraTarget
from trainer.lora.types import (
    ALGORITHMS,
    PRESETS,
    algorithm_of,
    conv_size,
    is_lycoris,
    options_of,
    rank_of,
)
from trainer.messages import Message
from trainer.models.base import BaseModel


def plan_targets(
    model: BaseModel,
    network: schema.Network,
    *,
    train_denoiser: bool = True,
    train_text_encoder: bool | Sequence[bool] = True,
    weights: Mapping[str, Tensor] | None = None,
) -> list[LoraTarget]:
    """Modules that get a LoRA, text encoders first, in the reference's order.

    `train_text_encoder` may say it of each encoder; what it says beyond their number does not count.
    `weights` (tensors of a LoRA file: `lora.shapes`) give the sizes instead: "DIM from weights".
    """
    targets: list[LoraTarget] = []
    # With a file's sizes every module is offered, and those that are not in the file fall away below.
    everything = weights is not None
    count = len(model.family.text_encoders)
    trained = [train_text_encoder] * count if isinstance(train_text_encoder, bool) else train_text_encoder
    # Text encoders first, as in the reference: the order in which first values are drawn.
    for encoder in range(count):
        if trained[encoder]:
            targets += _text_targets(model, encoder, network, everything=everything)
    if train_denoiser:
        targets += _denoiser_targets(model, network, everything=everything)
    if weights is None:
        return targets
    modules = by_module(weights)
    return [_sized_as(target, modules[target.name]) for target in targets if target.name in modules]


def reader_notices(model: BaseModel, targets: Sequence[LoraTarget], network: schema.Network) -> list[Message]:
    """What to know about reading the file elsewhere.

    diffusers gives all attention layers of a part one alpha, and does not take SD2's proj_in and proj_out in
    the shape that kohya's trainer, A1111 and ComfyUI use. Other types than LoRA it does not read at all.
    """
    # The hardest to read elsewhere first: one sentence is enough.
    if network.LoRA_type == "LyCORIS/iA3":
        return [Message("core.ia3_readers")]
    if algorithm_of(network) in ("diag-oft", "boft"):
        return [Message("core.oft_readers", {"type": network.LoRA_type})]
    if not ALGORITHMS[algorithm_of(network)].has_up:
        return [Message("core.type_readers", {"type": network.LoRA_type})]
    if options_of(network).dora:
        return [Message("core.dora_readers")]
    attention = [
        target for target in targets if target.part == "text_encoder" or ".attentions." in target.module_path
    ]
    # diffusers takes the alpha of the first layer of a part for all of them.
    alphas = {(target.part, target.alpha) for target in attention}
    notices = []
    if len(alphas) > len({part for part, _ in alphas}):
        notices.append(Message("core.several_alphas"))
    if model.family.linear_as_convolution and any(target.as_convolution for target in targets):
        notices.append(Message("core.sd2_shapes"))
    return notices


def blocks_of(model: BaseModel) -> Blocks:
    """The blocks of the model's denoiser."""
    return model.family.blocks


def _sized_as(target: LoraTarget, entries: Mapping[str, Tensor]) -> LoraTarget:
    """The target as a file has it: rank, alpha (), and names and shapes of its weights."""
    alpha = entries.get("alpha")
    shapes = {name: tuple(tensor.shape) for name, tensor in entries.items()}
    # Types without a rank count as having alpha ranks: alpha / rank is then 1.
    dim = rank_of(shapes) or (1 if alpha is None else max(1, round(float(alpha))))
    shapes = {name: shape for name, shape in shapes.items() if name not in ("alpha", "on_input")}
    # Files hold a DyLoRA's ranks joined, training has them in groups: no shapes of its own.
    if target.algorithm == "dylora":
        return replace(target, dim=dim, alpha=float(dim if alpha is None else alpha))
    return replace(target, dim=dim, alpha=float(dim if alpha is None else alpha), shapes=shapes)


def _text_targets(
    model: BaseModel, encoder: int, network: schema.Network, *, everything: bool
) -> Iterator[LoraTarget]:
    """The attention and MLP projections of a text encoder."""
    kinds = PRESETS[network.LyCORIS_preset].kinds if is_lycoris(network) and not everything else None
    for path, module in model.text_encoders[encoder].named_modules():
        # As in the reference: no embeddings, no projection of the pooled vector.
        if not isinstance(module, nn.Linear) or not (".self_attn." in path or ".mlp." in path):
            continue
        if kinds is None or ("text_attention" if ".self_attn." in path else "text_mlp") in kinds:
            dim, alpha = network.network_dim, network.network_alpha
            name, algorithm = model.family.text_key(encoder, path), algorithm_of(network)
            yield LoraTarget(name, "text_encoder", path, dim, alpha, encoder, algorithm=algorithm)


def _denoiser_targets(model: BaseModel, network: schema.Network, *, everything: bool) -> Iterator[LoraTarget]:
    """Linear layers and convolutions, and with "Train Norm" the norms, in the reference's order."""
    family, blocks = model.family, blocks_of(model)
    size = _lycoris_size(network) if is_lycoris(network) else _kohya_size(network, blocks)
    algorithm, norms = algorithm_of(network), is_lycoris(network) and (network.train_norm or everything)
    # Not diffusers' own order: first values are drawn in the reference's.
    for path, module in sorted(model.denoiser.named_modules(), key=lambda item: family.order(item[0])):
        is_norm = isinstance(module, (nn.GroupNorm, nn.LayerNorm))
        kind, name = module_kind(path), family.lora_key(path)
        if kind is None or not takes_lora(kind, family):
            continue
        if not (isinstance(module, (nn.Linear, nn.Conv2d)) or (norms and is_norm)):
            continue
        # A 1x1 convolution is a linear layer to kohya: it has the linear layers' rank.
        wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        block = blocks.index(name)
        dim, alpha = size(kind, block, wide)
        # Rank 0 leaves a module out ("Block dims"); a file's own sizes win over it.
        if dim > 0 or everything:
            projection = family.linear_as_convolution and path.endswith(("proj_in", "proj_out"))
            yield LoraTarget(
                name,
                "unet",
                path,
                dim,
                alpha,
                block=block,
                as_convolution=projection and not is_norm,
                algorithm="norm" if is_norm else algorithm,
            )


Sizer = Callable[[LayerKind, "int | None", bool], tuple[int, float]]
"""(rank, alpha) for a kind of module, its block, and whether it is a convolution beyond 1x1; rank 0: none."""


def _kohya_size(network: schema.Network, blocks: Blocks) -> Sizer:
    """Attentions; with 3x3 convolutions the resnets too; blocks may have sizes of their own."""
    sizes, conv_sizes = sizes_of(network, blocks, conv=False), sizes_of(network, blocks, conv=True)
    rates = block_rates(network, blocks) if network.LoRA_type in schema.BLOCKWISE else None

    def size(kind: LayerKind, block: int | None, wide: bool) -> tuple[int, float]:
        in_attentions = kind in ("attention", "transformer")
        per_block = conv_sizes if wide else sizes
        # Block rate 0: the reference makes no LoRA there at all.
        if block is None or not (in_attentions or conv_sizes) or (rates and rates[block] <= 0):
            return 0, 1.0
        return per_block[block] if per_block else (0, 1.0)

    return size


def _lycoris_size(network: schema.Network) -> Sizer:
    """What the preset names."""
    kinds, conv = PRESETS[network.LyCORIS_preset].kinds, conv_size(network)

    def size(kind: LayerKind, _block: int | None, wide: bool) -> tuple[int, float]:
        rank_and_alpha = conv if wide else (network.network_dim, network.network_alpha)
        return rank_and_alpha if rank_and_alpha and kind in kinds else (0, 1.0)

    return size
