"""Optimizers by the name in the list "Optimizer"."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from trainer import settings as schema
from trainer.errors import UserError
from trainer.messages import Message
from trainer.plan.optimizer_args import KNOWN_ARGUMENTS, ONE_RATE_ONLY, extra_arguments, uses_relative_step


@dataclass(frozen=True)
class Maker:
    """Where an optimizer comes from."""

    module: str
    kind: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that its name implies; extra arguments win over them."""
    fallback: str = ""
    """The 32-bit optimizer taken where the 8-bit one cannot run."""


NESTEROV = {"momentum": 0.9, "nesterov": True}
MAKERS: Mapping[str, Maker] = {
    "AdamW": Maker("torch.optim", "AdamW"),
    "AdamW8bit": Maker("bitsandbytes.optim", "AdamW8bit", fallback="AdamW"),
    "PagedAdamW8bit": Maker("bitsandbytes.optim", "PagedAdamW8bit", fallback="AdamW"),
    "PagedAdamW32bit": Maker("bitsandbytes.optim", "PagedAdamW32bit", fallback="AdamW"),
    "AdamWScheduleFree": Maker("schedulefree", "AdamWScheduleFree"),
    "Adafactor": Maker("transformers.optimization", "Adafactor"),
    "DAdaptation": Maker("dadaptation.experimental", "DAdaptAdamPreprint"),
    "DAdaptAdamPreprint": Maker("dadaptation.experimental", "DAdaptAdamPreprint"),
    "DAdaptAdam": Maker("dadaptation", "DAdaptAdam"),
    "DAdaptAdaGrad": Maker("dadaptation", "DAdaptAdaGrad"),
    "DAdaptAdan": Maker("dadaptation", "DAdaptAdan"),
    "DAdaptAdanIP": Maker("dadaptation.experimental", "DAdaptAdanIP"),
    "DAdaptLion": Maker("dadaptation", "DAdaptLion"),
    "DAdaptSGD": Maker("dadaptation", "DAdaptSGD"),
    "Lion": Maker("lion_pytorch", "Lion"),
    "Lion8bit": Maker("bitsandbytes.optim", "Lion8bit", fallback="Lion"),
    "PagedLion8bit": Maker("bitsandbytes.optim", "PagedLion8bit", fallback="Lion"),
    "Prodigy": Maker("prodigyopt", "Prodigy"),
    "RAdamScheduleFree": Maker("schedulefree", "RAdamScheduleFree"),
    "SGDNesterov": Maker("torch.optim", "SGD", NESTEROV),
    "SGDNesterov8bit": Maker("bitsandbytes.optim", "SGD8bit", NESTEROV, "SGDNesterov"),
    "SGDScheduleFree": Maker("schedulefree", "SGDScheduleFree"),
}


def build_optimizer(
    optimizer: schema.Optimizer, groups: Sequence[Mapping[str, Any]], device: torch.device
) -> tuple[Optimizer, Message | None]:
    """The optimizer for parameter groups (each with `params`, `lr`), and a notice where another is used.

    Raises UserError for extra arguments it does not take, and for groups of different rates where it
    finds the rate itself.
    """
    extra = extra_arguments(optimizer)
    # What is used instead has arguments of its own: only those that it knows are given on.
    name, notice = _usable(optimizer.optimizer, device)
    known = KNOWN_ARGUMENTS[name]
    extra = {key: _as_default(value, known[key]) for key, value in extra.items() if key in known}
    # They find one rate for all weights: several would not do what the form says.
    if name in ONE_RATE_ONLY and len({group["lr"] for group in groups} - {0}) > 1:
        raise UserError("core.one_rate_only", "text_encoder_lr", optimizer=name)
    maker = MAKERS[name]
    kind = getattr(_import(maker.module), maker.kind)
    # The default beside the groups' own rates; the reference gives it, too.
    base = optimizer.learning_rate or max((group["lr"] for group in groups), default=0.0)
    options = {"lr": base, **maker.fixed, **_at_once(kind, device, extra), **extra}
    # Copies: torch writes its defaults into the groups.
    groups = [dict(group) for group in groups]
    if uses_relative_step(optimizer):
        options |= {"lr": None, "relative_step": True}
        groups = [{key: value for key, value in group.items() if key != "lr"} for group in groups]
    # transformers' Adafactor refuses a rate beside its own relative step, which is on by default.
    elif name == "Adafactor":
        options["relative_step"] = False
    return kind(groups, **options), notice


