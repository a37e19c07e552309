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

ROOT = Path(__file__).parents[2]


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


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    precision: str = "bf16"
    steps: int = 3
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Our settings that differ."""
    flags: Sequence[str] = ("--network_train_unet_only",)
    """sd-scripts' options that mean the same."""
    has_other: bool = True
    """Whether sd-scripts can do it, too."""


@dataclass(frozen=True)
class Used:
    """Figures of one training."""

    start_wall: float
    """Seconds from the process's start to the end of its first step."""
    start_cpu: float
    step_wall: float
    """Median of the steps after the first."""
    step_cpu: float
    peak_gb: float
    card_gb: float


def ours(case: Case, place: Place) -> Used:
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


def theirs(case: Case, place: Place) -> Used:
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
        words = ["train_network.py", "--cache_latents", "--sdpa", *case.flags]
        for name, value in options.items():
            words += [f"--{name}", str(value)]
        return _noted(words, folder, place.sd_scripts, place.threads, place.packages)


def _noted(
    words: Sequence[str], folder: Path, home: Path, threads: int, packages: Path | None = None
) -> Used:
    """Run it in its folder and read the notes. Raises RuntimeError with the end of its log where it fails."""
    notes = folder / "notes.jsonl"
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
    program = [sys.executable, str(Path(__file__).with_name("noted.py")), str(notes), *words]
    done = subprocess.run(
        program, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout.decode(errors="replace")[-2000:])
    lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line[0] == "step"]
    pairs = list(pairwise(steps))
    return Used(
        start_wall=steps[0][1],
        start_cpu=steps[0][2],
        step_wall=median(after[1] - before[1] for before, after in pairs),
        step_cpu=median(after[2] - before[2] for before, after in pairs),
        peak_gb=max(line[3] for line in lines),
        card_gb=max(line[4] for line in lines),
    )
