"""The plan of a run: how many steps, which files and sample pictures when, how much disk and memory.

Exact where it can be (steps, names, points in time), an estimate where it cannot (memory).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from trainer.data.buckets import BucketRule, Size, resolution
from trainer.data.folders import TrainImage, matched
from trainer.families.facts import FULL_SIZE, ModelFacts
from trainer.families.table import named_by
from trainer.messages import Message
from trainer.plan.lr_schedule import warmup_steps
from trainer.plan.memory import lora_weights, memory_parts, state_bytes
from trainer.plan.sample_prompts import prompts
from trainer.plan.saves import (
    LISTED,
    SavePlan,
    free_name,
    most_files,
    most_states,
    save_plans,
    save_points,
)
from trainer.settings import Images, Length, Sampling, Saving, Settings

DecidedBy = Literal["epoch", "max_train_epochs", "max_train_steps"]
BYTES = {"float": 4, "fp16": 2, "bf16": 2}
MOST_DRAWN = 10_000
"""Times at which one run may draw sample pictures."""
BYTES_PER_SAMPLE = 600_000
"""A 512 × 512 PNG, roughly."""


@dataclass(frozen=True)
class FolderPlan:
    """A folder of pictures: its part of the sum."""

    name: str
    pictures: int
    repeats: int
    is_reg: bool = False
    words: str = ""
    """What its pictures are called, where they have no caption."""


@dataclass(frozen=True)
class BucketPlan:
    """Pictures that are learned at one size."""

    width: int
    height: int
    images: int
    repeats_total: int
    """How many pictures come per epoch, repeats counted."""
    batches: int
    """Per epoch; the last may be smaller."""


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    images: int
    """Training pictures, each counted once."""
    reg_images: int
    captions_found: int
    folders: tuple[FolderPlan, ...]
    buckets: tuple[BucketPlan, ...]
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    total_steps: int
    decided_by: DecidedBy
    batch_size: int
    accumulation: int
    """Batches per step, of all processes together."""
    warmup_steps: int
    saves: tuple[SavePlan, ...]
    """Of more than `MOST_FILES` the first few."""
    files: int
    """How many LoRA files are written in all."""
    sample_steps: tuple[int, ...]
    """Of more than `MOST_DRAWN` the first few."""
    sample_times: int
    """How often sample pictures are drawn."""
    samples: int
    """Pictures drawn each time."""
    final_name: str
    wanted_name: str
    """The name the settings ask for; differs from `final_name` where that file exists already."""
    lora_bytes: int
    disk_bytes: int
    memory: Mapping[str, int] = field(default_factory=dict)
    """Estimated bytes in use while training, by part."""

    @property
    def memory_bytes(self) -> int:
        """Estimated peak while training."""
        return sum(self.memory.values())

    @property
    def fewest_batches(self) -> int:
        """Batches per epoch if all pictures had one size."""
        return -(-sum(bucket.repeats_total for bucket in self.buckets) // self.batch_size)

    @property
    def formula(self) -> str:
        """The sum behind the length: "(24 × 10 + 8 × 5) ÷ 2 × 10"; exact only with `is_plain_sum`."""
        learned = [f"{part.pictures:,} × {part.repeats}" for part in self.folders if not part.is_reg]
        text = " + ".join(learned)
        text = f"({text})" if len(learned) > 1 else text
        text += " × 2" if self.reg_images else ""
        text += f" ÷ {self.batch_size}" if self.batch_size > 1 else ""
        text += f" ÷ {self.accumulation}" if self.accumulation > 1 else ""
        return f"{text} × {self.epochs:,}"

    @property
    def is_plain_sum(self) -> bool:
        """Whether `formula` gives exactly `total_steps`: every batch is full and no epoch is cut short."""
        pictures = sum(bucket.repeats_total for bucket in self.buckets)
        return pictures * self.epochs == self.total_steps * self.batch_size * self.accumulation

    def said_length(self) -> Message:
        """The length as a sum: "24 × 10 ÷ 2 × 10 = 1,200 steps"."""
        code = "plan.length_sum" if self.is_plain_sum else "plan.length_partial"
        if self.decided_by == "max_train_steps":
            code = "plan.length_steps"
        values = {"formula": self.formula, "steps": f"{self.total_steps:,}", "epochs": f"{self.epochs:,}"}
        return Message(code, {**values, "per_epoch": f"{self.steps_per_epoch:,}"})

    def said_rule(self) -> Message:
        """Which setting decides the length."""
        values = {"epochs": f"{self.epochs:,}", "steps": f"{self.total_steps:,}"}
        return Message(f"plan.decided_{self.decided_by}", values)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "memory_bytes": self.memory_bytes, "formula": self.formula}


def build_plan(
    settings: Settings,
    images: Sequence[TrainImage],
    reg_images: Sequence[TrainImage] = (),
    model: ModelFacts | None = None,
    *,
    name: str = "",
) -> Plan:
    """The plan of a run with these pictures. Raises ValueError for a Max resolution that is no size.

    `reg_images` are repeated to match here; `model` makes sizes exact (else the family's usual ones);
    `name` is the LoRA's name where a run that has one is continued.
    """
    length, saving = settings.length, settings.saving
    pictures = [*images, *matched(reg_images, sum(image.repeats for image in images))]
    buckets = bucket_plans(pictures, bucket_rule(settings.images), length.train_batch_size)
    batches = sum(bucket.batches for bucket in buckets)
    accumulation = length.gradient_accumulation_steps * settings.machine.num_processes
    steps_per_epoch = -(-batches // accumulation)
    total, epochs, decided_by = run_length(length, steps_per_epoch)
    extension = f".{saving.save_model_as}"
    name = name or free_name(settings.folders.output_dir, settings.folders.output_name, extension)
    saves = save_plans(saving, name, extension, steps_per_epoch, total)
    facts = model if model and model.unet else FULL_SIZE[named_by(settings.model).key]
    weights = lora_weights(settings.network, settings.optimizer, facts)
    lora_bytes = weights * BYTES[saving.save_precision] + 150_000
    sample_steps, sample_times = sample_points(settings.sampling, steps_per_epoch, total)
    per_sample = len(prompts(settings.sampling.sample_prompts))
    return Plan(
        images=len(images),
        reg_images=sum(picture.is_reg for picture in pictures),
        captions_found=sum(image.caption_found for image in images),
        folders=folder_plans(pictures),
        buckets=buckets,
        batches_per_epoch=batches,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        total_steps=total,
        decided_by=decided_by,
        batch_size=length.train_batch_size,
        accumulation=accumulation,
        warmup_steps=warmup_steps(settings.optimizer, total),
        saves=saves,
        files=sum(map(len, save_points(saving, steps_per_epoch, total))) + bool(total),
        sample_steps=sample_steps,
        sample_times=sample_times,
        samples=per_sample,
        final_name=name + extension,
        wanted_name=settings.folders.output_name + extension,
        lora_bytes=lora_bytes,
        disk_bytes=disk_bytes(
            saving, lora_bytes, state_bytes(settings, weights), most_files(saves), most_states(saves)
        )
        + sample_times * per_sample * BYTES_PER_SAMPLE,
        memory=memory_parts(settings, buckets_area(buckets), facts, weights),
    )


def disk_bytes(saving: Saving, lora: int, state: int, files: int, states: int) -> int:
    """Bytes of LoRA files and training states at their most."""
    states = states if saving.save_state else int(saving.save_state_on_train_end)
    return lora * files + state * states


def bucket_rule(images: Images) -> BucketRule:
    """The rule of the settings. Raises ValueError for a Max resolution that is no size."""
    return BucketRule(
        resolution(images.max_resolution),
        images.enable_bucket,
        images.min_bucket_reso,
        images.max_bucket_reso,
        images.bucket_reso_steps,
        images.bucket_no_upscale,
    )


def bucket_plans(pictures: Sequence[TrainImage], rule: BucketRule, batch_size: int) -> tuple[BucketPlan, ...]:
    """The buckets that these pictures fill, by size."""
    fits: dict[Size, Size] = {}
    groups: defaultdict[Size, list[TrainImage]] = defaultdict(list)
    for picture in pictures:
        size = picture.width, picture.height
        if size not in fits:
            fits[size] = rule.fit(*size).bucket
        groups[fits[size]].append(picture)
    plans: list[BucketPlan] = []
    for (width, height), members in sorted(groups.items()):
        repeats = sum(picture.repeats for picture in members)
        plans.append(BucketPlan(width, height, len(members), repeats, -(-repeats // batch_size)))
    return tuple(plans)


def buckets_area(buckets: Sequence[BucketPlan]) -> int:
    """Pixels of the largest bucket."""
    return max((bucket.width * bucket.height for bucket in buckets), default=0)


def folder_plans(pictures: Sequence[TrainImage]) -> tuple[FolderPlan, ...]:
    """The folders, in order. Regularisation pictures stand with their repeats after matching (rounded)."""
    groups: defaultdict[tuple[bool, str], list[TrainImage]] = defaultdict(list)
    for picture in pictures:
        groups[picture.is_reg, picture.folder].append(picture)
    return tuple(
        FolderPlan(
            name,
            len(members),
            round(sum(member.repeats for member in members) / len(members)),
            is_reg,
            members[0].class_tokens,
        )
        for (is_reg, name), members in groups.items()
    )


def run_length(length: Length, steps_per_epoch: int) -> tuple[int, int, DecidedBy]:
    """Steps, epochs (the last may be cut short) and which setting decided.

    "Max train epoch" decides where it is set, else "Max train steps", else "Epoch".
    """
    if not steps_per_epoch:
        return 0, 0, "epoch"
    if length.max_train_epochs:
        return length.max_train_epochs * steps_per_epoch, length.max_train_epochs, "max_train_epochs"
    if length.max_train_steps:
        return length.max_train_steps, math.ceil(length.max_train_steps / steps_per_epoch), "max_train_steps"
    return length.epoch * steps_per_epoch, length.epoch, "epoch"


def sample_points(sampling: Sampling, per_epoch: int, total: int) -> tuple[tuple[int, ...], int]:
    """Steps after which sample pictures are drawn, and how many such steps there are.

    0 is before the first step. Epochs win over steps. Of more than `MOST_DRAWN` the first few are listed.
    """
    if not total or not prompts(sampling.sample_prompts):
        return (), 0
    epochs = sampling.sample_every_n_epochs
    every = epochs * per_epoch or sampling.sample_every_n_steps
    points = range(every, total + 1, every) if every else range(0)
    cut_short = epochs and total % per_epoch and -(-total // per_epoch) % epochs == 0
    first, last = (0,) * sampling.sample_at_first, (total,) * bool(cut_short)
    most = MOST_DRAWN if len(points) < MOST_DRAWN else LISTED
    return (*first, *points[:most], *last), len(first) + len(points) + len(last)
