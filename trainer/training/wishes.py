"""What a person asks of a run at work, "Save now" and "Sample now": looked for after each step, like Stop."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.events import Notice
from trainer.files.job_folder import JobFolder
from trainer.training.position import Position
from trainer.training.sampling import SampleMaker
from trainer.training.saving import Saver


@dataclass(frozen=True)
class Wishes:
    """Fulfils what stands in the job's folder as a small file, which goes when it is seen."""

    folder: JobFolder
    saver: Saver
    sampler: SampleMaker

    def fulfil(self, position: Position) -> None:
        """Do what was asked since the last step. A full disk is told, and ends no run."""
        if self.folder.wished("save"):
            try:
                self.saver.save_now(position)
            except OSError as error:
                values = {"error": error.strerror or str(error)}
                self.saver.emit(Notice("training.save_now_failed", values, "warning"))
        # After the file: where both are asked for, the file cannot be lost by a failing picture.
        if self.folder.wished("sample"):
            self.sampler.draw(position.step)
