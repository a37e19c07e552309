""" "Extra accelerate launch arguments": accelerate's options, for the processes that we start ourselves."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import UserError
from trainer.kohya.command import LAUNCHER, options, split_command, text_of
from trainer.kohya.fitting import fit
from trainer.kohya.report import short
from trainer.problems import Problem, block
from trainer.settings import TRAINING, Machine

LAUNCH_TEXT = "extra_accelerate_launch_args"
WHERE = ("machine_rank", "main_process_ip")
"""Options without a setting: which of several machines this is, and where the first one is."""


@dataclass(frozen=True)
class LaunchArguments:
    """What the typed arguments mean."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value."""
    machine_rank: int = 0
    main_process_ip: str = ""
    problems: tuple[Problem, ...] = ()


def read_launch_arguments(machine: Machine) -> LaunchArguments:
    """The typed arguments, and what is wrong with them."""
    try:
        typed, loose = options(split_command(machine.extra_accelerate_launch_args))
    except UserError:
        return LaunchArguments(problems=(block(LAUNCH_TEXT, "preflight.launch_quote"),))
    typed = {name.replace("-", "_"): value for name, value in typed.items()}
    values = {
        name: fit(TRAINING[name], value, TRAINING[name].default)
        for name, value in typed.items()
        if name in LAUNCHER
    }
    rank = typed.get("machine_rank", 0)
    problems = [*_problems(typed, loose)]
    problems += [
        _bad(typed, name) for name, fitted in values.items() if fitted.attention or typed[name] is None
    ]
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
        problems.append(_bad(typed, "machine_rank"))
        rank = 0
    return LaunchArguments(
        {name: fitted.value for name, fitted in values.items()},
        rank,
        str(typed.get("main_process_ip") or ""),
        tuple(problems),
    )


def _problems(typed: Mapping[str, Any], loose: list[str]) -> Iterator[Problem]:
    if loose:
        yield block(
            LAUNCH_TEXT, "preflight.launch_unknown", {LAUNCH_TEXT: text_of(typed)}, option=" ".join(loose)
        )
    for name in typed:
        if name in LAUNCHER or name in WHERE:
            continue
        near = difflib.get_close_matches(name, [*LAUNCHER, *WHERE], n=1)
        code = "preflight.launch_unknown_near" if near else "preflight.launch_unknown"
        values = {"near": f"--{near[0]}"} if near else {}
        yield block(LAUNCH_TEXT, code, _without(typed, name), option=f"--{name}", **values)


def _bad(typed: Mapping[str, Any], name: str) -> Problem:
    return block(
        LAUNCH_TEXT,
        "preflight.launch_value",
        _without(typed, name),
        option=f"--{name}",
        value=short(typed[name]),
    )


def _without(typed: Mapping[str, Any], name: str) -> dict[str, str]:
    return {LAUNCH_TEXT: text_of({option: value for option, value in typed.items() if option != name})}
