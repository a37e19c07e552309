"""Which LoRA files a run writes, under which names, and which of them it removes again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.settings import Saving


@dataclass(frozen=True)
class SavePlan:
    """A LoRA file that will be written."""

    step: int
    epoch: int
    """The epoch that is complete; 0 for a file that goes by steps."""
    name: str
    gone_at: int = 0
    """Step at which "Save last N …" removes it again; 0: it stays."""
    state_gone_at: int = 0
    """The same for its state, if it has one ("Save last N … state", else as the file)."""


def epoch_name(name: str, epoch: int) -> str:
    """File name of a LoRA saved after an epoch, without its ending."""
    return f"{name}-{epoch:06d}"


def step_name(name: str, step: int) -> str:
    """File name of a LoRA saved at a step, without its ending."""
    return f"{name}-step{step:08d}"


def save_plans(saving: Saving, name: str, ending: str, per_epoch: int, total: int) -> tuple[SavePlan, ...]:
    """The LoRA files in the order they are written. The last step gives the final file only."""
    saves: list[SavePlan] = []
    if (every := saving.save_every_n_epochs) and per_epoch:
        keep = saving.save_last_n_epochs * every * per_epoch
        keep_state = (saving.save_last_n_epochs_state * every * per_epoch) or keep
        steps = {epoch * per_epoch: epoch for epoch in range(every, -(-total // per_epoch) + 1, every)}
        points = [step for step in steps if step < total]
        saves += (
            SavePlan(
                step,
                steps[step],
                epoch_name(name, steps[step]) + ending,
                _gone_at(step, keep, points),
                _gone_at(step, keep_state, points),
            )
            for step in points
        )
    if every := saving.save_every_n_steps:
        points = [*range(every, total, every)]
        keep = saving.save_last_n_steps and saving.save_last_n_steps + 1
        keep_state = (saving.save_last_n_steps_state and saving.save_last_n_steps_state + 1) or keep
        saves += (
            SavePlan(
                step,
                0,
                step_name(name, step) + ending,
                _gone_at(step, keep, points),
                _gone_at(step, keep_state, points),
            )
            for step in points
        )
    last = SavePlan(total, -(-total // per_epoch), name + ending) if total and per_epoch else None
    return (*sorted(saves, key=lambda save: (save.step, save.epoch)), *((last,) if last else ()))


def _gone_at(step: int, keep: int, points: Sequence[int]) -> int:
    """The first point of saving that lies `keep` or more steps behind `step`; 0: none does."""
    return next((point for point in points if keep and point - step >= keep), 0)


def most_files(saves: Sequence[SavePlan]) -> int:
    """The most LoRA files that exist at any time."""
    return _most((save.step, save.gone_at) for save in saves)


def most_states(saves: Sequence[SavePlan]) -> int:
    """The most states that exist at any time, where each file has one."""
    return _most((save.step, save.state_gone_at) for save in saves)


def _most(lives: Iterable[tuple[int, int]]) -> int:
    """How many live at once: each from its first step up to the step at which it goes (0: never)."""
    all_lives = list(lives)
    at = [sum(born <= now and not 0 < gone < now for born, gone in all_lives) for now, _ in all_lives]
    return max(at, default=0)


def free_name(output_dir: str | Path, name: str, ending: str) -> str:
    """`name`, or name-2, name-3 … where LoRA files of that name exist: nothing is ever overwritten.

    Files saved on the way (name-000001, name-step00000100) count too.
    """
    try:
        taken = (
            {file.name.casefold() for file in Path(output_dir).iterdir()} if str(output_dir) else set[str]()
        )
    except OSError:
        return name
    candidates = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if not _is_taken(candidate, ending, taken))


def _is_taken(name: str, ending: str, taken: set[str]) -> bool:
    form = re.compile(re.escape(name.casefold()) + r"(-\d{6}|-step\d{8})?" + re.escape(ending.casefold()))
    return any(form.fullmatch(file) for file in taken)
