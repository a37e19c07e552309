"""Which LoRA files a run writes, under which names, and which of them it removes again."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from itertools import islice
from pathlib import Path

from trainer.settings import Saving

MOST_LORA_FILES = 10_000
"""LoRA files that one run may write; most write fewer than a hundred."""
LISTED = 200
"""That are listed of more."""


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


def save_points(saving: Saving, per_epoch: int, total: int, done: int = 0) -> tuple[range, range]:
    """Steps at which files are saved by epochs, and by steps; the last step is not among them.

    `done`: steps that another run has made already, and saved.
    """
    by_epochs = saving.save_every_n_epochs * per_epoch
    by_steps = saving.save_every_n_steps
    return (
        range(done // by_epochs * by_epochs + by_epochs, total, by_epochs) if by_epochs else range(0),
        range(done // by_steps * by_steps + by_steps, total, by_steps) if by_steps else range(0),
    )


def save_plans(
    saving: Saving, name: str, ending: str, per_epoch: int, total: int, done: int = 0
) -> tuple[SavePlan, ...]:
    """The LoRA files in the order they are written. The last step gives the final file only.

    Of a run that would write more than `MOST_LORA_FILES` a few; the checks do not let it begin.
    """
    epochs, steps = save_points(saving, per_epoch, total, done)
    keep = saving.save_last_n_epochs * epochs.step
    keep_state = saving.save_last_n_epochs_state * epochs.step or keep
    by_epochs = (
        SavePlan(
            step,
            step // per_epoch,
            epoch_name(name, step // per_epoch) + ending,
            _gone_at(step, keep, epochs),
            _gone_at(step, keep_state, epochs),
        )
        for step in epochs
    )
    keep_steps = saving.save_last_n_steps and saving.save_last_n_steps + 1
    keep_steps_state = (saving.save_last_n_steps_state and saving.save_last_n_steps_state + 1) or keep_steps
    by_steps = (
        SavePlan(
            step,
            0,
            step_name(name, step) + ending,
            _gone_at(step, keep_steps, steps),
            _gone_at(step, keep_steps_state, steps),
        )
        for step in steps
    )
    in_order = merge(by_steps, by_epochs, key=lambda save: (save.step, save.epoch))
    last = SavePlan(total, -(-total // per_epoch), name + ending) if total and per_epoch else None
    most = MOST_LORA_FILES if len(epochs) + len(steps) < MOST_LORA_FILES else LISTED
    return (*islice(in_order, most), *((last,) if last else ()))


def _gone_at(step: int, keep: int, points: range) -> int:
    """The first point of saving that lies `keep` or more steps behind `step`; 0: none does."""
    point = -(-(step + keep) // points.step) * points.step
    return point if keep and point in points else 0


def most_files(saves: Sequence[SavePlan]) -> int:
    """The most LoRA files that exist at any time."""
    return _most((save.step, save.gone_at) for save in saves)


def most_states(saves: Sequence[SavePlan]) -> int:
    """The most states that exist at any time, where each file has one."""
    return _most((save.step, save.state_gone_at) for save in saves)


def _most(lives: Iterable[tuple[int, int]]) -> int:
    """How many live at once: each from its first step up to the step at which it goes (0: never)."""
    most, living = 0, list[float]()
    for born, gone in sorted(lives):
        while living and living[0] < born:
            heappop(living)
        heappush(living, gone or math.inf)
        most = max(most, len(living))
    return most


def free_name(output_dir: str | Path, name: str, ending: str) -> str:
    """`name`, or name-2, name-3 … where files of that name exist: nothing is ever overwritten.

    Only a job that is continued keeps the name that it has.
    """
    there = _listed(output_dir)
    candidates = (name, *(f"{name}-{number}" for number in range(2, len(there) + 3)))
    return next(candidate for candidate in candidates if not _taken(candidate, ending, there))


def taken_by(output_dir: str | Path, name: str, ending: str) -> str:
    """A file or folder that stands in the way of a run of this name; "" where there is none."""
    found = _taken(name, ending, _listed(output_dir))
    return min(found, key=len, default="")


def _listed(folder: str | Path) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir()] if str(folder) else []
    except OSError:
        return []


def _taken(name: str, ending: str, there: Iterable[str]) -> list[str]:
    """What is there of what a run of this name could write: LoRA files and states, also of steps and epochs.

    Windows and macOS know no capitals, and macOS no difference between two ways to write one letter.
    """
    point = r"(-\d{6,}|-step\d{8,})?"
    form = re.compile(f"{re.escape(_folded(name))}{point}({re.escape(_folded(ending))}|-state)")
    return [file for file in there if form.fullmatch(_folded(file))]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
