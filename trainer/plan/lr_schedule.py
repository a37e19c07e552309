"""Learning-rate schedules: functions from a step to a factor of the base rate.

Torch-free but for `build_lr_scheduler`, so that the page can draw the curve. Step 0 is the first one:
with a warm-up it has rate 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trainer import settings as schema
from trainer.errors import UserError
from trainer.plan.key_values import Limits, Unset, check_known, parse_key_values

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

RateFactor = Callable[[int], float]

EXTRA_ARGUMENTS: dict[str, Mapping[str, Any]] = {
    "piecewise_constant": {"step_rules": Unset.TEXT},
    "cosine_with_min_lr": {"min_lr_ratio": 0.1},
    "inverse_sqrt": {"timescale": Unset.STEPS},
    "warmup_stable_decay": {"decay_steps": Unset.STEPS, "min_lr_ratio": 0.0},
    "CosineAnnealingLR": {"T_max": Unset.STEPS, "eta_min": 0.0},
}
"""Schedule -> what "LR scheduler extra arguments" may hold, with defaults."""
SCHEDULE_TEXT = "lr_scheduler_args"
LIMITS: Mapping[str, Limits] = {
    "min_lr_ratio": Limits(0, 1),
    "timescale": Limits(0, 1e9, above=True),
    "decay_steps": Limits(0, 1e9),
    "T_max": Limits(0, 1e9, above=True),
    "eta_min": Limits(0, 1000),
}
POLYNOMIAL_END = 1e-7
MOST_RATE_FACTOR = 1000
"""Of the base rate."""


def warmup_steps(optimizer: schema.Optimizer, total_steps: int) -> int:
    """Length of the warm-up: "LR warmup steps" where given, else `LR warmup` percent of all steps."""
    if (
        optimizer.lr_scheduler in {"constant", "adafactor", "piecewise_constant"}
        or optimizer.lr_scheduler_type
    ):
        return 0
    return optimizer.lr_warmup_steps or round(total_steps * optimizer.lr_warmup / 100)


def rates(optimizer: schema.Optimizer, total_steps: int, *, warmup: int | None = None) -> list[float]:
    """Factor of the base rate at every step: what the page draws. `adafactor` is drawn as constant."""
    factor = schedule(
        optimizer, total_steps, warmup_steps(optimizer, total_steps) if warmup is None else warmup
    )
    return [factor(step) for step in range(total_steps)]


def schedule(optimizer: schema.Optimizer, total_steps: int, warmup: int) -> RateFactor:
    """The function step -> factor. Raises UserError for bad extra arguments."""
    name = optimizer.lr_scheduler_type or optimizer.lr_scheduler
    known = EXTRA_ARGUMENTS.get(name, {})
    extra = parse_key_values(optimizer.lr_scheduler_args, SCHEDULE_TEXT)
    check_known(extra, known, SCHEDULE_TEXT, name, LIMITS)
    extra = {key: value for key, value in extra.items() if value is not None}
    if name == "CosineAnnealingLR":
        return _cosine_annealing(extra, total_steps, optimizer.learning_rate)
    if name == "piecewise_constant":
        return _piecewise(str(extra.get("step_rules", "")))
    cycles = optimizer.lr_scheduler_num_cycles
    shapes: dict[str, Callable[[float], float]] = {
        "linear": lambda progress: 1 - progress,
        "cosine": _half_cosine,
        "cosine_with_restarts": lambda progress: _restarts(progress, cycles),
        "polynomial": _polynomial(optimizer.lr_scheduler_power, optimizer.learning_rate, cycles),
        "cosine_with_min_lr": lambda progress: _cosine_with_floor(progress, cycles, **extra),
    }
    if name in shapes:
        return _warmed_up(shapes[name], total_steps, warmup)
    if name == "inverse_sqrt":
        return _inverse_sqrt(warmup, extra.get("timescale"))
    if name == "warmup_stable_decay":
        return _stable_then_decay(total_steps, warmup, cycles, **extra)
    return lambda step: min(1.0, step / warmup) if warmup else 1.0


def build_lr_scheduler(
    optimizer_settings: schema.Optimizer, optimizer: Optimizer, total_steps: int, warmup: int | None = None
) -> LRScheduler:
    """The schedule on an optimizer; call its step() once after each optimizer step.

    Adafactor with relative steps brings its own.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers.optimization import Adafactor, AdafactorSchedule

    if isinstance(optimizer, Adafactor) and optimizer.defaults["relative_step"]:
        return AdafactorSchedule(optimizer, optimizer_settings.learning_rate)
    if optimizer_settings.lr_scheduler == "adafactor":
        raise UserError("core.adafactor_schedule_only", "lr_scheduler")
    steps = warmup_steps(optimizer_settings, total_steps) if warmup is None else warmup
    return LambdaLR(optimizer, schedule(optimizer_settings, total_steps, steps))


