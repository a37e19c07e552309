"""What a run is made of, read from disk once, for the checks, the plan and the run itself."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.data.dataset_file import scans
from trainer.data.folders import FolderScan
from trainer.data.held_out import HeldOut, split_of
from trainer.families.facts import ModelFacts
from trainer.families.known import known_facts
from trainer.plan.run import Plan, build_plan
from trainer.settings import Settings


@dataclass(frozen=True)
class Inputs:
    """Settings as they count, and what they name."""

    settings: Settings
    pictures: FolderScan
    reg: FolderScan
    """Regularisation pictures, not yet repeated to match."""
    model: ModelFacts | None
    """None where nothing can be told of it before it is loaded."""

    @property
    def split(self) -> HeldOut:
        """What is learned, and what is kept back."""
        return split_of(self.settings, self.pictures.images)

    def plan(self, *, name: str = "", first_step: int = 0) -> Plan:
        """Steps, files and samples of the run. Raises ValueError for a Max resolution that is no size.

        `name` is the LoRA's where a job that has one is continued; `first_step` is where a run begins that
        resumes from a training state.
        """
        images, reg = self.pictures.images, self.reg.images
        return build_plan(self.settings, images, reg, self.model, name=name, first_step=first_step)


def read_inputs(settings: Settings) -> Inputs:
    """Look at pictures and model (headers only); what was seen before and has not changed is remembered."""
    return Inputs(settings, *scans(settings.folders, settings.captions), known_facts(settings.model))
