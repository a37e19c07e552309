"""Checks of learning: rates, schedule, optimizer, network, noise, and settings that exclude each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from trainer.data.datasets import Dataset, Subset
from trainer.errors import UserError
from trainer.families.family import Blocks, Family
from trainer.families.known import known_facts
from trainer.families.table import named_by
from trainer.lora.blocks import RATE_FIELDS, block_rates, sizes_of
from trainer.lora.types import ALGORITHMS, algorithm_of
from trainer.plan.optimizer_args import ONE_RATE_ONLY, uses_relative_step
from trainer.plan.rates import denoiser_rate, text_rates, trains_denoiser, trains_text_encoder, written_rates
from trainer.plan.run import DatasetPlan, Plan
from trainer.preflight import arguments, lora_type, start_weights
from trainer.preflight.dataset_file import of_file
from trainer.problems import Problem, block, from_error, hint
from trainer.settings import (
    BLOCKWISE,
    TRAINING,
    WITH_CONV,
    Machine,
    Model,
    Network,
    Noise,
    Optimizer,
    Settings,
)

HIGHEST_USUAL_RATE = 0.02
SCATTERED = 1.5
"""How many times the fewest possible batches there are before it is worth a word."""
NO_WARMUP = ("constant", "piecewise_constant")
ONE_RATE = {"unet_lr": 1.0, "text_encoder_lr": 1.0}


def check(settings: Settings, datasets: Sequence[Dataset]) -> Iterator[Problem]:
    """Problems that do not need the plan."""
    family = named_by(settings.model)
    blocks = family.blocks
    yield from _check_rates(settings.optimizer)
    yield from _check_text_rates(settings.optimizer, family)
    yield from _check_parts_of_one_rate(settings.optimizer, settings.network, blocks)
    yield from _check_schedule(settings.optimizer)
    yield from arguments.check(settings.optimizer)
    yield from _check_optimizer(settings.optimizer)
    yield from _check_network(settings.network)
    yield from _check_blocks(settings.network, blocks)
    yield from start_weights.check(settings.network, settings.model)
    yield from lora_type.check(settings.network, settings.optimizer, blocks)
    yield from _check_dropouts(settings.network)
    yield from _check_noise(settings.noise, settings.loss.v_pred_like_loss, settings.model)
    yield from _check_precision(settings.machine)
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    yield from _check_dropped(subsets)
    yield from _check_cached_texts(settings)


def _check_rates(optimizer: Optimizer) -> Iterator[Problem]:
    if not trains_denoiser(optimizer) and not trains_text_encoder(optimizer):
        fix = {"learning_rate": 1e-4, "unet_lr": 1e-4}
        yield block("unet_lr", "preflight.rates_zero", fix)
        return
    own = optimizer.unet_lr, optimizer.text_encoder_lr
    used = {
        key: rates
        for key, rates in written_rates(optimizer).items()
        if rates and (key != "learning_rate" or None in own)
    }
    if optimizer.optimizer in ONE_RATE_ONLY:
        if len({denoiser_rate(optimizer), *text_rates(optimizer)} - {0}) > 1:
            yield block("unet_lr", "core.one_rate_only", ONE_RATE, optimizer=optimizer.optimizer)
        elif low := {key: 1.0 for key, rates in used.items() if min(rates) < 0.1}:
            yield hint(next(iter(low)), "preflight.rate_low", low, name=optimizer.optimizer)
    elif not uses_relative_step_safely(optimizer):
        for key, rates in used.items():
            if max(rates) > HIGHEST_USUAL_RATE and not optimizer.optimizer.startswith("SGD"):
                default = TRAINING[key].default
                values = {"label": TRAINING[key].spec.label, "rate": f"{max(rates):g}"}
                yield hint(key, "preflight.rate_high", {key: default}, usual=f"{default:g}", **values)


def _check_text_rates(optimizer: Optimizer, family: Family) -> Iterator[Problem]:
    """Two rates where there is one text encoder."""
    own = optimizer.text_encoder_lr
    if isinstance(own, tuple) and len(family.text_encoders) < len(own):
        values = {"family": family.title, "first": f"{own[0]:g}"}
        yield hint("text_encoder_lr", "preflight.two_text_rates", {"text_encoder_lr": own[0]}, **values)


def _check_parts_of_one_rate(optimizer: Optimizer, network: Network, blocks: Blocks) -> Iterator[Problem]:
    """Where one rate is all there may be, LoRA+ and "LR weights" must not make several."""
    if optimizer.optimizer not in ONE_RATE_ONLY:
        return
    trained = {
        "": True,
        "unet_lr": trains_denoiser(optimizer),
        "text_encoder_lr": trains_text_encoder(optimizer),
    }
    for key, part in lora_type.RAISED_BY_RATIO.items():
        if getattr(optimizer, key) not in {0, 1} and trained[part]:
            values = {"label": TRAINING[key].spec.label, "optimizer": optimizer.optimizer}
            yield block(key, "preflight.one_rate_parts", {key: 0}, **values)
    if network.LoRA_type not in BLOCKWISE:
        return
    try:
        rates = block_rates(network, blocks)
    except UserError:
        return  # told by _check_blocks
    if rates and len({rates[place] for place in blocks.learning if rates[place]}) > 1:
        values = {"label": TRAINING[RATE_FIELDS[0]].spec.label, "optimizer": optimizer.optimizer}
        yield block(RATE_FIELDS[0], "preflight.one_rate_parts", dict.fromkeys(RATE_FIELDS, ""), **values)


def uses_relative_step_safely(optimizer: Optimizer) -> bool:
    """`uses_relative_step`, with arguments that cannot be read counting as none."""
    try:
        return uses_relative_step(optimizer)
    except UserError:
        return False


def _check_schedule(optimizer: Optimizer) -> Iterator[Problem]:
    warmup = {"lr_warmup": 0, "lr_warmup_steps": 0}
    has_warmup = optimizer.lr_warmup or optimizer.lr_warmup_steps
    name = optimizer.lr_scheduler
    if name == "adafactor" and optimizer.optimizer != "Adafactor":
        yield block(
            "lr_scheduler",
            "preflight.schedule_adafactor",
            {"lr_scheduler": "constant"},
            name=optimizer.optimizer,
        )
    elif uses_relative_step_safely(optimizer):
        yield hint("optimizer", "preflight.relative_step")
    elif name == "adafactor":
        yield block("lr_scheduler", "core.adafactor_schedule_only", {"lr_scheduler": "constant"})
    elif has_warmup and (name in NO_WARMUP or optimizer.lr_scheduler_type):
        yield hint("lr_warmup", "preflight.warmup_unused", warmup, name=optimizer.lr_scheduler_type or name)
    elif has_warmup and optimizer.optimizer == "DAdaptSGD":
        yield block("lr_warmup", "preflight.warmup_from_zero", warmup, name=optimizer.optimizer)


def _check_optimizer(optimizer: Optimizer) -> Iterator[Problem]:
    if "8bit" in optimizer.optimizer and find_spec("bitsandbytes") is None:
        plain = optimizer.optimizer.replace("Paged", "").replace("8bit", "")
        yield hint(
            "optimizer", "preflight.no_8bit", {"optimizer": plain}, name=optimizer.optimizer, plain=plain
        )


def _check_network(network: Network) -> Iterator[Problem]:
    dim, alpha = network.network_dim, network.network_alpha
    from_file = network.dim_from_weights and network.network_weights
    if from_file or not ALGORITHMS[algorithm_of(network)].has_alpha:
        return
    if alpha > dim:
        yield hint("network_alpha", "preflight.alpha", {"network_alpha": dim}, alpha=f"{alpha:g}", dim=dim)
    if network.LoRA_type in WITH_CONV and network.conv_dim and network.conv_alpha > network.conv_dim:
        values = {"alpha": f"{network.conv_alpha:g}", "dim": network.conv_dim}
        yield hint("conv_alpha", "preflight.conv_alpha", {"conv_alpha": network.conv_dim}, **values)
    if network.LoRA_type == "Kohya DyLoRA":
        if network.conv_dim not in {0, dim}:
            yield block(
                "conv_dim", "preflight.dylora_conv", {"conv_dim": dim}, dim=dim, value=network.conv_dim
            )
        if dim % network.unit:
            yield block("unit", "preflight.dylora_unit", {"unit": 1}, dim=dim, unit=network.unit)


def _check_blocks(network: Network, blocks: Blocks) -> Iterator[Problem]:
    """The numbers of the tabs Weights, Blocks and Conv: one for each block."""
    if network.LoRA_type not in BLOCKWISE:
        return
    try:
        rates = block_rates(network, blocks)
        sizes_of(network, blocks, conv=False)
        sizes_of(network, blocks, conv=True)
    except UserError as error:
        yield from_error(error, {error.setting: ""} if error.setting else None)
        return
    if rates and not any(rates[place] for place in blocks.learning):
        fix = dict.fromkeys(RATE_FIELDS, "")
        yield hint("down_lr_weight", "preflight.blocks_all_zero", fix)


def _check_dropouts(network: Network) -> Iterator[Problem]:
    """A share of 1 leaves out everything."""
    for key in ("network_dropout", "rank_dropout", "module_dropout"):
        if getattr(network, key) >= 1:
            yield block(key, "preflight.dropout_all", {key: 0}, label=TRAINING[key].spec.label)


def _check_noise(noise: Noise, v_pred_like_loss: float, model: Model) -> Iterator[Problem]:
    if noise.min_timestep >= noise.max_timestep:
        fix = {key: TRAINING[key].default for key in ("min_timestep", "max_timestep")}
        yield block(
            "min_timestep", "preflight.timesteps", fix, low=noise.min_timestep, high=noise.max_timestep
        )
    if noise.noise_offset_type != "Multires" and noise.adaptive_noise_scale and not noise.noise_offset:
        yield hint("adaptive_noise_scale", "preflight.adaptive_alone", {"adaptive_noise_scale": 0})
    facts = known_facts(model)
    if noise.zero_terminal_snr and not model.v_parameterization and not (facts and facts.zero_terminal_snr):
        yield hint("zero_terminal_snr", "preflight.zero_snr_epsilon", {"zero_terminal_snr": False})
    if v_pred_like_loss and model.v_parameterization:
        yield block("v_pred_like_loss", "preflight.v_like_with_v", {"v_pred_like_loss": 0})


def _check_precision(machine: Machine) -> Iterator[Problem]:
    for key, precision in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if getattr(machine, key) and machine.mixed_precision != precision:
            values = {
                "label": TRAINING[key].spec.label,
                "wanted": precision,
                "value": machine.mixed_precision,
            }
            yield hint(key, "preflight.full_precision", {key: False}, **values)
    if machine.fp8_base and machine.mixed_precision == "no":
        yield hint("fp8_base", "preflight.fp8_precision", {"fp8_base": False})


def _check_dropped(subsets: Sequence[Subset]) -> Iterator[Problem]:
    """Captions that are left out every time."""
    for subset in subsets:
        for key, always in (("caption_dropout_rate", 1), ("caption_dropout_every_n_epochs", 1)):
            if subset.settings[key] == always:
                problem = hint(
                    key, "preflight.captions_all_dropped", {key: 0}, label=TRAINING[key].spec.label
                )
                yield of_file(problem, subset)
                break


def _check_cached_texts(settings: Settings) -> Iterator[Problem]:
    key = "sdxl_cache_text_encoder_outputs"
    if not (settings.model.sdxl and settings.captions.sdxl_cache_text_encoder_outputs):
        return
    if trains_text_encoder(settings.optimizer):
        yield block(key, "preflight.cached_text_trained", {key: False})


def check_plan(settings: Settings, datasets: Sequence[Dataset], plan: Plan) -> Iterator[Problem]:
    """Problems that follow from the plan: batches that never fill, a warm-up longer than the run."""
    for dataset, planned in zip(datasets, plan.datasets, strict=True):
        yield from (of_file(problem, dataset) for problem in _check_batches(planned))
    length = settings.length
    if length.gradient_accumulation_steps > plan.batches_per_epoch:
        values = {"steps": length.gradient_accumulation_steps, "batches": plan.batches_per_epoch}
        fix = {"gradient_accumulation_steps": plan.batches_per_epoch}
        yield hint("gradient_accumulation_steps", "preflight.accumulation_long", fix, **values)
    if plan.warmup_steps >= plan.total_steps > 0:
        key = "lr_warmup_steps" if settings.optimizer.lr_warmup_steps else "lr_warmup"
        fix = {key: 0 if key == "lr_warmup_steps" else 10}
        values = {"warmup": f"{plan.warmup_steps:,}", "total": f"{plan.total_steps:,}"}
        yield hint(key, "preflight.warmup_long", fix, **values)


def _check_batches(plan: DatasetPlan) -> Iterator[Problem]:
    """Batches that are never full, or seldom."""
    fullest = max((bucket.repeats_total for bucket in plan.buckets), default=0)
    if not fullest:
        return
    if plan.batch_size > fullest:
        fix = {"train_batch_size": fullest}
        values = {"batch": plan.batch_size, "fullest": fullest}
        yield hint("train_batch_size", "preflight.batch_never_full", fix, **values)
    elif plan.batch_size > 1 and plan.batches > SCATTERED * plan.fewest_batches:
        values = {"batches": plan.batches, "fewest": plan.fewest_batches, "buckets": len(plan.buckets)}
        yield hint("train_batch_size", "preflight.batches_scattered", None, **values)
