"""The LoRA as a whole: what the training loop needs of it.

PEFT puts the layers in; their names, sizes, dropouts and files are kohya's (see lora_targets, lora_layer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from trainer import settings as schema
from trainer.blocks import BLOCK_NAMES, block_rates
from trainer.errors import UserError
from trainer.lora_file import load_lora
from trainer.lora_layer import ADAPTER, Dropouts, LoraPair
from trainer.lora_targets import LoraTarget, Part, plan_targets, reader_notices
from trainer.messages import Message
from trainer.model import LoadedModel


class NormsScaled(NamedTuple):
    """Outcome of "Scale weight norms": modules made smaller, and the norms after it."""

    scaled: int
    mean: float
    largest: float


class Network:
    """The LoRA layers of one run. `train()` and `eval()` switch the dropouts."""

    def __init__(
        self,
        pairs: Sequence[LoraPair],
        block_rates: Sequence[float] | None = None,
        notices: Sequence[Message] = (),
    ) -> None:
        self.pairs = tuple(pairs)
        self.notices = tuple(notices)
        self.training = True
        self._block_rates = block_rates

    @property
    def targets(self) -> tuple[LoraTarget, ...]:
        """The modules that have a LoRA."""
        return tuple(pair.target for pair in self.pairs)

    def parameters(self, part: Part | None = None) -> list[nn.Parameter]:
        """All LoRA weights, or those of one part."""
        return [weight for pair in self._of(part) for weight in (pair.down, pair.up)]

    def groups(
        self,
        *,
        unet_lr: float,
        text_encoder_lr: float,
        unet_plus: float = 0.0,
        text_encoder_plus: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Parameter groups (`params`, `lr`, `name`): text encoder, then UNet, or one per UNet block.

        `…_plus` is the LoRA+ ratio: lora_up learns that many times faster (arXiv 2402.12354). Groups
        of rate 0 are left out.
        """
        groups = _group("text_encoder", self._of("text_encoder"), text_encoder_lr, text_encoder_plus)
        unet = self._of("unet")
        if self._block_rates is None:
            return groups + _group("unet", unet, unet_lr, unet_plus)
        for block in dict.fromkeys(pair.target.block for pair in unet):
            rate = unet_lr * (1.0 if block is None else self._block_rates[block])
            name = "unet" if block is None else f"unet {BLOCK_NAMES[block]}"
            groups += _group(name, [pair for pair in unet if pair.target.block == block], rate, unet_plus)
        return groups

    def state_dict(self) -> dict[str, Tensor]:
        """Weights under kohya's keys, float32, on the CPU, with each module's alpha."""
        return {key: tensor for pair in self.pairs for key, tensor in pair.tensors().items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], *, setting: str = "network_weights", name: str = "") -> int:
        """Take over weights of a LoRA file; returns how many modules were in it.

        Raises UserError where a size differs or nothing fits.
        """
        known = [pair for pair in self.pairs if pair.is_in(tensors)]
        if not known:
            raise UserError("core.weights_fit_nothing", setting, name=name)
        for pair in known:
            if (dim := pair.other_dim(tensors)) is not None:
                raise UserError("core.weights_other_dim", setting, name=name, dim=dim, wanted=pair.target.dim)
            pair.load(tensors)
        return len(known)

    def train(self) -> None:
        """Dropouts on."""
        self.training = True

    def eval(self) -> None:
        """Dropouts off: for samples."""
        self.training = False

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the base model answers as if there were no LoRA."""
        for pair in self.pairs:
            pair.enable(False)
        try:
            yield
        finally:
            for pair in self.pairs:
                pair.enable(True)

    def set_strength(self, strength: float) -> None:
        """Let the whole LoRA count `strength` times, as programs do that load the file (1: as trained)."""
        for pair in self.pairs:
            pair.set_strength(strength)

    def freeze_text_encoder(self) -> None:
        """ "Stop text encoder training": its weights get no gradients, so no optimizer moves them."""
        for weight in self.parameters("text_encoder"):
            weight.requires_grad_(False)
            weight.grad = None

    @torch.no_grad()
    def scale_weight_norms(self, limit: float) -> NormsScaled:
        """ "Scale weight norms": shrink each module whose change of the weight has a norm above `limit`."""
        norms, scaled = [], 0
        for pair in self.pairs:
            norm = pair.change_norm()
            if norm > limit:
                pair.shrink(limit / norm)
                norm, scaled = limit, scaled + 1
            norms.append(max(norm, limit / 2))  # as the reference reports it
        return NormsScaled(scaled, sum(norms) / max(1, len(norms)), max(norms, default=0.0))

    def _of(self, part: Part | None) -> list[LoraPair]:
        return [pair for pair in self.pairs if part in {None, pair.target.part}]


def _group(name: str, pairs: Sequence[LoraPair], rate: float, plus: float) -> list[dict[str, Any]]:
    """One parameter group, or with LoRA+ two: lora_down, lora_up."""
    if plus:
        downs, ups = [pair.down for pair in pairs], [pair.up for pair in pairs]
        groups = [
            {"params": downs, "lr": rate, "name": name},
            {"params": ups, "lr": rate * plus, "name": f"{name} up"},
        ]
    else:
        weights = [weight for pair in pairs for weight in (pair.down, pair.up)]
        groups = [{"params": weights, "lr": rate, "name": name}]
    return [group for group in groups if group["params"] and group["lr"]]


def build_network(
    model: LoadedModel,
    network: schema.Network,
    *,
    train_unet: bool = True,
    train_text_encoder: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """Put LoRA layers into the model. Draws from torch's global generator, in the reference's order.

    Starts from "LoRA network weights" where given, with "DIM from weights" in that file's sizes; the file
    stays as it is. Raises UserError where it does not fit or nothing would be trained.
    """
    path = Path(network.network_weights).expanduser()
    start = load_lora(path)[0] if network.network_weights else None
    sizes = start if network.dim_from_weights else None
    targets = plan_targets(
        model, network, train_unet=train_unet, train_text_encoder=train_text_encoder, weights=sizes
    )
    if not targets:
        if sizes is not None:
            raise UserError("core.weights_fit_nothing", "network_weights", name=path.name)
        raise UserError("core.nothing_to_train", "unet_lr")
    pairs = _inject(model, targets)
    for pair in pairs:
        pair.initialise(dtype)
    built = Network(pairs, block_rates(network), reader_notices(model, targets))
    dropouts = Dropouts(network.network_dropout, network.rank_dropout, network.module_dropout)
    if any(dropouts):
        for pair in pairs:
            pair.add_dropouts(dropouts, lambda: built.training)
    if start is not None:
        built.load(start, name=path.name)
    return built


def _inject(model: LoadedModel, targets: Sequence[LoraTarget]) -> list[LoraPair]:
    """Empty LoRA layers in the model's modules, in the order of `targets`. Nothing is drawn."""
    homes: dict[tuple[Part, int], nn.Module] = {
        ("text_encoder", i): encoder for i, encoder in enumerate(model.text_encoders)
    }
    homes["unet", 0] = model.unet
    for place, home in homes.items():
        chosen = [target for target in targets if (target.part, target.encoder) == place]
        if chosen:
            inject_adapter_in_model(_lora_config(chosen), home, ADAPTER, low_cpu_mem_usage=True)
    return [
        LoraPair(target, homes[target.part, target.encoder].get_submodule(target.module_path))  # pyright: ignore[reportArgumentType]  # PEFT put a LoraLayer there
        for target in targets
    ]


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
