"""LoRA by PEFT's layers, with kohya's dropouts: the adapter of Standard, Kohya LoCon and LoRA-FA."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from trainer.lora.target import LoraTarget
from trainer.models.small_weights import outlined
from trainer.network.adapters.adapter import Adapter, Dropouts, Mode

ADAPTER = "default"
"""PEFT's name for the one set of weights we add."""


class LoraPair(Adapter):
    """lora_down (r, in, …) and lora_up (out, r, …) beside one Linear or Conv2d.

    output = module(x) + lora_up(lora_down(x)) · alpha/dim  (arXiv 2106.09685)
    """

    def __init__(self, target: LoraTarget, layer: LoraLayer, *, fixed_down: bool = False) -> None:
        self.target = target
        self.layer = layer
        self.entries = {}
        if fixed_down:
            self.frozen = ("lora_down.weight",)

    @property
    def down(self) -> nn.Parameter:
        """PEFT's lora_A."""
        return cast("nn.Parameter", self.layer.lora_A[ADAPTER].weight)

    @property
    def up(self) -> nn.Parameter:
        """PEFT's lora_B."""
        return cast("nn.Parameter", self.layer.lora_B[ADAPTER].weight)

    def initialise(self, dtype: torch.dtype) -> None:
        """lora_down random, lora_up zero: the model starts unchanged.

        LoRA-FA keeps lora_down as it is drawn, hence its own spread (arXiv 2308.03303).
        """
        base = cast("nn.Linear", self.layer.get_base_layer())
        with outlined():
            device = base.weight.device
        # PEFT made them on "meta": memory now, where the module is, in the format that learns.
        for side in (self.layer.lora_A, self.layer.lora_B):
            side[ADAPTER].to_empty(device=device).to(dtype)
        if self.frozen:
            nn.init.normal_(self.down, std=math.sqrt(2 / (self.down.shape[1] + self.down.shape[0])))
        else:
            # kohya's own draw; PEFT's is the same but comes in another order.
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        # One of the two at 0 is enough to change nothing; with both at 0 neither would ever learn.
        nn.init.zeros_(self.up)
        base.requires_grad_(False)
        self.entries = {"lora_down.weight": self.down, "lora_up.weight": self.up}
        for name, weight in self.entries.items():
            weight.requires_grad_(name not in self.frozen)

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """SD2's projections (r, in) and (out, r) stand in files as 1x1 convolutions."""
        if not self.target.as_convolution:
            return copies
        return {name: weight.reshape(*weight.shape, 1, 1) for name, weight in copies.items()}

    def change_norm(self) -> float:
        """Frobenius norm of up · down · alpha/dim, without building it: √tr((upᵀup)(down downᵀ))."""
        # float64: the trace of a product of r x r sums loses the small norms in float32.
        down, up = self.down.double().flatten(1), self.up.double().flatten(1)
        square = ((up.T @ up) * (down @ down.T)).sum().item()
        return math.sqrt(max(0.0, square)) * self.target.alpha / self.target.dim

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        """Half of it in each of the two, so that neither gets lost; all in lora_up where it alone learns."""
        if self.frozen:
            self.up.mul_(ratio)
            return
        self.down.mul_(math.sqrt(ratio))
        self.up.mul_(math.sqrt(ratio))

    def enable(self, on: bool) -> None:
        # PEFT's switch also lets everything learn, or nothing: what was frozen stays so.
        learning = self.down.requires_grad, self.up.requires_grad
        self.layer.enable_adapters(on)
        self.down.requires_grad_(learning[0])
        self.up.requires_grad_(learning[1])

    def set_strength(self, strength: float) -> None:
        self.layer.set_scale(ADAPTER, strength)

    def add_dropouts(self, dropouts: Dropouts, mode: Mode) -> None:
        """kohya's three dropouts, drawn in its order: module, rank activations, ranks."""

        def thin_out(_module: nn.Module, _inputs: Any, ranks: Tensor) -> Tensor:  # (…, r) or (B, r, h, w)
            """Forward hook on the activations of the ranks, (B, …, r) or (B, r, h, w)."""
            if not mode.training:
                return ranks
            if dropouts.network:
                ranks = F.dropout(ranks, dropouts.network)
            return drop_ranks(ranks, dropouts.rank) if dropouts.rank else ranks

        layer = cast("nn.Module", self.layer)
        forward = layer.forward

        def maybe_skip(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """The layer's output, (B, …, out) or (B, out, h, w), with or without the LoRA."""
            # Drawn on the CPU, where the reference draws it: the same seed leaves out the same modules.
            if mode.training and dropouts.module and torch.rand(1).item() < dropouts.module:
                return self.layer.get_base_layer()(x, *args, **kwargs)
            return forward(x, *args, **kwargs)

        self.layer.lora_A[ADAPTER].register_forward_hook(thin_out)
        # Around PEFT's forward: a skipped module draws nothing else.
        layer.forward = maybe_skip


def drop_ranks(ranks: Tensor, share: float) -> Tensor:
    """Leave out whole ranks of each example and strengthen the rest.

    `ranks`: (B, r), (B, T, r), or of a convolution (B, r, h, w).
    """
    axis = 1 if ranks.dim() == 4 else -1
    # One draw per example and rank, the same at all places of a picture or of a caption.
    mask = torch.rand((ranks.shape[0], ranks.shape[axis]), device=ranks.device) > share
    shape = {2: mask.shape, 3: (len(mask), 1, -1), 4: (len(mask), -1, 1, 1)}[ranks.dim()]
    return ranks * mask.view(shape) * (1 / (1 - share))
