"""One training of a few steps, ours or sd-scripts', and what it used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.noted import Note

ROOT = Path(__file__).parents[2]
NOTED = Path(__file__).with_name("noted.py")
SMALL = Path(__file__).with_name("small_model.py")


@dataclass(frozen=True)
class Place:
    """What all trainings of a measurement share."""

    checkpoint: Path
    pictures: Path
    tokenizers: Path | None = None
    """A folder of tokenizers for sd-scripts ("tokenizer_cache_dir")."""
    sd_scripts: Path | None = None
    packages: Path | None = None
    """A folder of the packages that sd-scripts needs, before ours on the path."""
    threads: int = 1
    side: int = 512

    many: Path | None = None
    """A folder of ten thousand pictures."""
    tiny: Path | None = None
    """The folder of a tiny model."""


Figures = dict[str, float]
"""By name; _cpu: processor seconds (user + system), _wall: seconds, _gb: the peak in GB."""


@dataclass(frozen=True)
class Case:
    """One training that is measured."""

    name: str
    precision: str = "bf16"
    steps: int = 6
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Our settings that differ."""
    flags: Sequence[str] = ("--network_train_unet_only",)
    """sd-scripts' options that mean the same."""


def ours(case: Case, place: Place) -> Figures:
    """Train with this program."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = {
            "pretrained_model_name_or_path": str(place.checkpoint),
            "train_data_dir": str(place.pictures),
            "output_dir": str(folder / "out"),
            "max_resolution": f"{place.side},{place.side}",
            "mixed_precision": case.precision,
            "optimizer": "AdamW",
            "max_train_steps": case.steps,
            "lr_scheduler": "constant",
            "save_every_n_epochs": 0,
            "seed": 1,
            "network_dim": 8,
            "network_alpha": 1,
            "unet_lr": 1e-4,
            "text_encoder_lr": 0,
            "cache_latents": True,
            "num_cpu_threads_per_process": place.threads,
            **case.changes,
        }
        config = folder / "settings.json"
        config.write_text(json.dumps(settings), encoding="utf-8")
        words = ["trainer", "train", str(config), "--job", str(folder / "job")]
        return _noted(words, folder, ROOT, place.threads)


def theirs(case: Case, place: Place) -> Figures:
    """Train with sd-scripts, its options as near to ours as they can be."""
    assert place.sd_scripts
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options: dict[str, Any] = {
            "pretrained_model_name_or_path": place.checkpoint,
            "train_data_dir": place.pictures,
            "output_dir": folder / "out",
            "output_name": "last",
            "resolution": f"{place.side},{place.side}",
            "network_module": "networks.lora",
            "network_dim": 8,
            "network_alpha": 1,
            "learning_rate": 1e-4,
            "max_train_steps": case.steps,
            "seed": 1,
            "mixed_precision": case.precision,
            "save_precision": "fp16",
            "save_model_as": "safetensors",
            "max_data_loader_n_workers": 0,
            "optimizer_type": "AdamW",
            "lr_scheduler": "constant",
            "train_batch_size": 1,
            "caption_extension": ".txt",
        }
        if place.tokenizers:
            options["tokenizer_cache_dir"] = place.tokenizers
        words = ["--cache_latents", "--sdpa"]
        for name, value in options.items():
            words += [f"--{name}", str(value)]
        program = [str(SMALL)] if place.checkpoint == place.tiny else []  # it must be told the sizes
        words = [*program, "train_network.py", *words, *case.flags]  # the last of two equal options counts
        return _noted(words, folder, place.sd_scripts, place.threads, place.packages)


def _noted(
    words: Sequence[str], folder: Path, home: Path, threads: int, packages: Path | None = None
) -> Figures:
    """Run it in its folder and read the notes. Raises RuntimeError with the end of its log where it fails."""
    notes = folder / "notes.jsonl"
    finished([str(NOTED), str(notes), *words], folder, home, threads, packages)
    lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    return figures_of([Note(*line) for line in lines])


def finished(
    words: Sequence[str], folder: Path, home: Path, threads: int, packages: Path | None = None
) -> str:
    """What a Python program printed. Raises RuntimeError with the end of it where it fails."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",
        "LORA_ATELIER_WORKSPACE": str(folder / "workspace"),
    }
    if packages:
        environment["PYTHONPATH"] = str(packages)
    done = subprocess.run(
        [sys.executable, *words],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    printed = done.stdout.decode(errors="replace")
    if done.returncode:
        raise RuntimeError(printed[-2000:])
    return printed


def figures_of(notes: Sequence[Note]) -> Figures:
    """What a training's notes say: its start, its steps (median of all after the first), what came after."""
    # Before its first backward pass a program may only have tried its optimizer, as ours does.
    steps = [note for note in notes if note.kind == "step" and note.queued]
    if not steps:
        raise RuntimeError("No step was made.")
    first, last, end = steps[0], steps[-1], notes[-1]
    found = {
        "start_wall": first.passed,
        "start_cpu": first.cpu,
        "after_wall": end.passed - last.passed,
        "after_cpu": end.cpu - last.cpu,
        "peak_gb": max(note.peak for note in notes),
        "card_gb": max(note.card for note in notes),
    }
    pairs = list(pairwise(steps))
    if pairs:
        found["step_wall"] = median(after.passed - before.passed for before, after in pairs)
        found["step_cpu"] = median(after.cpu - before.cpu for before, after in pairs)
        found["host_wall"] = median(after.queued - before.passed for before, after in pairs)
    return found