def _warmed_up(after: Callable[[float], float], total_steps: int, warmup: int) -> RateFactor:
    """Rise from 0 to 1 during the warm-up, then `after(progress)` with progress from 0 to 1."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, after((step - warmup) / max(1, total_steps - warmup)))

    return factor


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _restarts(progress: float, cycles: int) -> float:
    return 0.0 if progress >= 1 else _half_cosine(cycles * progress % 1.0)


def _polynomial(power: float, learning_rate: float, cycles: int) -> Callable[[float], float]:
    """Down to 1e-7, measured on the base learning rate; anew in each cycle (the reference knows one)."""
    end = POLYNOMIAL_END / learning_rate if learning_rate > POLYNOMIAL_END else 0.0
    return lambda progress: end if progress >= 1 else (1 - end) * (1 - cycles * progress % 1.0) ** power + end


def _cosine_with_floor(progress: float, cycles: int, min_lr_ratio: float = 0.1) -> float:
    return _half_cosine(cycles * progress) * (1 - min_lr_ratio) + min_lr_ratio


def _inverse_sqrt(warmup: int, timescale: float | None) -> RateFactor:
    scale = timescale or warmup or 10_000

    def factor(step: int) -> float:
        return step / max(1, warmup) if step < warmup else 1 / math.sqrt((step + scale - warmup) / scale)

    return factor


def _stable_then_decay(
    total_steps: int,
    warmup: int,
    cycles: int,
    decay_steps: float | None = None,
    min_lr_ratio: float = 0.0,
) -> RateFactor:
    """Warm up, stay, and fall by a cosine over the last `decay_steps` (a tenth where not given).

    Below 1 it is a share of all steps, cut off to whole ones as the reference does.
    """
    share = 0.1 if decay_steps is None else decay_steps
    decay = int(share * total_steps) if 0 < share < 1 else int(share)
    stable_end = total_steps - decay

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup) * (1 - min_lr_ratio) + min_lr_ratio
        if step < stable_end:
            return 1.0
        if step >= stable_end + decay:
            return min_lr_ratio
        return _half_cosine(cycles * (step - stable_end) / decay) * (1 - min_lr_ratio) + min_lr_ratio

    return factor


def _piecewise(rules: str) -> RateFactor:
    """`1:30,0.1:60,0.01`: factor 1 before step 30, 0.1 before step 60, 0.01 from there on."""
    try:
        *timed, last = rules.split(",")
        steps = [(int(end), float(value)) for value, end in (rule.split(":") for rule in timed)]
        final = float(last)
    except ValueError as error:
        raise UserError("core.step_rules", SCHEDULE_TEXT, rules=rules) from error
    if not all(0 <= factor <= MOST_RATE_FACTOR for factor in [final, *(factor for _, factor in steps)]):
        raise UserError("core.step_rules", SCHEDULE_TEXT, rules=rules)
    return lambda step: next((value for end, value in sorted(steps) if step < end), final)


def _cosine_annealing(extra: Mapping[str, Any], total_steps: int, learning_rate: float) -> RateFactor:
    """torch's CosineAnnealingLR, in closed form."""
    period = float(extra.get("T_max") or total_steps)
    floor = float(extra.get("eta_min", 0.0)) / learning_rate if learning_rate else 0.0
    return lambda step: floor + (1 - floor) * _half_cosine(step / period)
