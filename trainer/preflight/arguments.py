"""Checks of what is typed as arguments of the optimizer and of the schedule."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress

from trainer.errors import UserError
from trainer.plan import machine
from trainer.plan.key_values import last_of_each, rewritten
from trainer.plan.lr_schedule import SCHEDULE_TEXT as SCHEDULE_ARGS
from trainer.plan.lr_schedule import schedule
from trainer.plan.optimizer_args import OPTIMIZER_TEXT as OPTIMIZER_ARGS
from trainer.plan.optimizer_args import extra_arguments
from trainer.problems import Problem, block, from_error, hint
from trainer.settings import TRAINING, Optimizer

MOST_TRIED = 40
"""Arguments that are tried one by one."""


def check(optimizer: Optimizer) -> Iterator[Problem]:
    """Problems of both fields."""
    for key in (OPTIMIZER_ARGS, SCHEDULE_ARGS):
        yield from _check_field(optimizer, key)
    yield from _check_card(optimizer)


def _check_field(optimizer: Optimizer, key: str) -> Iterator[Problem]:
    try:
        _read(optimizer, key)
    except UserError as error:
        yield _bad_arguments(optimizer, error)
        return
    name, text = last_of_each(getattr(optimizer, key))
    if name:  # more than once
        values = {"label": TRAINING[key].spec.label, "name": name[:60], "fixed": text[:200]}
        yield hint(key, "core.argument_twice", {key: text}, **values)


def _read(optimizer: Optimizer, key: str) -> None:
    """Raises UserError for arguments that cannot be."""
    if key == SCHEDULE_ARGS:
        schedule(optimizer, total_steps=100, warmup=0)
    else:
        extra_arguments(optimizer)


def _bad_arguments(optimizer: Optimizer, error: UserError) -> Problem:
    """What is wrong; where they are only written in another way, the same in ours as the fix."""
    key = error.setting
    text = rewritten(getattr(optimizer, key))
    if text and _takes(optimizer, key, text):
        return block(key, "core.argument_form", {key: text}, label=TRAINING[key].spec.label, fixed=text)
    return from_error(error, {key: _sound_part(optimizer, key)} if _takes(optimizer, key, "") else None)


def _sound_part(optimizer: Optimizer, key: str) -> str:
    """The arguments without those that cannot be."""
    sound: list[str] = []
    with suppress(ValueError):  # a quote that does not close
        for piece in shlex.split(getattr(optimizer, key))[:MOST_TRIED]:
            if _takes(optimizer, key, shlex.join([*sound, piece])):
                sound.append(piece)
    return shlex.join(sound)


def _check_card(optimizer: Optimizer) -> Iterator[Problem]:
    """What only graphics cards know. On the processor the run's own trial of the optimizer refuses it."""
    try:
        capturable = extra_arguments(optimizer).get("capturable")
    except UserError:
        return  # told above
    if not capturable or machine.graphics_memory():
        return
    pieces = [piece for piece in shlex.split(optimizer.optimizer_args) if not piece.startswith("capturable=")]
    fix = {OPTIMIZER_ARGS: shlex.join(pieces)}
    yield hint(OPTIMIZER_ARGS, "core.argument_card", fix, owner=optimizer.optimizer)


def _takes(optimizer: Optimizer, key: str, text: str) -> bool:
    """Whether the optimizer's arguments, or the schedule's, may be these."""
    try:
        _read(optimizer.model_copy(update={key: text}), key)
    except UserError:
        return False
    return True
