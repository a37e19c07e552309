"""sd-scripts' options of single schedules <-> "LR scheduler extra arguments"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.kohya.fitting import as_number
from trainer.plan.lr_schedule import EXTRA_ARGUMENTS

ARGUMENT_OF = {
    "lr_scheduler_min_lr_ratio": "min_lr_ratio",
    "lr_decay_steps": "decay_steps",
    "lr_scheduler_timescale": "timescale",
}
"""Option -> the argument that says it here."""
OPTION_OF_ARGUMENT = {argument: option for option, argument in ARGUMENT_OF.items()}


def schedule_takes(schedule: str, option: str) -> bool:
    """Whether a schedule listens to an option."""
    return ARGUMENT_OF[option] in EXTRA_ARGUMENTS.get(schedule, {})


def with_argument(text: str, option: str, value: Any) -> str:
    """Extra arguments with an option's value among them; "30%" of the steps becomes 0.3."""
    raw = str(value).strip()
    share = as_number(raw[:-1]) if raw.endswith("%") else None
    argument = f"{ARGUMENT_OF[option]}={raw if share is None else f'{share / 100:g}'}"
    arguments = [part for part in text.split() if part.partition("=")[0] != ARGUMENT_OF[option]]
    return " ".join([*arguments, argument])


def apart(schedule: str, pieces: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Extra arguments as sd-scripts wants them: those that remain, and options with their values."""
    options: dict[str, Any] = {}
    remaining: list[str] = []
    for piece in pieces:
        name, _, value = piece.partition("=")
        option = OPTION_OF_ARGUMENT.get(name, "")
        number = as_number(value)
        if option and number is not None and schedule_takes(schedule, option):
            options[option] = number
        else:
            remaining.append(piece)
    return remaining, options
