"""The LoRA: which modules get one, of what size, and what the training loop needs of it.

PEFT puts the layers in; names, sizes, dropouts and files follow kohya's rules, so that the result is
what every user interface reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from trainer import settings as schema
from trainer.blocks import BLOCK_NAMES, block_index, block_rates, sizes_of
from trainer.errors import UserError
from trainer.model import LoadedModel

Part = Literal["text_encoder", "unet"]
ADAPTER = "default"


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


class Dropouts(NamedTuple):
    """Shares (0-1) of what is left out while training: rank activations, ranks, whole modules."""

    network: float = 0.0
    rank: float = 0.0
    module: float = 0.0


class NormsScaled(NamedTuple):
    """Outcome of "Scale weight norms": modules made smaller, and norms after it."""

    count: int
    mean: float
    largest: float


def plan_targets(
    model: LoadedModel,
    network: schema.Network,
    *,
    train_unet: bool = True,
    train_text_encoder: bool = True,
    weights: Mapping[str, Tensor] | None = None,
) -> list[LoraTarget]:
    """Modules that get a LoRA, text encoder first, in the reference's order.

    `weights` (keys of a LoRA file) take the place of the sizes in the settings: "DIM from weights".
    """
    targets = []
    if train_text_encoder:
        targets += [
            target for i in range(len(model.text_encoders)) for target in _text_targets(model, i, network)
        ]
    if train_unet:
        targets += _unet_targets(model, network, everything=weights is not None)
    if weights is None:
        return targets
    return [_sized_as(target, weights) for target in targets if f"{target.name}.lora_down.weight" in weights]


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
    """Linear layers and 1x1 convolutions of the attentions; with a rank for them, the resnets too."""
    sizes, conv_sizes = sizes_of(network, conv=False), sizes_of(network, conv=True)
    rates = block_rates(network)
    modules = [
        (path, module)
        for path, module in model.unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    for path, module in sorted(modules, key=lambda item: _reference_order(item[0])):
        block = block_index(path)
        in_attention = ".attentions." in path
        if block is None or not (in_attention or everything or conv_sizes):
            continue
        wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        chosen = conv_sizes if wide else sizes
        dim, alpha = chosen[block] if chosen else (0, 1.0)
        if everything or (dim and not (rates and not rates[block])):
            projection = model.family == "sd2" and path.endswith(("proj_in", "proj_out"))
            name = kohya_name("lora_unet", path)
            yield LoraTarget(name, "unet", path, dim, alpha, 0, block, as_convolution=projection)


_SIDES = {"down_blocks": 0, "up_blocks": 1, "mid_block": 2}
_KINDS = {"attentions": 0, "resnets": 1, "downsamplers": 2, "upsamplers": 2}
_LAYERS = {
    "proj_in": 0,
    "transformer_blocks": 1,
    "proj_out": 2,
    "conv1": 3,
    "time_emb_proj": 4,
    "conv2": 5,
    "conv_shortcut": 6,
}
_INNER = {"attn1": 0, "ff": 1, "attn2": 2}


def _reference_order(path: str) -> list[int]:
    """Order of the reference's own UNet class (feed-forward before cross attention; middle last)."""
    order = []
    for piece in path.split("."):
        for table in (_SIDES, _KINDS, _LAYERS, _INNER, {"to_q": 0, "to_k": 1, "to_v": 2, "to_out": 3}):
            if piece in table:
                order.append(table[piece])
        if piece.isdigit():
            order.append(int(piece))
    return order if len(order) > 1 else [9]


def kohya_name(prefix: str, path: str) -> str:
    """Key of a module in a LoRA file. transformers 5.6 dropped `text_model.`; the files keep it."""
    if prefix.startswith("lora_te") and not path.startswith("text_model."):
        path = f"text_model.{path}"
    return f"{prefix}_{path.replace('.', '_')}"


