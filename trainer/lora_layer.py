"""One module's LoRA as the network handles it: weights, file entries, norm, dropouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from trainer.lora_targets import LoraTarget

ADAPTER = "default"
"""PEFT's name for the one set of weights we add."""


class Dropouts(NamedTuple):
    """Shares (0-1) of what is left out while training: rank activations, ranks, whole modules."""

    network: float = 0.0
    rank: float = 0.0
    module: float = 0.0


class LoraPair:
    """lora_down (r, in, …) and lora_up (out, r, …) beside one Linear or Conv2d.

    output = module(x) + lora_up(lora_down(x)) · alpha/dim  (arXiv 2106.09685)
    """

    def __init__(self, target: LoraTarget, layer: LoraLayer) -> None:
        self.target = target
        self.layer = layer

    @property
    def down(self) -> nn.Parameter:
        """PEFT's lora_A."""
        return cast("nn.Parameter", self.layer.lora_A[ADAPTER].weight)

    @property
    def up(self) -> nn.Parameter:
        """PEFT's lora_B."""
        return cast("nn.Parameter", self.layer.lora_B[ADAPTER].weight)

    def initialise(self, dtype: torch.dtype) -> None:
        """lora_down random, lora_up zero: the model starts unchanged."""
        base = cast("nn.Linear", self.layer.get_base_layer())
        for side in (self.layer.lora_A, self.layer.lora_B):
            side[ADAPTER].to_empty(device=base.weight.device).to(dtype)
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        nn.init.zeros_(self.up)
        base.requires_grad_(False)
        self.down.requires_grad_(True)
        self.up.requires_grad_(True)

    def tensors(self) -> dict[str, Tensor]:
        """Entries of a LoRA file: float32 copies on the CPU, and alpha."""
        name, entries = self.target.name, {}
        for side, weight in (("lora_down", self.down), ("lora_up", self.up)):
            copy = weight.detach().float().cpu().clone()
            shape = (*copy.shape, 1, 1) if self.target.as_convolution else copy.shape
            entries[f"{name}.{side}.weight"] = copy.reshape(shape)
        return {**entries, f"{name}.alpha": torch.tensor(float(self.target.alpha))}

    def is_in(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a LoRA file holds this module."""
        return f"{self.target.name}.lora_down.weight" in tensors

    def other_dim(self, tensors: Mapping[str, Tensor]) -> int | None:
        """The rank of a file's entries where they do not fit."""
        down, up = self._entries(tensors)
        fits = down.numel() == self.down.numel() and up.numel() == self.up.numel()
        return None if fits else down.shape[0]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a file's entries."""
        down, up = self._entries(tensors)
        self.down.copy_(down.reshape(self.down.shape))
        self.up.copy_(up.reshape(self.up.shape))

    def _entries(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        name = self.target.name
        return tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]

    def change_norm(self) -> float:
        """Frobenius norm of up · down · alpha/dim, without building it: √tr((upᵀup)(down downᵀ))."""
        down, up = self.down.double().flatten(1), self.up.double().flatten(1)
        square = ((up.T @ up) * (down @ down.T)).sum().item()
        return math.sqrt(max(0.0, square)) * self.target.alpha / self.target.dim

    def shrink(self, ratio: float) -> None:
        """Multiply the change of the module's weight by `ratio`."""
        self.down.mul_(math.sqrt(ratio))
        self.up.mul_(math.sqrt(ratio))

    def enable(self, on: bool) -> None:
        """Switch the LoRA on or off; whether its weights learn stays as it was."""
        learning = self.down.requires_grad, self.up.requires_grad
        self.layer.enable_adapters(on)
        self.down.requires_grad_(learning[0])
        self.up.requires_grad_(learning[1])

    def set_strength(self, strength: float) -> None:
        """Let the LoRA count `strength` times (1: as trained)."""
        self.layer.set_scale(ADAPTER, strength)

    def add_dropouts(self, dropouts: Dropouts, training: Callable[[], bool]) -> None:
        """kohya's three dropouts, drawn in its order: module, rank activations, ranks."""

        def thin_out(_module: nn.Module, _inputs: Any, ranks: Tensor) -> Tensor:
            if not training():
                return ranks
            if dropouts.network:
                ranks = F.dropout(ranks, dropouts.network)
            return drop_ranks(ranks, dropouts.rank) if dropouts.rank else ranks

        layer = cast("nn.Module", self.layer)
        forward = layer.forward

        def maybe_skip(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if training() and dropouts.module and torch.rand(1).item() < dropouts.module:
                return self.layer.get_base_layer()(x, *args, **kwargs)
            return forward(x, *args, **kwargs)

        self.layer.lora_A[ADAPTER].register_forward_hook(thin_out)
        layer.forward = maybe_skip


def drop_ranks(ranks: Tensor, share: float) -> Tensor:
    """Leave out whole ranks of each example and strengthen the rest.

    `ranks`: (B, r), (B, T, r), or of a convolution (B, r, h, w).
    """
    axis = 1 if ranks.dim() == 4 else -1
    mask = torch.rand((ranks.shape[0], ranks.shape[axis]), device=ranks.device) > share
    shape = {2: mask.shape, 3: (len(mask), 1, -1), 4: (len(mask), -1, 1, 1)}[ranks.dim()]
    return ranks * mask.view(shape) * (1 / (1 - share))
