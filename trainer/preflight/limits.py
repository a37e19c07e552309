"""What one run may ask for: steps, files, sample pictures, and memory that this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.families.facts import FULL_SIZE, ModelFacts
from trainer.families.table import named_by
from trainer.plan import machine
from trainer.plan.memory import sample_bytes
from trainer.plan.run import MOST_DRAWN, Plan
from trainer.plan.sample_prompts import prompts
from trainer.plan.saves import MOST_LORA_FILES, save_points
from trainer.preflight.saving import gigabytes
from trainer.problems import Problem, block, hint
from trainer.settings import MOST_STEPS, TRAINING, Settings

FEWER = 100
"""Files, or times for sample pictures, that a fix leaves."""
SURELY = 1.5
"""How many times the machine's memory an estimate must be before it stops the run: it is a rough one."""
USUAL_RANK = 32


def check(settings: Settings, plan: Plan, model: ModelFacts | None) -> Iterator[Problem]:
    """Problems that follow from the plan."""
    yield from _check_length(plan)
    yield from _check_files(settings, plan)
    yield from _check_times(settings, plan)
    yield from _check_memory(settings, plan)
    yield from _check_samples(settings, plan, model)


def _check_length(plan: Plan) -> Iterator[Problem]:
    if plan.total_steps <= MOST_STEPS:
        return
    key, fits = plan.decided_by, MOST_STEPS // plan.steps_per_epoch
    values = {"label": TRAINING[key].spec.label, "steps": f"{plan.total_steps:,}", "most": f"{MOST_STEPS:,}"}
    if fits:
        yield block(key, "preflight.steps_many", {key: fits}, **values, fixed=f"{fits:,}")
    else:
        values["per_epoch"] = f"{plan.steps_per_epoch:,}"
        yield block("train_data_dir", "preflight.epoch_long", None, **values)


def _check_files(settings: Settings, plan: Plan) -> Iterator[Problem]:
    """More files than anyone looks through; of those that are removed again each has its turn, too."""
    if plan.files <= MOST_LORA_FILES:
        return
    epochs, steps = save_points(settings.saving, plan.steps_per_epoch, plan.total_steps)
    counts = {"save_every_n_epochs": len(epochs), "save_every_n_steps": len(steps)}
    fix = {key: _every(settings.get(key), count) for key, count in counts.items() if count > FEWER}
    key = max(counts, key=lambda name: counts[name])
    yield block(
        key, "preflight.files_many", fix, files=f"{plan.files:,}", **_about(key, fix, MOST_LORA_FILES)
    )


def _check_times(settings: Settings, plan: Plan) -> Iterator[Problem]:
    if plan.sample_times <= MOST_DRAWN:
        return
    key = "sample_every_n_epochs" if settings.sampling.sample_every_n_epochs else "sample_every_n_steps"
    fix = {key: _every(settings.get(key), plan.sample_times)}
    yield block(
        key, "preflight.times_many", fix, times=f"{plan.sample_times:,}", **_about(key, fix, MOST_DRAWN)
    )


def _every(now: int, count: int) -> int:
    """An interval that leaves about `FEWER` of `count`."""
    return now * -(-count // FEWER)


def _about(key: str, fix: dict[str, int], most: int) -> dict[str, Any]:
    return {"label": TRAINING[key].spec.label, "fixed": f"{fix[key]:,}", "most": f"{most:,}"}


def _check_memory(settings: Settings, plan: Plan) -> Iterator[Problem]:
    """The estimate against what there is."""
    needed = plan.memory_bytes
    if not (shortage := _too_much(needed)):
        return
    available, surely = shortage
    part = max(plan.memory, key=lambda name: plan.memory[name])
    key, fix = _lever(settings, part)
    values = {"label": TRAINING[key].spec.label, "needed": gigabytes(needed), "there": gigabytes(available)}
    yield (block if surely else hint)(key, "preflight.memory_little", fix, **values)


def _too_much(needed: int) -> tuple[int, bool] | None:
    """(Bytes there are, whether it surely does not fit) where `needed` bytes are more than that; else None.

    The graphics card is asked only where the machine's own memory is too small.
    """
    if needed <= machine.memory():
        return None
    available = machine.memory() + machine.graphics_memory()
    return (available, needed > SURELY * available) if needed > available else None


def _lever(settings: Settings, part: str) -> tuple[str, dict[str, Any] | None]:
    """The setting that this part of the memory follows from most, and what to set it to."""
    network = settings.network
    if part == "lora":
        ranks = {key: settings.get(key) for key in ("network_dim", "conv_dim")}
        key = max(ranks, key=lambda name: ranks[name])
        fix = {name: USUAL_RANK for name, rank in ranks.items() if rank > USUAL_RANK}
        return (
            ("network_weights", None) if network.dim_from_weights and network.network_weights else (key, fix)
        )
    if part in ("pictures", "vae"):
        batch = settings.length.train_batch_size
        return ("train_batch_size", {"train_batch_size": 1}) if batch > 1 else ("max_resolution", None)
    return "pretrained_model_name_or_path", None


def _check_samples(settings: Settings, plan: Plan, model: ModelFacts | None) -> Iterator[Problem]:
    """The largest sample picture."""
    if not plan.sample_times:
        return
    family = named_by(settings.model)
    sample_prompts = prompts(settings.sampling.sample_prompts, family)
    largest = max(sample_prompts, key=lambda line: line.width * line.height)
    facts = model if model and model.denoiser else FULL_SIZE[family.key]
    needed = sample_bytes(plan.memory, largest.width * largest.height, facts)
    if shortage := _too_much(needed):
        available, surely = shortage
        size = f"{largest.width:,} × {largest.height:,}"
        values = {"size": size, "needed": gigabytes(needed), "there": gigabytes(available)}
        yield (block if surely else hint)("sample_prompts", "preflight.sample_memory", None, **values)