class Network:
    """The LoRA layers of one run. `train()`/`eval()` switch the dropouts."""

    def __init__(
        self, targets: Sequence[LoraTarget], layers: Mapping[str, LoraLayer], dropouts: Dropouts
    ) -> None:
        self.targets = tuple(targets)
        self.training = True
        self._layers = dict(layers)
        if any(dropouts):
            for layer in self._layers.values():
                self._add_dropouts(layer, dropouts)

    def parameters(self, part: Part | None = None) -> list[nn.Parameter]:
        """All LoRA weights, or those of one part."""
        return [
            weight for target in self.targets if part in {None, target.part} for weight in self._pair(target)
        ]

    def groups(
        self,
        *,
        unet_lr: float,
        text_encoder_lr: float,
        block_rates: Sequence[float] | None = None,
        unet_plus: float = 0.0,
        text_encoder_plus: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Parameter groups (`params`, `lr`, `name`): text encoder, then UNet, or one per UNet block.

        `…_plus` is the LoRA+ ratio: lora_up learns that many times faster (arXiv 2402.12354). Groups
        of rate 0 are left out.
        """
        groups = self._group("text_encoder", self._of("text_encoder"), text_encoder_lr, text_encoder_plus)
        unet = self._of("unet")
        if block_rates is None:
            return groups + self._group("unet", unet, unet_lr, unet_plus)
        for block in dict.fromkeys(target.block for target in unet):
            rate = unet_lr * (1.0 if block is None else block_rates[block])
            name = "unet" if block is None else f"unet {BLOCK_NAMES[block]}"
            groups += self._group(name, [target for target in unet if target.block == block], rate, unet_plus)
        return groups

    def state_dict(self) -> dict[str, Tensor]:
        """Weights under kohya's keys, float32, on the CPU, with each module's alpha."""
        tensors = {}
        for target in self.targets:
            for side, weight in zip(("lora_down", "lora_up"), self._pair(target), strict=True):
                copy = weight.detach().float().cpu().clone()
                shape = (*copy.shape, 1, 1) if target.as_convolution else copy.shape
                tensors[f"{target.name}.{side}.weight"] = copy.reshape(shape)
            tensors[f"{target.name}.alpha"] = torch.tensor(float(target.alpha))
        return tensors

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], *, setting: str = "network_weights", name: str = "") -> int:
        """Take over weights of a LoRA file (kohya's keys); returns how many modules were in it.

        Raises UserError where a size differs or nothing fits.
        """
        loaded = 0
        for target in self.targets:
            if f"{target.name}.lora_down.weight" not in tensors:
                continue
            down, up = self._pair(target)
            pairs = (
                (down, tensors[f"{target.name}.lora_down.weight"]),
                (up, tensors[f"{target.name}.lora_up.weight"]),
            )
            for mine, theirs in pairs:
                if mine.numel() != theirs.numel():
                    values = {"name": name, "dim": pairs[0][1].shape[0], "wanted": target.dim}
                    raise UserError("core.weights_other_dim", setting, **values)
                mine.copy_(theirs.reshape(mine.shape))
            loaded += 1
        if not loaded:
            raise UserError("core.weights_fit_nothing", setting, name=name)
        return loaded

    def train(self) -> None:
        """Dropouts on."""
        self.training = True

    def eval(self) -> None:
        """Dropouts off: for samples."""
        self.training = False

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the base model answers as if there were no LoRA."""
        wanted = [weight.requires_grad for weight in self.parameters()]
        self._enable(False)
        try:
            yield
        finally:
            self._enable(True)
            for weight, requires_grad in zip(self.parameters(), wanted, strict=True):
                weight.requires_grad_(requires_grad)

    def freeze_text_encoder(self) -> None:
        """ "Stop text encoder training": its weights get no gradients, so no optimizer moves them."""
        for weight in self.parameters("text_encoder"):
            weight.requires_grad_(False)
            weight.grad = None

    @torch.no_grad()
    def scale_weight_norms(self, limit: float) -> NormsScaled:
        """Shrink modules whose weight change (lora_up · lora_down · alpha/dim) has a norm above `limit`."""
        norms, count = [], 0
        for target in self.targets:
            down, up = self._pair(target)
            norm = change_norm(down, up) * target.alpha / target.dim
            if norm > limit:
                ratio = math.sqrt(limit / norm)
                down.mul_(ratio)
                up.mul_(ratio)
                norm, count = limit, count + 1
            norms.append(max(norm, limit / 2))
        return NormsScaled(count, sum(norms) / max(1, len(norms)), max(norms, default=0.0))

    def _of(self, part: Part) -> list[LoraTarget]:
        return [target for target in self.targets if target.part == part]

    def _pair(self, target: LoraTarget) -> tuple[nn.Parameter, nn.Parameter]:
        layer = self._layers[target.name]
        return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight  # pyright: ignore[reportReturnType]  # ModuleDict

    def _group(
        self, name: str, targets: Sequence[LoraTarget], rate: float, plus: float
    ) -> list[dict[str, Any]]:
        pairs = [self._pair(target) for target in targets]
        if not plus:
            groups = [{"params": [weight for pair in pairs for weight in pair], "lr": rate, "name": name}]
        else:
            groups = [
                {"params": [down for down, _ in pairs], "lr": rate, "name": name},
                {"params": [up for _, up in pairs], "lr": rate * plus, "name": f"{name} up"},
            ]
        return [group for group in groups if group["params"] and group["lr"]]

    def _enable(self, on: bool) -> None:
        for layer in self._layers.values():
            layer.enable_adapters(on)

    def _add_dropouts(self, layer: LoraLayer, dropouts: Dropouts) -> None:
        """kohya's three dropouts, drawn in its order: module, rank activations, ranks."""

        def thin_out(_module: nn.Module, _inputs: Any, ranks: Tensor) -> Tensor:
            if not self.training:
                return ranks
            if dropouts.network:
                ranks = F.dropout(ranks, dropouts.network)
            return drop_ranks(ranks, dropouts.rank) if dropouts.rank else ranks

        forward = layer.forward

        def maybe_skip(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.training and dropouts.module and torch.rand(1).item() < dropouts.module:
                return layer.get_base_layer()(x, *args, **kwargs)
            return forward(x, *args, **kwargs)

        layer.lora_A[ADAPTER].register_forward_hook(thin_out)
        layer.forward = maybe_skip


def drop_ranks(ranks: Tensor, share: float) -> Tensor:
    """Leave out whole ranks of each example and strengthen the rest.

    `ranks`: (B, r), (B, T, r) or (B, r, h, w).
    """
    channels = ranks.shape[1] if ranks.dim() == 4 else ranks.shape[-1]  # noqa: PLR2004  # a convolution's output
    mask = torch.rand((ranks.shape[0], channels), device=ranks.device) > share
    shape = {2: mask.shape, 3: (len(mask), 1, channels), 4: (len(mask), channels, 1, 1)}[ranks.dim()]
    return ranks * mask.view(shape) * (1 / (1 - share))


def change_norm(down: Tensor, up: Tensor) -> float:
    """Frobenius norm of up · down, without building the product: √tr((upᵀup)(down downᵀ))."""
    down, up = down.double().flatten(1), up.double().flatten(1)
    return math.sqrt(max(0.0, ((up.T @ up) * (down @ down.T)).sum().item()))


def build_network(
    model: LoadedModel,
    network: schema.Network,
    *,
    train_unet: bool = True,
    train_text_encoder: bool = True,
    weights: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """Put LoRA layers into the model. Draws from torch's global generator, in the reference's order.

    `weights`: those of a LoRA file to start from ("LoRA network weights"); with "DIM from weights" they
    give the sizes too. The model's own weights stay as they are.
    """
    sizes = weights if network.dim_from_weights else None
    options = {"train_unet": train_unet, "train_text_encoder": train_text_encoder}
    targets = plan_targets(model, network, **options, weights=sizes)
    if not targets:
        raise UserError("core.nothing_to_train", "unet_lr")
    layers = _inject(model, targets)
    for target in targets:
        _initialise(layers[target.name], dtype)
    built = Network(
        targets, layers, Dropouts(network.network_dropout, network.rank_dropout, network.module_dropout)
    )
    if weights is not None:
        built.load(weights, name=network.network_weights)
    return built


def _inject(model: LoadedModel, targets: Sequence[LoraTarget]) -> dict[str, LoraLayer]:
    """LoRA layers by kohya's name. No draws: the layers are made empty."""
    homes: list[tuple[Part, int, nn.Module]] = [
        *(("text_encoder", i, encoder) for i, encoder in enumerate(model.text_encoders)),
        ("unet", 0, model.unet),
    ]
    layers = {}
    for part, encoder, home in homes:
        chosen = [target for target in targets if (target.part, target.encoder) == (part, encoder)]
        if not chosen:
            continue
        inject_adapter_in_model(_lora_config(chosen), home, adapter_name=ADAPTER, low_cpu_mem_usage=True)
        layers |= {target.name: home.get_submodule(target.module_path) for target in chosen}
    return layers


def _lora_config(targets: Sequence[LoraTarget]) -> LoraConfig:
    """PEFT's configuration for exactly these modules; sizes that differ from the first's go by name."""
    first = targets[0]
    exact = {target: f"^{re.escape(target.module_path)}$" for target in targets}
    return LoraConfig(
        r=first.dim,
        lora_alpha=first.alpha,  # pyright: ignore[reportArgumentType]  # a fraction works as well
        target_modules="|".join(re.escape(target.module_path) for target in targets),
        rank_pattern={exact[target]: target.dim for target in targets if target.dim != first.dim},
        alpha_pattern={exact[target]: target.alpha for target in targets if target.alpha != first.alpha},
        init_lora_weights=False,
    )


def _initialise(layer: LoraLayer, dtype: torch.dtype) -> None:
    """lora_down random, lora_up zero: the model starts unchanged."""
    device = layer.get_base_layer().weight.device
    for side in (layer.lora_A, layer.lora_B):
        side[ADAPTER].to_empty(device=device)
        side[ADAPTER].to(dtype)
    nn.init.kaiming_uniform_(layer.lora_A[ADAPTER].weight, a=math.sqrt(5))  # pyright: ignore[reportArgumentType]
    nn.init.zeros_(layer.lora_B[ADAPTER].weight)  # pyright: ignore[reportArgumentType]  # ModuleDict
    layer.requires_grad_(False)
    for side in (layer.lora_A, layer.lora_B):
        side[ADAPTER].requires_grad_(True)
