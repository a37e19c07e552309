"""The LoRA as a whole: what the training loop needs of it.

What is added to each module is an adapter's business: PEFT's layers for plain LoRA (lora_layer), our own for
the other types (adapters). Names, sizes, dropouts and files are kohya's and LyCORIS' (targets).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from trainer import settings as schema
from trainer.errors import UserError
from trainer.lora.blocks import block_rates
from trainer.lora.shapes import by_module
from trainer.lora.target import LoraTarget, Part
from trainer.lora.types import algorithm_of, is_lycoris, rank_of
from trainer.messages import Message
from trainer.models.base import BaseModel
from trainer.models.small_weights import outlined
from trainer.network.adapters.adapter import Adapter, Dropouts, Mode
from trainer.network.adapters.build import make_adapter
from trainer.network.lean_lora import make_lora_lean
from trainer.network.lora_file import load_lora
from trainer.network.peft_layer import ADAPTER, LoraPair
from trainer.network.targets import blocks_of, plan_targets, reader_notices
from trainer.settings import BLOCKWISE


class NormsScaled(NamedTuple):
    """Outcome of "Scale weight norms": modules made smaller, and the norms after it."""

    scaled: int
    mean: float
    largest: float


class LoraNetwork:
    """The LoRA of one run. `train()` and `eval()` switch the dropouts."""

    def __init__(
        self,
        adapters: Sequence[Adapter],
        block_rates: Sequence[float] | None = None,
        notices: Sequence[Message] = (),
        mode: Mode | None = None,
        block_names: Sequence[str] = (),
    ) -> None:
        self.adapters = tuple(adapters)
        self.notices = list(notices)
        self.mode = mode or Mode()
        self._block_rates = block_rates
        self._block_names = block_names

    @property
    def targets(self) -> tuple[LoraTarget, ...]:
        """The modules that have a LoRA."""
        return tuple(adapter.target for adapter in self.adapters)

    def parameters(self, part: Part | None = None) -> list[nn.Parameter]:
        """All weights that learn, or those of one part."""
        return [weight for adapter in self._of(part) for weight in adapter.learned.values()]

    def groups(
        self,
        *,
        denoiser_lr: float,
        text_encoder_lr: float | Sequence[float],
        denoiser_plus: float = 0.0,
        text_encoder_plus: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Parameter groups (`params`, `lr`, `name`): text encoders, then denoiser, or one per block of it.

        Both text encoders are one group where they have one rate, as in the reference.
        `…_plus` is the LoRA+ ratio: lora_up learns that many times faster (arXiv 2402.12354). Groups
        of rate 0 are left out.
        """
        groups = self._text_groups(text_encoder_lr, text_encoder_plus)
        denoiser = self._of("unet")
        if self._block_rates is None:
            return groups + _group("unet", denoiser, denoiser_lr, denoiser_plus)
        # In the order of the modules: a state knows the groups by their place.
        for block in dict.fromkeys(adapter.target.block for adapter in denoiser):
            rate = denoiser_lr * (1.0 if block is None else self._block_rates[block])
            name = "unet" if block is None else f"unet {self._block_names[block]}"
            adapters = [one for one in denoiser if one.target.block == block]
            groups += _group(name, adapters, rate, denoiser_plus)
        return groups

    def _text_groups(self, rate: float | Sequence[float], plus: float) -> list[dict[str, Any]]:
        adapters = self._of("text_encoder")
        # Two equal rates are one group: the reference's schedule and logs know one then.
        rates = list(dict.fromkeys([rate] if isinstance(rate, (int, float)) else rate))
        if len(rates) < 2:
            return _group("text_encoder", adapters, rates[0], plus)
        first, second = ([one for one in adapters if one.target.encoder == encoder] for encoder in (0, 1))
        return _group("text_encoder", first, rates[0], plus) + _group(
            "text_encoder_2", second, rates[1], plus
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Weights as a LoRA file holds them (`lora.shapes`), float32, on the CPU, with each alpha ()."""
        return {key: tensor for adapter in self.adapters for key, tensor in adapter.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor], *, setting: str = "network_weights", name: str = "") -> int:
        """Take over weights of a LoRA file, of the shapes in `lora.shapes`; how many modules were in it.

        Raises UserError where a size differs or nothing fits; what is left over is told in `notices`.
        """
        modules = by_module(tensors)
        # Fewer than there are is allowed: a file of other layers (no text encoder) still is a start.
        known = [adapter for adapter in self.adapters if adapter.target.name in modules]
        if not known:
            raise UserError("core.weights_fit_nothing", setting, name=name)
        for adapter in known:
            entries = modules[adapter.target.name]
            if not adapter.fits(entries):
                raise _misfit(adapter.target, entries, setting, name)
            adapter.load(entries)
        if len(known) < len(modules):
            values = {"name": name, "used": len(known), "total": len(modules)}
            self.notices.append(Message("core.weights_partly", values))
        return len(known)

    def state(self) -> dict[str, Tensor]:
        """All weights exactly as they are, in our own shapes: what a training state keeps."""
        return {key: tensor for adapter in self.adapters for key, tensor in adapter.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state()`, of its shapes. Raises KeyError or RuntimeError where it does not fit."""
        for adapter in self.adapters:
            adapter.restore(state)

    def next_batch(self) -> None:
        """Tell that another batch begins: what was drawn for the last one no longer holds."""
        self.mode.batch += 1

    def train(self) -> None:
        """Dropouts on."""
        self.mode.training = True

    def eval(self) -> None:
        """Dropouts off: for samples."""
        self.mode.training = False

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the base model answers as if there were no LoRA."""
        for adapter in self.adapters:
            adapter.enable(False)
        try:
            yield
        finally:
            for adapter in self.adapters:
                adapter.enable(True)

    def set_strength(self, strength: float) -> None:
        """Let the whole LoRA count `strength` times, as programs do that load the file (1: as trained)."""
        for adapter in self.adapters:
            adapter.set_strength(strength)

    def freeze_text_encoder(self) -> None:
        """ "Stop text encoder training": its weights get no gradients, so no optimizer moves them."""
        for weight in self.parameters("text_encoder"):
            weight.requires_grad_(False)
            # An optimizer skips weights without a gradient; with one of 0 its momentum would go on.
            weight.grad = None

    @torch.no_grad()
    def scale_weight_norms(self, limit: float) -> NormsScaled:
        """ "Scale weight norms": shrink each module whose change of the weight has a norm above `limit`."""
        norms, scaled = [], 0
        for adapter in self.adapters:
            norm = adapter.change_norm()
            if norm is None:
                continue
            if norm > limit:
                adapter.shrink(limit / norm)
                norm, scaled = limit, scaled + 1
            # A norm far below the limit counts as half of it: the figures are to be the reference's.
            norms.append(max(norm, limit / 2))  # as the reference reports it
        return NormsScaled(scaled, sum(norms) / max(1, len(norms)), max(norms, default=0.0))

    def _of(self, part: Part | None) -> list[Adapter]:
        return [adapter for adapter in self.adapters if part in {None, adapter.target.part}]


def _misfit(target: LoraTarget, entries: Mapping[str, Tensor], setting: str, name: str) -> UserError:
    """Which way a file's entries (shapes: `lora.shapes`) do not fit."""
    dim = rank_of({entry: tuple(tensor.shape) for entry, tensor in entries.items()})
    if dim and dim != target.dim:
        return UserError("core.weights_other_dim", setting, name=name, dim=dim, wanted=target.dim)
    return UserError("core.weights_other_shape", setting, name=name)


def _group(name: str, adapters: Sequence[Adapter], rate: float, plus: float) -> list[dict[str, Any]]:
    """One parameter group, or with LoRA+ two: lora_up in the second."""
    weights = [item for adapter in adapters for item in adapter.learned.items()]
    # Slow ones first, as in the reference: a state knows the groups by their place.
    fast = [weight for entry, weight in weights if plus and entry.startswith("lora_up")]
    slow = [weight for entry, weight in weights if not (plus and entry.startswith("lora_up"))]
    groups = [
        {"params": slow, "lr": rate, "name": name},
        {"params": fast, "lr": rate * plus, "name": f"{name} up"},
    ]
    return [group for group in groups if group["params"] and group["lr"]]


def build_network(
    model: BaseModel,
    network: schema.Network,
    *,
    train_denoiser: bool = True,
    train_text_encoder: bool | Sequence[bool] = True,
    dtype: torch.dtype = torch.float32,
) -> LoraNetwork:
    """Put LoRA layers into the model. Draws from torch's global generator, in the reference's order.

    Starts from "LoRA network weights" where given, with "DIM from weights" in that file's sizes; the file
    stays as it is. Raises UserError where it does not fit or nothing would be trained.
    """
    path = Path(network.network_weights).expanduser()
    start = load_lora(path)[0] if network.network_weights else None
    # Read first: a damaged file is told before the model is changed.
    sizes = start if network.dim_from_weights else None
    targets = plan_targets(
        model, network, train_denoiser=train_denoiser, train_text_encoder=train_text_encoder, weights=sizes
    )
    if not targets:
        if sizes is not None:
            raise UserError("core.weights_fit_nothing", "network_weights", name=path.name)
        raise UserError("core.nothing_to_train", "unet_lr")
    # One for all adapters: one switch for samples, one count of batches.
    mode = Mode()
    adapters = _adapters(model, targets, network, mode)
    for adapter in adapters:
        # Drawn one after the other in the order of the targets: the same seed gives the reference's start.
        adapter.initialise(dtype)
    blocks = blocks_of(model)
    # Other types leave what stands in the fields for blocks alone, as kohya_ss does.
    rates = block_rates(network, blocks) if network.LoRA_type in BLOCKWISE else None
    built = LoraNetwork(adapters, rates, reader_notices(model, targets, network), mode, blocks.names)
    if start is not None:
        built.load(start, name=path.name)
    return built


def _adapters(
    model: BaseModel, targets: Sequence[LoraTarget], network: schema.Network, mode: Mode
) -> list[Adapter]:
    """The adapters in the model, in the order of `targets`: PEFT's layers for plain LoRA, else our own."""
    homes = _homes(model, targets)
    # LyCORIS' LoCon has dropouts and options that PEFT's layers lack.
    if algorithm_of(network) != "lora" or is_lycoris(network):
        return [
            make_adapter(
                target, homes[target.part, target.encoder].get_submodule(target.module_path), network, mode
            )
            for target in targets
        ]
    pairs = _inject(homes, targets, fixed_down=network.LoRA_type == "LoRA-FA")
    dropouts = Dropouts(network.network_dropout, network.rank_dropout, network.module_dropout)
    for pair in pairs:
        if any(dropouts):
            pair.add_dropouts(dropouts, mode)
        else:
            # Dropouts hang on PEFT's layers as hooks, which the lean layer passes by.
            make_lora_lean(pair.layer)
    return list(pairs)


def _homes(model: BaseModel, targets: Sequence[LoraTarget]) -> dict[tuple[Part, int], nn.Module]:
    """The parts that get a LoRA; the others need not be in memory."""
    # Asked for by need: `model.denoiser` reads gigabytes the first time.
    places: list[tuple[Part, int]] = sorted({(target.part, target.encoder) for target in targets})
    return {
        place: model.denoiser if place[0] == "unet" else model.text_encoders[place[1]] for place in places
    }


def _inject(
    homes: Mapping[tuple[Part, int], nn.Module], targets: Sequence[LoraTarget], *, fixed_down: bool
) -> list[LoraPair]:
    """Empty LoRA layers in the model's modules, in the order of `targets`. Nothing is drawn."""
    for place, home in homes.items():
        own = [target for target in targets if (target.part, target.encoder) == place]
        if own:
            # On "meta" and without values: `initialise` draws them, in our order and not in PEFT's.
            with outlined():
                inject_adapter_in_model(_lora_config(own), home, ADAPTER, low_cpu_mem_usage=True)
    return [
        LoraPair(
            target,
            homes[target.part, target.encoder].get_submodule(target.module_path),  # pyright: ignore[reportArgumentType]  # PEFT put a LoraLayer there
            fixed_down=fixed_down,
        )
        for target in targets
    ]


def _lora_config(targets: Sequence[LoraTarget]) -> LoraConfig:
    """PEFT's configuration for exactly these modules; sizes that differ from the first's go by name.

    One pattern for all modules of a size: PEFT tries every pattern at every module.
    """
    first, dims, alphas = targets[0], defaultdict(list), defaultdict(list)
    for target in targets:
        dims[target.dim].append(target)
        alphas[target.alpha].append(target)
    return LoraConfig(
        r=first.dim,
        lora_alpha=first.alpha,  # pyright: ignore[reportArgumentType]  # a fraction works as well
        target_modules=_any_of(targets),
        rank_pattern={f"^({_any_of(same)})$": dim for dim, same in dims.items() if dim != first.dim},
        alpha_pattern={
            f"^({_any_of(same)})$": alpha for alpha, same in alphas.items() if alpha != first.alpha
        },
        init_lora_weights=False,
    )


def _any_of(targets: Sequence[LoraTarget]) -> str:
    """A regular expression for the paths of these modules."""
    return "|".join(re.escape(target.module_path) for target in targets)
