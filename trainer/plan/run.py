"""The plan of a run: how many steps, which files and sample pictures when, how much disk and memory.

Exact where it can be (steps, names, points in time), an estimate where it cannot (memory).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

from trainer.data.buckets import BucketRule, Size
from trainer.data.datasets import Dataset, datasets_of, with_matched
from trainer.data.folders import TrainImage
from trainer.data.held_out import split_of
from trainer.families.facts import FULL_SIZE, ModelFacts
from trainer.families.table import named_by
from trainer.judge.points import JudgePlan, judge_plan
from trainer.messages import Message
from trainer.plan.lr_schedule import warmup_steps
from trainer.plan.memory import lora_weights, memory_parts, state_bytes
from trainer.plan.sample_prompts import asking_lines
from trainer.plan.saves import (
    LISTED,
    SavePlan,
    free_name,
    most_files,
    most_states,
    save_plans,
    save_points,
)
from trainer.settings import Length, Sampling, Saving, Settings

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
class SubsetPlan:
    """A folder of a dataset: how often its pictures come, and what changes about them."""

    folder: FolderPlan
    in_effect: Mapping[str, Any]
    """What is switched on, under a dataset file's names: shuffle_caption, flip_aug …"""


@dataclass(frozen=True)
class DatasetPlan:
    """Pictures that are learned by one rule of sizes, in batches of one size."""

    name: str
    """As "datasets[0]" in a dataset file; "" where there is none."""
    width: int
    """Of "Max resolution", as `height`."""
    height: int
    batch_size: int
    subsets: tuple[SubsetPlan, ...]
    buckets: tuple[BucketPlan, ...]

    @property
    def pictures(self) -> int:
        """How many pictures come per epoch, repeats counted."""
        return sum(bucket.repeats_total for bucket in self.buckets)

    @property
    def batches(self) -> int:
        """Per epoch."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def fewest_batches(self) -> int:
        """Batches per epoch if all pictures had one size."""
        return -(-self.pictures // self.batch_size)

    @property
    def formula(self) -> str:
        """Its part of the sum: "(24 × 10 + 8 × 5) ÷ 2"."""
        folders = [subset.folder for subset in self.subsets]
        learned = [f"{part.pictures:,} × {part.repeats}" for part in folders if not part.is_reg]
        text = " + ".join(learned)
        text = f"({text})" if len(learned) > 1 else text
        text += " × 2" if any(part.is_reg for part in folders) else ""
        return f"{text} ÷ {self.batch_size}" if self.batch_size > 1 else text


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    images: int
    """Training pictures, each counted once."""
    reg_images: int
    captions_found: int
    datasets: tuple[DatasetPlan, ...]
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    total_steps: int
    decided_by: DecidedBy
    accumulation: int
    """Batches per step, of all processes together."""
    warmup_steps: int
    saves: tuple[SavePlan, ...]
    """Of more than `MOST_LORA_FILES` the first few."""
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
    judging: JudgePlan | None = None
    """How the run finds out which file is the best, where it is asked to."""

    @property
    def memory_bytes(self) -> int:
        """Estimated peak while training."""
        return sum(self.memory.values())

    @property
    def folders(self) -> tuple[FolderPlan, ...]:
        """The folders of all datasets."""
        return tuple(subset.folder for dataset in self.datasets for subset in dataset.subsets)

    @property
    def buckets(self) -> tuple[BucketPlan, ...]:
        """The buckets of all datasets."""
        return tuple(bucket for dataset in self.datasets for bucket in dataset.buckets)

    @property
    def batch_size(self) -> int:
        """The largest of the datasets."""
        return max((dataset.batch_size for dataset in self.datasets), default=1)

    @property
    def formula(self) -> str:
        """The sum behind the length: "(24 × 10 + 8 × 5) ÷ 2 × 10"; exact only with `is_plain_sum`."""
        parts = [dataset.formula for dataset in self.datasets if dataset.batches]
        text = f"({' + '.join(parts)})" if len(parts) > 1 else "".join(parts)
        text += f" ÷ {self.accumulation}" if self.accumulation > 1 else ""
        return f"{text} × {self.epochs:,}"

    @property
    def is_plain_sum(self) -> bool:
        """Whether `formula` gives exactly `total_steps`: every batch is full and no epoch is cut short."""
        batches = sum(Fraction(dataset.pictures, dataset.batch_size) for dataset in self.datasets)
        return batches * self.epochs == self.total_steps * self.accumulation

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
        parts = {key: getattr(self, key) for key in ("folders", "buckets")}
        return {
            **asdict(self),
            **{key: [asdict(one) for one in part] for key, part in parts.items()},
            "batch_size": self.batch_size,
            "memory_bytes": self.memory_bytes,
            "formula": self.formula,
        }


def build_plan(
    settings: Settings,
    images: Sequence[TrainImage],
    reg_images: Sequence[TrainImage] = (),
    model: ModelFacts | None = None,
    *,
    name: str = "",
    first_step: int = 0,
) -> Plan:
    """The plan of a run with these pictures. Raises ValueError for a Max resolution that is no size.

    `reg_images` are repeated to match here; `model` makes sizes exact (else the family's usual ones);
    `name` is the LoRA's name where a job that has one is continued; `first_step` is where a run begins that
    resumes from a training state.
    """
    length, saving = settings.length, settings.saving
    images, held_out = split_of(settings, images)
    pictures = with_matched(images, reg_images)
    once = {image.path: image for image in images}.values()  # several datasets may have the same pictures
    datasets = dataset_plans(datasets_of(settings), pictures)
    batches = sum(dataset.batches for dataset in datasets)
    accumulation = length.gradient_accumulation_steps * settings.machine.num_processes
    steps_per_epoch = -(-batches // accumulation)
    total, epochs, decided_by = run_length(length, steps_per_epoch)
    extension = f".{saving.save_model_as}"
    name = name or free_name(settings.folders.output_dir, settings.folders.output_name, extension)
    saves = save_plans(saving, name, extension, steps_per_epoch, total, first_step)
    facts = model if model and model.denoiser else FULL_SIZE[named_by(settings.model).key]
    weights = lora_weights(settings.network, settings.optimizer, facts)
    lora_bytes = weights * BYTES[saving.save_precision] + 150_000
    sample_steps, sample_times = sample_points(settings.sampling, steps_per_epoch, total, first_step)
    per_sample = len(asking_lines(settings.sampling.sample_prompts))
    return Plan(
        images=len(once),
        reg_images=sum(picture.is_reg for picture in pictures),
        captions_found=sum(image.caption_found for image in once),
        datasets=datasets,
        batches_per_epoch=batches,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        total_steps=total,
        decided_by=decided_by,
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
        memory=memory_parts(settings, largest_batch(datasets), facts, weights),
        judging=judge_plan(
            settings.validation,
            [f"{image.folder}/{image.path.name}" for image in held_out],
            saves=[save.step for save in saves],
            per_epoch=steps_per_epoch,
            total=total,
            pictures_per_step=accumulation * max((dataset.batch_size for dataset in datasets), default=1),
        ),
    )


def disk_bytes(saving: Saving, lora: int, state: int, files: int, states: int) -> int:
    """Bytes of LoRA files and training states at their most."""
    states = states if saving.save_state else int(saving.save_state_on_train_end)
    return lora * files + state * states


def dataset_plans(datasets: Sequence[Dataset], pictures: Sequence[TrainImage]) -> tuple[DatasetPlan, ...]:
    """What becomes of the pictures of each dataset; `pictures` are counted by their `subset`."""
    plans: list[DatasetPlan] = []
    for number, dataset in enumerate(datasets):
        own = [picture for picture in pictures if picture.subset[0] == number]
        subsets = tuple(
            SubsetPlan(folder, dataset.subsets[subset].in_effect) for subset, folder in folder_plans(own)
        )
        buckets = bucket_plans(own, dataset.rule, dataset.batch_size)
        plans.append(
            DatasetPlan(dataset.name, *dataset.rule.resolution, dataset.batch_size, subsets, buckets)
        )
    return tuple(plans)


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


def largest_batch(datasets: Sequence[DatasetPlan]) -> int:
    """Pixels of the largest batch."""
    return max(
        (
            bucket.width * bucket.height * dataset.batch_size
            for dataset in datasets
            for bucket in dataset.buckets
        ),
        default=0,
    )


def folder_plans(pictures: Sequence[TrainImage]) -> list[tuple[int, FolderPlan]]:
    """The folders of a dataset, in order, with the number of their subset.

    Regularisation pictures stand with their repeats after matching (rounded).
    """
    groups: defaultdict[tuple[bool, int, str], list[TrainImage]] = defaultdict(list)
    for picture in pictures:
        groups[picture.is_reg, picture.subset[1], picture.folder].append(picture)
    return [
        (
            subset,
            FolderPlan(
                name,
                len(members),
                round(sum(member.repeats for member in members) / len(members)),
                is_reg,
                members[0].class_tokens,
            ),
        )
        for (is_reg, subset, name), members in groups.items()
    ]


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


def sample_points(
    sampling: Sampling, per_epoch: int, total: int, done: int = 0
) -> tuple[tuple[int, ...], int]:
    """Steps after which sample pictures are drawn, and how many such steps there are.

    0 is before the first step. Epochs win over steps. Of more than `MOST_DRAWN` the first few are listed.
    `done`: steps that another run has made already.
    """
    if not total or not asking_lines(sampling.sample_prompts):
        return (), 0
    epochs = sampling.sample_every_n_epochs
    every = epochs * per_epoch or sampling.sample_every_n_steps
    points = range(done // every * every + every, total + 1, every) if every else range(0)
    cut_short = epochs and total % per_epoch and -(-total // per_epoch) % epochs == 0
    first, last = (0,) * (sampling.sample_at_first and not done), (total,) * bool(cut_short)
    most = MOST_DRAWN if len(points) < MOST_DRAWN else LISTED
    return (*first, *points[:most], *last), len(first) + len(points) + len(last)
