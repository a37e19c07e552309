"""Which extra arguments each optimizer takes, with its own defaults.

A table, so that the checks need no torch; tests compare it with the optimizers themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer import settings as schema
from trainer.plan.key_values import NO_DEFAULT, check_known, parse_key_values

Known = dict[str, Any]
SETTING = "optimizer_args"

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
        **_ADAM, "maximize": False, "foreach": NO_DEFAULT, "capturable": False, "differentiable": False,
        "fused": NO_DEFAULT,
    },
    "AdamW8bit": {**_ADAM, **_BITS, "is_paged": False},
    "PagedAdamW8bit": {**_ADAM, **_BITS},
    "PagedAdamW32bit": {**_ADAM, **_BITS},
    "AdamWScheduleFree": {**_FREE_ADAM, "warmup_steps": 0},
    "Adafactor": {
        "eps": (1e-30, 1e-3), "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": NO_DEFAULT,
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
        "betas": (0.9, 0.999), "beta3": NO_DEFAULT, "eps": 1e-8, "weight_decay": 0.0, "decouple": True,
        "use_bias_correction": False, "safeguard_warmup": False, "d0": 1e-6, "d_coef": 1.0,
        "growth_rate": math.inf, "slice_p": 1,
    },
    "RAdamScheduleFree": {**_FREE_ADAM, "silent_sgd_phase": True},
    "SGDNesterov": {
        **_SGD, "maximize": False, "foreach": NO_DEFAULT, "differentiable": False, "fused": NO_DEFAULT,
    },
    "SGDNesterov8bit": {**_SGD, "min_8bit_size": 4096},
    "SGDScheduleFree": {**_FREE, "momentum": 0.9, "weight_decay": 0.0, "warmup_steps": 0},
}  # fmt: skip

ONE_RATE_ONLY = (*(name for name in KNOWN_ARGUMENTS if name.startswith("DAdapt")), "Prodigy")
"""These find the rate themselves and refuse groups of different rates (0 is allowed)."""


def extra_arguments(optimizer: schema.Optimizer) -> dict[str, Any]:
    """ "Optimizer extra arguments" as values. Raises UserError for a name the optimizer does not have."""
    values = parse_key_values(optimizer.optimizer_args, SETTING)
    check_known(values, KNOWN_ARGUMENTS[optimizer.optimizer], SETTING, optimizer.optimizer)
    return values


def uses_relative_step(optimizer: schema.Optimizer) -> bool:
    """Adafactor finding its own rate: rates, schedule and warm-up of the tab then count for nothing."""
    if optimizer.optimizer != "Adafactor":
        return False
    values = extra_arguments(optimizer)
    return bool(values.get("relative_step", True) or values.get("warmup_init"))
