"""Builds everything a run needs, in four stages: prepare, encode, learn, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from trainer.distributed.collectives import Exchange
from trainer.files.job_folder import JobFolder
from trainer.models.base import BaseModel
from trainer.network.network import LoraNetwork
from trainer.plan.inputs import Inputs
from trainer.plan.run import Plan
from trainer.settings import Settings
from trainer.training.batches import Batch, TrainingData
from trainer.training.encode import encode
from trainer.training.grad_scaling import SkippedSteps
from trainer.training.judging import Judge
from trainer.training.keeper import StateKeeper
from trainer.training.latent_cache import CachedLatents
from trainer.training.learner import build_learner
from trainer.training.position import Position, position_at
from trainer.training.prepare import Emit, prepare
from trainer.training.results import build_results
from trainer.training.sampling import SampleMaker
from trainer.training.saving import Saver
from trainer.training.text_cache import CaptionEncoder


@dataclass(frozen=True)
class Parts:
    """All that the training loop works with."""

    settings: Settings
    plan: Plan
    seed: int
    accelerator: Accelerator
    model: BaseModel
    network: LoraNetwork
    data: TrainingData
    cached: CachedLatents | None
    captions: CaptionEncoder
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    saver: Saver
    keeper: StateKeeper
    sampler: SampleMaker
    skipped: SkippedSteps
    start: Position
    judge: Judge
    exchange: Exchange = field(default_factory=Exchange)

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    @property
    def accumulation_steps(self) -> int:
        """ "Gradient accumulation steps" of all processes: batches per change of the weights."""
        return self.settings.length.gradient_accumulation_steps * self.exchange.rank.count

    def encode_pictures(self, batch: Batch) -> Tensor:
        """Latents (B, C, h, w) of a batch, cached or made now."""
        if self.cached is not None:
            return self.cached.batch(batch.images, batch.flipped).to(self.device)
        assert batch.pixels is not None  # noqa: S101  # for the type checker: pixels are there when nothing is cached
        return self.model.encode_latents(batch.pixels)


def build_parts(
    inputs: Inputs, job: JobFolder, emit: Emit, resume_from: Path | None = None, *, again: bool = False
) -> Parts:
    """Everything for a run of what was read; with `resume_from` put back into a training state.

    `again`: the job was begun before; without a state it starts anew under its name and with its seed.
    Raises UserError, and StopRequested when Stop is pressed.
    """
    run = prepare(inputs, job, emit, resume_from, again=again)
    encoded = encode(run)
    learner = build_learner(run, encoded)
    results = build_results(run, encoded, learner)
    # Last, when all that a state changes is there; it also puts the random numbers where they stood.
    done = results.keeper.restore(resume_from).step if resume_from else 0
    # After a state, before the first step: from here on gradients keep the processes equal.
    run.exchange.same_start(learner.network.parameters())
    return Parts(
        settings=run.settings,
        plan=run.plan,
        seed=run.seed,
        accelerator=run.accelerator,
        model=encoded.model,
        network=learner.network,
        data=run.data,
        cached=encoded.latents,
        captions=encoded.captions,
        optimizer=learner.optimizer,
        lr_scheduler=learner.lr_scheduler,
        saver=results.saver,
        keeper=results.keeper,
        sampler=results.sampler,
        judge=results.judge,
        skipped=SkippedSteps(emit),
        start=position_at(done, run.plan.batches_per_epoch, run.plan.accumulation),
        exchange=run.exchange,
    )
