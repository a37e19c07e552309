"""Third stage of a run: what learns. The LoRA in the model, its optimizer, and the optimizer's schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer import settings as schema
from trainer.events import Notice
from trainer.models.allocator import choose_for_steps
from trainer.models.base import BaseModel
from trainer.models.checkpointing import enable_gradient_checkpointing
from trainer.network.network import LoraNetwork, build_network
from trainer.plan.lr_schedule import build_lr_scheduler
from trainer.plan.memory import wants_small_steps
from trainer.plan.rates import denoiser_rate, text_rates, trains_denoiser
from trainer.settings import Settings
from trainer.training.compiling import compile_denoiser, tell_compile_time
from trainer.training.encode import Encoded
from trainer.training.optimizer import build_optimizer, name_with_arguments
from trainer.training.prepare import Emit, Run, notify
from trainer.training.rng import seed_everything


@dataclass(frozen=True)
class Learner:
    """What learns."""

    network: LoraNetwork
    optimizer: torch.optim.Optimizer
    """As accelerate has wrapped it."""
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    optimizer_name: str
    """Its class and arguments."""


def build_learner(run: Run, encoded: Encoded) -> Learner:
    """The LoRA's layers in the model, and what moves them. Raises UserError.

    Text encoders that are not trained are not read for it.
    """
    settings, model, emit = run.settings, encoded.model, run.emit
    machine = settings.machine
    choose_for_steps(small=wants_small_steps(machine))
    seed_everything(run.seed)  # the LoRA's first weights follow from it alone, whatever was encoded before
    network = build_lora(settings, model, emit)
    # A rate alone does not say it: a LoRA type or a preset may leave the text encoder out.
    encoded.captions.learning = bool(network.parameters("text_encoder"))
    if machine.gradient_checkpointing:
        enable_gradient_checkpointing(
            model,
            text_encoders=encoded.captions.learning,
            keep_attention=machine.checkpointing_keeps_attention,
        )
    optimizer = build_rates(settings.optimizer, network, run.device, emit)
    _compile(machine, model, optimizer, emit)  # after the LoRA: what is compiled must contain it
    name = name_with_arguments(optimizer, settings.optimizer)
    prepared = run.accelerator.prepare(optimizer)
    # The schedule drives the optimizer itself: accelerate's wrapper would step it once per process.
    lr_scheduler = build_lr_scheduler(settings.optimizer, optimizer, run.plan.total_steps)
    return Learner(network, prepared, lr_scheduler, name)


def build_lora(settings: Settings, model: BaseModel, emit: Emit) -> LoraNetwork:
    """The LoRA's layers in the parts that have a rate. Draws from torch's global generator."""
    half = {"full_fp16": torch.float16, "full_bf16": torch.bfloat16}
    # float32 unless "Full … training" asks for less: small steps vanish in half precision.
    full = [dtype for key, dtype in half.items() if settings.get(key)]
    network = build_network(
        model,
        settings.network,
        train_denoiser=trains_denoiser(settings.optimizer),
        train_text_encoder=[rate > 0 for rate in text_rates(settings.optimizer)],
        dtype=full[0] if full else torch.float32,
    )
    for notice in network.notices:
        notify(emit, notice)
    return network


def build_rates(
    rates: schema.Optimizer, network: LoraNetwork, device: torch.device, emit: Emit
) -> torch.optim.Optimizer:
    """The optimizer, each part of the LoRA with its rate."""
    groups = network.groups(
        denoiser_lr=denoiser_rate(rates),
        text_encoder_lr=text_rates(rates),
        denoiser_plus=rates.loraplus_unet_lr_ratio or rates.loraplus_lr_ratio,
        text_encoder_plus=rates.loraplus_text_encoder_lr_ratio or rates.loraplus_lr_ratio,
    )
    optimizer, notice = build_optimizer(rates, groups, device)
    if notice:
        notify(emit, notice)
    return optimizer


def _compile(machine: schema.Machine, model: BaseModel, optimizer: torch.optim.Optimizer, emit: Emit) -> None:
    """Compile the denoiser where the settings say so, and tell how long it took; or that it cannot be."""
    if machine.dynamo_backend == "no":
        return
    if not_compiled := compile_denoiser(model.denoiser, machine):
        notify(emit, not_compiled)
    else:
        tell_compile_time(optimizer, lambda message: emit(Notice(message.code, message.values)))
