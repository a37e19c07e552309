"""First stage of a run: where it computes, its seed, its plan and its pictures. Nothing heavy is read yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from trainer import settings as schema
from trainer.data.datasets import datasets_of, with_matched
from trainer.distributed.collectives import Exchange
from trainer.distributed.processes import Rank
from trainer.events import Event, Notice, Phase
from trainer.families.table import named_by
from trainer.files.job_folder import Begun, JobFolder, default_workspace
from trainer.files.state_folder import StateAbout, read_about
from trainer.files.whole_file import sweep
from trainer.judge.material import Material, material_of
from trainer.messages import Message
from trainer.plan.inputs import Inputs
from trainer.plan.run import Plan
from trainer.plan.sample_prompts import prompts
from trainer.plan.state_facts import changes
from trainer.settings import Settings
from trainer.training.batches import TrainingData
from trainer.training.position import Position, position_at
from trainer.training.precision import Precision, pick_device, pick_precision

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Computing:
    """Where, and with how many digits, models are asked."""

    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager[object]:
        """Inside, a model computes in the run's number format."""
        if not self.precision.autocast:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision.dtype)


@dataclass(frozen=True)
class Run:
    """A run before its model is read: all that the later stages begin with."""

    settings: Settings
    plan: Plan
    data: TrainingData
    seed: int
    start: Position
    """Where its training state stands, or the beginning."""
    computing: Computing
    accelerator: Accelerator
    exchange: Exchange
    job: JobFolder
    emit: Emit
    material: Material = field(default_factory=Material)
    """What it is judged by."""
    resume_from: Path | None = None
    again: bool = False
    """The job was begun before: files of its name are its own."""

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.computing.device


def prepare(
    inputs: Inputs, job: JobFolder, emit: Emit, resume_from: Path | None = None, *, again: bool = False
) -> Run:
    """A run of what was read; with `resume_from` it begins in that training state.

    `again`: the job was begun before; without a state it starts anew under its name and with its seed.
    Raises UserError for a damaged state.
    """
    settings, begun = inputs.settings, job.begun() if again else None
    state = read_about(resume_from) if resume_from else None
    exchange = Exchange.joined(Rank.own(), pick_device())
    # One for all processes: a blank Seed is drawn by one of them.
    seed = exchange.agree(lambda: _pick_seed(settings.length, begun, state))
    computing = pick_computing(settings.machine, emit)
    accelerator = Accelerator(
        cpu=computing.device.type == "cpu", mixed_precision=autocast_name(computing.precision)
    )
    computing = Computing(accelerator.device, computing.precision)  # this process's own card
    if exchange.is_main:
        _sweep(settings.folders, job)
    # Pictures were looked at by the checks; what is new here is their order under this seed.
    emit(Phase("read_images"))
    # Of the job, not of the process: names of files count from where the job began.
    first = begun.first_step if begun else state.step if state else 0
    plan = inputs.plan(name=begun.name if begun else "", first_step=first)
    data = build_data(inputs, seed, plan.total_steps)
    if begun and state and (changed := changes(state, settings, data.images, data.datasets)):
        emit(Notice("training.continued_changed", {"changes": changed}, "warning"))
    # By the epochs as they are now: pictures may have come or gone since the state.
    start = position_at(state.step if state else 0, plan.batches_per_epoch, plan.accumulation)
    own = [prompt.prompt for prompt in prompts(settings.sampling.sample_prompts, named_by(settings.model))]
    return Run(
        settings=settings,
        plan=plan,
        data=data,
        seed=seed,
        start=start,
        computing=computing,
        accelerator=accelerator,
        exchange=exchange,
        job=job,
        emit=emit,
        material=material_of(plan.judging, data.images, inputs.split.held_out, own),
        resume_from=resume_from,
        again=again,
    )


def pick_computing(machine: schema.Machine, emit: Emit) -> Computing:
    """The device and number format of "Mixed precision", as far as this machine has them."""
    # Before anything is computed: torch makes its threads at their first use.
    torch.set_num_threads(machine.num_cpu_threads_per_process)
    # set either way: torch keeps it for the whole process
    torch.backends.cuda.matmul.fp32_precision = "tf32" if machine.allow_tf32 else "ieee"
    device = pick_device()
    precision = pick_precision(machine.mixed_precision, device)
    if precision.notice:
        notify(emit, precision.notice)
    return Computing(device, precision)


def autocast_name(precision: Precision) -> str:
    """accelerate's name of the number format of the forward pass."""
    names = {torch.float16: "fp16", torch.bfloat16: "bf16"}
    return names[precision.dtype] if precision.autocast else "no"


def build_data(inputs: Inputs, seed: int, total_steps: int = 0) -> TrainingData:
    """The pictures as batches, those kept back left out; regularisation pictures are repeated to match.

    `total_steps` counts where captions grow over the run ("token_warmup_step" of a dataset file).
    """
    settings = inputs.settings
    return TrainingData(
        images=with_matched(inputs.split.learned, inputs.reg.images),
        datasets=datasets_of(settings),
        seed=seed,
        with_pixels=not caches_latents(settings.images),
        accumulate=settings.length.gradient_accumulation_steps * settings.machine.num_processes,
        total_steps=total_steps,
        workers=settings.images.max_data_loader_n_workers,
        persistent=settings.images.persistent_data_loader_workers,
        latent_factor=named_by(settings.model).latents.factor,
    )


def caches_latents(images: schema.Images) -> bool:
    """Whether pictures are encoded once, before training ("Cache latents", also "… to disk")."""
    return images.cache_latents or images.cache_latents_to_disk


def notify(emit: Emit, message: Message) -> None:
    """Tell of something done another way than the settings say."""
    emit(Notice(message.code, message.values, "warning"))


def _pick_seed(length: schema.Length, begun: Begun | None, state: StateAbout | None) -> int:
    """The seed with which the job was begun, "Seed", or (blank) that of the state, or any."""
    if begun:
        return begun.seed
    if length.seed is not None:
        return length.seed
    return state.seed if state else secrets.randbelow(2**32)


def _sweep(folders: schema.Folders, job: JobFolder) -> None:
    """Remove what a process that was killed has left half-written."""
    output = Path(folders.output_dir), folders.output_name
    caches = ((default_workspace() / name, "") for name in ("latents", "texts"))
    for folder, start in ((job.path, ""), output, *caches):
        sweep(folder, start)