def _at_once(kind: type, device: torch.device, extra: Mapping[str, Any]) -> dict[str, Any]:
    """All weights in one call, where torch would take them one by one; on a card it takes them together."""
    is_free = not extra.keys() & {"foreach", "fused", "capturable", "differentiable"}
    return {"fused": True} if kind is torch.optim.AdamW and device.type == "cpu" and is_free else {}


def _as_default(value: Any, default: Any) -> Any:
    """1 as 1.0 where the default is such a number: torch refuses betas of whole ones."""
    if isinstance(default, tuple):
        return tuple(map(float, value))
    return float(value) if isinstance(default, float) and not isinstance(value, bool) else value


def set_training(optimizer: Optimizer, training: bool) -> None:
    """Schedule-free optimizers keep two sets of weights: one to train, one to save and to sample with."""
    switch = getattr(optimizer, "train" if training else "eval", None)
    if switch is not None:
        switch()


@contextmanager
def finished_weights(optimizer: Optimizer) -> Iterator[None]:
    """Inside, the weights are those that a file or a sample picture is made of; afterwards exactly as before.

    Only schedule-free optimizers tell the two apart. Their own way back is not exact to the last bit.
    """
    if not hasattr(getattr(optimizer, "optimizer", optimizer), "eval"):  # accelerate wraps it
        yield
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    # Their way back divides what was multiplied: a bit may be lost at every sample.
    kept = [weight.detach().clone() for weight in weights]
    set_training(optimizer, False)
    try:
        yield
    finally:
        set_training(optimizer, True)
        with torch.no_grad():
            for weight, values in zip(weights, kept, strict=True):
                weight.copy_(values)


def adapted_rate(group: Mapping[str, Any]) -> float:
    """Rate at work in a parameter group: D-Adaptation and Prodigy multiply it by their estimate `d`."""
    # Adafactor's own rate is None in the group.
    return float(group["lr"] or 0.0) * float(group.get("d", 1.0))


def _usable(name: str, device: torch.device) -> tuple[str, Message | None]:
    """8-bit optimizers need bitsandbytes and an NVIDIA card (or a CPU, where the paged ones do not run).

    Elsewhere the 32-bit one does the same work.
    """
    fallback = MAKERS[name].fallback
    if not fallback:
        return name, None
    can_run = device.type == "cuda" or (device.type == "cpu" and not name.startswith("Paged"))
    if can_run and importlib.util.find_spec("bitsandbytes"):
        return name, None
    code = "core.no_bitsandbytes" if can_run else "core.no_8bit_here"
    return fallback, Message(code, {"name": name, "used": fallback})


def _import(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bitsandbytes warns at import about torch.jit
        return importlib.import_module(module)


def class_name(optimizer: Optimizer) -> str:
    """Its class: `torch.optim.adamw.AdamW`."""
    kind = type(getattr(optimizer, "optimizer", optimizer))  # accelerate wraps it
    return f"{kind.__module__}.{kind.__name__}"


def name_with_arguments(optimizer: Optimizer, settings: schema.Optimizer) -> str:
    """Class and extra arguments, as LoRA files name them: `torch.optim.adamw.AdamW(weight_decay=0.1)`."""
    arguments = {**MAKERS[settings.optimizer].fixed, **extra_arguments(settings)}
    # The reference names the momentum alone.
    arguments.pop("nesterov", None)
    text = ",".join(f"{key}={value}" for key, value in arguments.items())
    return class_name(optimizer) + (f"({text})" if text else "")
