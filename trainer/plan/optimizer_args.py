"""Which extra arguments each optimizer takes, with its own defaults, and within which limits.

Tables, so that the checks need no torch; tests compare them with the optimizers themselves, and before a run
the real one is tried with them (`training.trial`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer import settings as schema
from trainer.plan.key_values import Limits, Unset, check_known, parse_key_values

Known = dict[str, Any]
OPTIMIZER_TEXT = "optimizer_args"

_ADAM: Known = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False}
_BITS: Known = {"min_8bit_size": 4096, "optim_bits": 32}
_SGD: Known = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": True}
_ADAPT: Known = {"d0": 1e-6, "growth_rate": math.inf, "log_every": 0}
_FREE: Known = {"r": 0.0, "weight_lr_power": 2.0, "foreach": True}
_FREE_ADAM: Known = {**_FREE, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
_DADAPT_ADAM: Known = {**_ADAPT, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decouple": False}
_DADAPT_ADAN: Known = {
    **_ADAPT, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.02, "no_prox": False,
}  # fmt: skip

KNOWN_ARGUMENTS: Mapping[str, Known] = {
    "AdamW": {
        **_ADAM, "maximize": False, "foreach": Unset.SWITCH, "capturable": False, "differentiable": False,
        "fused": Unset.SWITCH,
    },
    "AdamW8bit": {**_ADAM, **_BITS, "is_paged": False},
    "PagedAdamW8bit": {**_ADAM, **_BITS},
    "PagedAdamW32bit": {**_ADAM, **_BITS},
    "AdamWScheduleFree": {**_FREE_ADAM, "warmup_steps": 0},
    "Adafactor": {
        "eps": (1e-30, 1e-3), "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": Unset.NUMBER,
        "weight_decay": 0.0, "scale_parameter": True, "relative_step": True, "warmup_init": False,
    },
    "DAdaptation": _DADAPT_ADAM,
    "DAdaptAdamPreprint": _DADAPT_ADAM,
    "DAdaptAdam": {**_DADAPT_ADAM, "use_bias_correction": False},
    "DAdaptAdaGrad": {**_ADAPT, "momentum": 0.0, "weight_decay": 0.0, "eps": 1e-6},
    "DAdaptAdan": _DADAPT_ADAN,
    "DAdaptAdanIP": _DADAPT_ADAN,
    "DAdaptLion": {"d0": 1e-6, "log_every": 0, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "DAdaptSGD": {**_ADAPT, "momentum": 0.0, "weight_decay": 0.0},
    "Lion": {"betas": (0.9, 0.99), "weight_decay": 0.0, "decoupled_weight_decay": False},
    "Lion8bit": {"betas": (0.9, 0.99), "weight_decay": 0.0, "min_8bit_size": 4096, "is_paged": False},
    "PagedLion8bit": {"betas": (0.9, 0.99), "weight_decay": 0.0, "min_8bit_size": 4096},
    "Prodigy": {
        "betas": (0.9, 0.999), "beta3": Unset.NUMBER, "eps": 1e-8, "weight_decay": 0.0, "decouple": True,
        "use_bias_correction": False, "safeguard_warmup": False, "d0": 1e-6, "d_coef": 1.0,
        "growth_rate": math.inf, "slice_p": 1,
    },
    "RAdamScheduleFree": {**_FREE_ADAM, "silent_sgd_phase": True},
    "SGDNesterov": {
        **_SGD, "maximize": False, "foreach": Unset.SWITCH, "differentiable": False, "fused": Unset.SWITCH,
    },
    "SGDNesterov8bit": {**_SGD, "min_8bit_size": 4096},
    "SGDScheduleFree": {**_FREE, "momentum": 0.9, "weight_decay": 0.0, "warmup_steps": 0},
}  # fmt: skip

ONE_RATE_ONLY = (*(name for name in KNOWN_ARGUMENTS if name.startswith("DAdapt")), "Prodigy")
"""These find the rate themselves and refuse groups of different rates (0 is allowed)."""


_COUNT = Limits(0, 1e9, whole=True)
_SHARE, _PART = Limits(0, 1, below=True), Limits(0, 1, above=True, below=True)
"""Shares that may be 0, and those that may not."""
_NEVER = Limits(only=(False,))
_POWER = Limits(0, 10)
ARGUMENT_LIMITS: Mapping[str, Limits] = {
    "betas": _SHARE, "beta1": _SHARE, "beta3": _SHARE, "momentum": _SHARE, "dampening": _SHARE,
    "eps": Limits(0, 1), "weight_decay": Limits(0, 1000), "clip_threshold": Limits(0, 1e6, above=True),
    "decay_rate": Limits(-10, 0), "d0": Limits(1e-12, 1000), "d_coef": Limits(0, 1000, above=True),
    "growth_rate": Limits(1), "r": _POWER, "weight_lr_power": _POWER, "warmup_steps": _COUNT,
    "log_every": _COUNT, "min_8bit_size": _COUNT, "optim_bits": Limits(only=(32,)),
    "slice_p": Limits(1, 1e6, whole=True), "differentiable": _NEVER, "maximize": _NEVER,
}  # fmt: skip
"""Of any optimizer's arguments: what libraries refuse, now or at a later step, and what makes no sense."""
OWN_LIMITS: Mapping[str, Mapping[str, Limits]] = {
    "AdamW8bit": {"amsgrad": _NEVER},
    "PagedAdamW8bit": {"amsgrad": _NEVER},
    "PagedAdamW32bit": {"optim_bits": Limits(only=(8, 32))},
    "SGDNesterov8bit": {"momentum": _PART},
    "AdamWScheduleFree": {"betas": _PART},
    "RAdamScheduleFree": {"betas": _PART},
    "SGDScheduleFree": {"momentum": _PART},
    **{name: {"eps": Limits(0, 1, above=True)} for name in ONE_RATE_ONLY},
}
"""Optimizer -> limits that it alone has."""


def limits_of(name: str, values: Mapping[str, Any]) -> Mapping[str, Limits]:
    """The limits of an optimizer's arguments, of which some depend on others."""
    nesterov = name == "SGDNesterov" and values.get("nesterov", True)
    together = {"momentum": _PART, "dampening": Limits(only=(0,))} if nesterov else {}
    one_way = {"foreach": _NEVER} if values.get("fused") is True else {}
    return {**ARGUMENT_LIMITS, **OWN_LIMITS.get(name, {}), **together, **one_way}


def read_arguments(text: str, name: str) -> dict[str, Any]:
    """The arguments in a text for an optimizer. Raises UserError for those that it does not take."""
    values = parse_key_values(text, OPTIMIZER_TEXT)
    check_known(values, KNOWN_ARGUMENTS[name], OPTIMIZER_TEXT, name, limits_of(name, values))
    return values


def extra_arguments(optimizer: schema.Optimizer) -> dict[str, Any]:
    """ "Optimizer extra arguments" as values. Raises UserError as `read_arguments` does."""
    return read_arguments(optimizer.optimizer_args, optimizer.optimizer)


def uses_relative_step(optimizer: schema.Optimizer) -> bool:
    """Adafactor finding its own rate: rates, schedule and warm-up of the tab then count for nothing."""
    if optimizer.optimizer != "Adafactor":
        return False
    values = extra_arguments(optimizer)
    return bool(values.get("relative_step", True) or values.get("warmup_init"))
