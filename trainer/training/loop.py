"""The training loop, top to bottom.

A *step* is one change of the weights; it is made of as many *micro-steps* (batches) as "Gradient
accumulation steps" says. The plan knows at which steps files are saved and sample pictures are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.errors import StopRequested, UserError
from trainer.events import Event, Phase, Step
from trainer.models.base import Conditioning
from trainer.training import noise as noises
from trainer.training.batches import Batch
from trainer.training.build import Parts
from trainer.training.loss import PLAIN_LOSSES, distance
from trainer.training.memory import bytes_in_use
from trainer.training.optimizer import adapted_rate, set_training
from trainer.training.position import Position, StepGroup, groups_from
from trainer.training.rng import batch_seed, seed_everything


@dataclass(frozen=True)
class Ended:
    """How a run ended: where, with which LoRA file, and whether the person stopped it."""

    position: Position
    path: Path
    stopped: bool


def train(
    parts: Parts,
    emit: Callable[[Event], None],
    stop_requested: Callable[[], bool],
    fulfil_wishes: Callable[[Position], None] = lambda _: None,
) -> Ended:
    """Train one LoRA from parts.start to the end of the plan, saving and sampling on the way.

    `fulfil_wishes` saves or samples at once where the person asks for it (trainer.training.wishes).
    Raises UserError or OSError where the run cannot go on (a loss that is not a number, a full disk), after
    keeping what was learned up to then; StopRequested where Stop was pressed before the first step.
    """
    try:
        return _train(parts, emit, stop_requested, fulfil_wishes)
    # Also for what nobody foresaw (a lost card): the last whole step is worth a state.
    except Exception:
        if parts.exchange.is_main:
            parts.keeper.save_good()
        raise


def _train(
    parts: Parts,
    emit: Callable[[Event], None],
    stop_requested: Callable[[], bool],
    fulfil_wishes: Callable[[Position], None],
) -> Ended:
    plan, position = parts.plan, parts.start
    exchange = parts.exchange
    parts.keeper.mark(position)
    # Before the first step: what the base model draws, to compare with.
    if position.step == 0 and exchange.is_main:
        parts.sampler.draw_due(0)
    if exchange.any(stop_requested()):
        # Nothing was learned yet, so there is nothing to save.
        raise StopRequested
    emit(Phase("train", position.step, plan.total_steps))
    # Here and not when it is built: schedule-free optimizers begin in the other state.
    set_training(parts.optimizer, True)
    # A run that continues may stand behind a step whose files a full disk has prevented.
    if position.step < plan.total_steps and exchange.is_main:
        parts.saver.save_due(position, missing=True)

    groups = groups_from(position, plan.batches_per_epoch, parts.accumulation_steps, plan.total_steps)
    for group, batches in parts.data.loaded(groups, exchange.share):
        # Before the batch: its texts are read with or without gradients.
        freeze_text_encoder_in_time(parts, group.after.step)
        loss = exchange.total(learn_from(parts, group, batches)) / len(group.batches)
        # Before the weights change: what is kept up to here is still good.
        if not math.isfinite(loss):
            parts.keeper.unmark()  # the weights that gave this are no longer worth keeping
            # float16 ends at 65,504; the other formats hold whatever float32 holds.
            half = parts.accelerator.mixed_precision == "fp16"
            code = "training.loss_not_finite_fp16" if half else "training.loss_not_finite"
            raise UserError(code, "learning_rate")
        # Before the schedule goes on: the rates with which this step is made.
        rates = {group["name"]: adapted_rate(group) for group in parts.optimizer.param_groups}
        parts.keeper.unmark()
        # From here to the mark the weights are neither the old nor the new ones.
        grad_norm = change_weights(parts)
        position = group.after
        parts.keeper.mark(position)
        emit(Step(position.step, group.epoch, loss, rates, grad_norm, bytes_in_use(parts.device)))

        # The last step is handled below: its files have other names.
        if position.step == plan.total_steps:
            break
        if exchange.is_main:
            parts.saver.save_due(position)
            parts.keeper.save_in_time(position)
            fulfil_wishes(position)
            parts.judge.judge_due(position.step)
        if exchange.any(stop_requested()):
            # All processes together, or the others would wait for this one for ever.
            path = parts.saver.save_stopped(position) if exchange.is_main else Path()
            return Ended(position, path, stopped=True)
        if exchange.is_main:
            parts.sampler.draw_due(position.step)
        # After samples: the picture of the last step belongs to the run's timeline.
        if parts.judge.may_stop and exchange.any(parts.judge.satisfied()):
            break

    if not exchange.is_main:
        return Ended(position, Path(), stopped=False)
    parts.skipped.tell()
    # The file before all else: what follows may fail, and then it is there.
    final = parts.saver.save_final(position)
    parts.keeper.save_last(position)
    parts.judge.judge_due(position.step)
    parts.sampler.draw_due(position.step)
    return Ended(position, final, stopped=False)


def learn_from(parts: Parts, group: StepGroup, batches: Sequence[Batch]) -> float:
    """Add the gradients of this process's batches of a step; returns the sum of their losses."""
    losses: list[Tensor] = []
    for number, batch in zip(group.batches[parts.exchange.share], batches, strict=True):
        # Anew for every batch: a run that continues or is shared draws what one process in one go draws.
        seed_everything(batch_seed(parts.seed, group.epoch, number))
        losses.append(micro_step(parts, batch))
    return sum(torch.stack(losses).cpu().tolist()) if losses else 0.0  # read once: a card need not wait


