"""Regularisation pictures: what the base model itself draws for the class word, in training's own layout.

The picture of a number has a seed of its own, so that a stopped job goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import StopRequested
from trainer.files.whole_file import sweep, write_whole
from trainer.plan.sample_prompts import SamplePrompt
from trainer.settings import Settings
from trainer.tools.tool import Work


@dataclass(frozen=True)
class ToDraw:
    """What is drawn."""

    prompts: Sequence[SamplePrompt]
    """By turns."""
    count: int
    seed: int
    """Of the first picture; each one after it has the next."""
    sampler: str

    def picture(self, number: int) -> tuple[SamplePrompt, int]:
        """Prompt and seed of a picture, counted from 0."""
        return self.prompts[number % len(self.prompts)], self.seed + number

    def name(self, number: int) -> str:
        """ "0001_42.png"."""
        return f"{number + 1:04d}_{self.seed + number}.png"


def missing_numbers(batch: ToDraw, folder: Path) -> list[int]:
    """Numbers of the pictures that are not there yet."""
    return [number for number in range(batch.count) if not (folder / batch.name(number)).exists()]


def draw_all(settings: Settings, batch: ToDraw, folder: Path, work: Work) -> int:
    """Draw what is missing into `folder`; returns how many were drawn. Pictures that are there stay.

    `settings` name the model and how texts are read. Raises UserError, OSError, StopRequested between two
    steps of a picture; what is drawn until then stays.
    """
    from trainer.training.encode import open_base_model
    from trainer.training.prepare import pick_computing
    from trainer.training.sampling import as_png, draw

    numbers = missing_numbers(batch, folder)
    work.report(0, batch.count)
    folder.mkdir(parents=True, exist_ok=True)  # before the model is read: what is closed is told at once
    sweep(folder)
    computing = pick_computing(settings.machine, work.emit)
    model = open_base_model(settings, computing, work.emit)
    for number in numbers:
        work.report(number, batch.count)
        prompt, seed = batch.picture(number)
        try:
            with computing.autocast():
                image = draw(
                    model, prompt, lambda text: model.encode_text([text]), sampler=batch.sampler, seed=seed,
                    interrupted=work.stop_requested,
                )  # fmt: skip
        except InterruptedError as error:
            raise StopRequested from error
        write_whole(folder / batch.name(number), as_png(image))
    work.report(batch.count, batch.count)
    return len(numbers)
