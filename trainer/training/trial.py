"""The chosen optimizer and schedule, tried for a moment before anything is loaded.

Every refusal of a library is so told at its field before the run, whatever it is about: libraries check some
values when the optimizer is built, others at its first step, some never.
"""

from __future__ import annotations

import math
import warnings
from contextlib import redirect_stdout
from io import StringIO

import torch
from torch import nn

from trainer import settings as schema
from trainer.errors import UserError
from trainer.plan.lr_schedule import SCHEDULE_TEXT as SCHEDULE_SETTING
from trainer.plan.lr_schedule import build_lr_scheduler, schedule, warmup_steps
from trainer.plan.optimizer_args import OPTIMIZER_TEXT, uses_relative_step
from trainer.plan.rates import denoiser_rate, text_rates
from trainer.settings import TRAINING
from trainer.training.optimizer import build_optimizer, set_training

TRIAL_SIDE = 64
"""4,096 numbers: from there on 8-bit optimizers keep 8 bits."""
TRIAL_STEPS = 3
STEPS_LOOKED_AT = 200
"""Steps at which a schedule's factor is computed."""


def try_out(optimizer: schema.Optimizer, total_steps: int, device: torch.device) -> None:
    """Take some steps with one small weight. Raises UserError where that cannot be done."""
    try:
        # D-Adaptation and Prodigy print at their first step.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")  # the run says them
            weight = _stepped(optimizer, total_steps, device)
    except UserError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise _refusal(
            "core.arguments_refused", OPTIMIZER_TEXT, optimizer.optimizer, reason=reason[:200]
        ) from error
    if not torch.isfinite(weight).all():
        raise _refusal("core.arguments_not_finite", OPTIMIZER_TEXT, optimizer.optimizer)
    _check_schedule(optimizer, total_steps)


def _stepped(optimizer: schema.Optimizer, total_steps: int, device: torch.device) -> torch.Tensor:
    """The weight (SIDE, SIDE) after some steps with drawn gradients."""
    draws = torch.Generator().manual_seed(0)  # of its own: a run with the same seed stays the same
    weight = nn.Parameter((torch.randn(TRIAL_SIDE, TRIAL_SIDE, generator=draws) * 0.01).to(device))
    # One group: what several rates mean is checked elsewhere.
    made, _ = build_optimizer(optimizer, [{"params": [weight], "lr": _rate(optimizer)}], device)
    scheduler = build_lr_scheduler(optimizer, made, total_steps, warmup=0)
    set_training(made, True)
    for _ in range(TRIAL_STEPS):
        weight.grad = (torch.randn(TRIAL_SIDE, TRIAL_SIDE, generator=draws) * 0.01).to(device)
        made.step()
        scheduler.step()
        made.zero_grad()
    set_training(made, False)
    return weight.detach()


def _rate(optimizer: schema.Optimizer) -> float:
    """The highest rate that counts."""
    return max(denoiser_rate(optimizer), *text_rates(optimizer))


def _check_schedule(optimizer: schema.Optimizer, total_steps: int) -> None:
    """Each factor must be a number, and none negative: the training would go backwards."""
    if uses_relative_step(optimizer):
        return
    name = optimizer.lr_scheduler_type or optimizer.lr_scheduler
    factor = schedule(optimizer, total_steps, warmup_steps(optimizer, total_steps))
    try:
        # Over the whole run: a schedule may turn bad at its end.
        factors = [factor(step) for step in range(0, total_steps, max(1, total_steps // STEPS_LOOKED_AT))]
    except (ArithmeticError, ValueError, TypeError) as error:
        raise _refusal("core.arguments_refused", SCHEDULE_SETTING, name, reason=str(error)[:200]) from error
    if not all(math.isfinite(one) and one >= 0 for one in factors):
        raise _refusal("core.arguments_not_finite", SCHEDULE_SETTING, name)


def _refusal(code: str, setting: str, owner: str, **values: str) -> UserError:
    return UserError(code, setting, owner=owner, label=TRAINING[setting].spec.label, **values)