def micro_step(parts: Parts, batch: Batch) -> Tensor:
    """Add one batch's gradients to the LoRA; returns the batch's loss (), on its device.

    The order of the random draws is the reference's: VAE, text encoder, noise, timesteps, denoiser.
    """
    # DyLoRA draws once per batch, and gradient checkpointing computes the batch twice.
    parts.network.next_batch()
    latents = parts.encode_pictures(batch)  # (B, C, h, w)
    with parts.accelerator.autocast():
        # Under autocast, as in the reference: the text encoder learns in the run's format.
        conditioning = parts.captions(batch.captions)
    noise, timesteps = draw_noise_and_timesteps(parts, latents)
    loss = batch_loss(parts, batch, latents, conditioning, noise, timesteps)
    if not loss.requires_grad:  # "Module dropout" has left out every module: nothing is learned of this batch
        loss = loss + 0 * sum(weight.sum() for weight in parts.network.parameters())
    # Divided before: gradients add up to the mean of the step's batches.
    parts.accelerator.backward(loss / parts.accumulation_steps)
    return loss.detach()


def draw_noise_and_timesteps(parts: Parts, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Noise (B, C, h, w) and timesteps (B,) for latents, as "Noise" says."""
    noise = noises.draw_noise(latents, parts.settings.noise)
    # Timesteps are drawn on the CPU, where the reference draws them: the same on every device.
    return noise, parts.model.schedule.draw(latents).to(latents.device)


def batch_loss(
    parts: Parts,
    batch: Batch,
    latents: Tensor,
    conditioning: Conditioning,
    noise: Tensor,
    timesteps: Tensor,
) -> Tensor:
    """Mean loss of a batch, (): add the noise, ask the denoiser which it was, score the answer.

    `latents` and `noise` are (B, C, h, w), `timesteps` (B,), all on the training device.
    """
    schedule, loss = parts.model.schedule, parts.settings.loss
    # The input may be disturbed more than the answer is asked for: the target keeps the plain noise.
    noisy = schedule.add_noise(latents, noises.disturbed(noise, parts.settings.noise), timesteps)
    with parts.accelerator.autocast():
        answer = parts.model.predict(noisy, timesteps, conditioning, batch.framing)
    # Outside autocast: the target keeps its digits.
    target = schedule.target(latents, noise, timesteps)
    threshold = None if loss.loss_type in PLAIN_LOSSES else schedule.huber_threshold(timesteps)
    scores = distance(answer, target, loss.loss_type, threshold, batch.masks)  # (B,)
    # Both per picture and before the mean, so that a regularisation picture weighs as it should.
    return (scores * batch.loss_weights.to(scores) * schedule.weights(timesteps)).mean()


def change_weights(parts: Parts) -> float:
    """One optimizer step with the gradients gathered; returns their norm before clipping."""
    # First the sum over all processes, then one norm of it: clipping is the same in each.
    parts.exchange.add_gradients(parts.network.parameters())
    # 0 means no clipping; the norm is wanted all the same.
    limit = parts.settings.optimizer.max_grad_norm or math.inf
    norm = parts.accelerator.clip_grad_norm_(parts.network.parameters(), limit)
    grad_norm = float(norm) if norm is not None else 0.0
    # With a scaler (fp16) it is normal now and then: the step is skipped and the scale halved.
    if not math.isfinite(grad_norm) and parts.accelerator.scaler is None:
        raise UserError("training.gradient_not_finite", "learning_rate")
    parts.optimizer.step()
    skipped = parts.accelerator.optimizer_step_was_skipped
    parts.skipped.count(skipped=skipped)
    if not skipped:
        # A step that changed nothing does not count for the schedule, as in the reference.
        parts.lr_scheduler.step()
    # None, not 0: weights without a gradient keep their momentum still and take no memory.
    parts.optimizer.zero_grad(set_to_none=True)
    if limit_norms := parts.settings.network.scale_weight_norms:
        # After the step: the limit holds for what is saved and sampled.
        parts.network.scale_weight_norms(limit_norms)
    return grad_norm if math.isfinite(grad_norm) else 0.0


def freeze_text_encoder_in_time(parts: Parts, step: int) -> None:
    """ "Stop text encoder training": after that share of all steps its weights no longer change."""
    percent = parts.settings.optimizer.stop_text_encoder_training
    if percent and parts.captions.learning and step > math.ceil(parts.plan.total_steps * percent / 100):
        parts.network.freeze_text_encoder()
        # From now on each text is read once and kept.
        parts.captions.learning = False
