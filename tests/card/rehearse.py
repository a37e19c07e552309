"""Trainings on the stand-in card beside the same on the CPU: python -m tests.card.rehearse FOLDER CASE…

Prints one JSON object per case: how far weights and pictures are apart, as a share of their size, and the
processor's seconds up to there. float16, which a CPU cannot train in, is compared with float32.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from tests.card import stand_in
from tests.card.cases import CASES
from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.runs import run
from trainer.files.job_folder import JobFolder, find_state
from trainer.jobs.try_out import serve


@contextmanager
def training_on_card() -> Iterator[None]:
    """Inside, the trainer finds the card and nothing else."""
    with stand_in.in_use() as card:

        def accelerator(**options: Any) -> Accelerator:
            forget_devices()
            PartialState(cpu=True).device = card
            if options.get("mixed_precision") != "fp16":
                return Accelerator(**options)
            made = Accelerator(**{**options, "mixed_precision": "no"})  # it knows which cards can do that
            made.native_amp, made.scaler = True, GradScaler(stand_in.NAME)
            AcceleratorState._shared_state["_mixed_precision"] = "fp16"  # see above
            return made

        with (
            mock.patch("trainer.training.precision.pick_device", return_value=card),
            mock.patch("trainer.training.prepare.pick_device", return_value=card),
            mock.patch("trainer.training.prepare.Accelerator", accelerator),
        ):
            try:
                yield
            finally:
                forget_devices()


def forget_devices() -> None:
    """accelerate decides once per process where it computes."""
    AcceleratorState._reset_state(True)  # accelerate's own tests do it so
    PartialState._reset_state()  # see above


@dataclass(frozen=True)
class Made:
    """What a run leaves."""

    weights: dict[str, Tensor]
    pictures: list[Tensor]
    """Samples, or those of *Try it*; 0 to 1."""


def made(folder: Path, name: str, changes: dict[str, Any], checkpoint: Path) -> Made:
    """Run a case. Raises where it does not end well."""
    if changes.get("sdxl"):
        changes = {"pretrained_model_name_or_path": str(checkpoint), **changes}
    if "continued" in name and "whole" not in str(folder):
        state = half(folder, changes)
        changes = {**changes, "resume": str(state)}
    job, code = run(folder, **{"max_train_steps": 4 if "continued" in name else 3, **changes})
    assert code == 0, job.events_file.read_text()
    file = folder / "out" / "mascot.safetensors"
    drawn = try_out(job, file) if name == "tried" else sorted(job.samples.rglob("*.png"))
    pictures = [torch.from_numpy(np.asarray(Image.open(path)) / 255) for path in drawn]
    return Made(load_file(file), pictures)


def half(folder: Path, changes: dict[str, Any]) -> Path:
    """The state of a run of two steps."""
    job, code = run(folder / "half", save_state=True, max_train_steps=2, **changes)
    assert code == 0, job.events_file.read_text()
    state = find_state(folder / "half" / "out" / "mascot-state")
    assert state
    return state


def try_out(job: JobFolder, file: Path) -> list[Path]:
    """Have *Try it* draw two pictures; in the order in which they were drawn, as no name tells."""
    wish = {"id": 1, "file": str(file), "strength": 1.0, "seed": 3, "prompt": "sks mascot", "steps": 2}
    reading, writing = os.pipe()
    told: list[Mapping[str, Any]] = []

    def say(event: Mapping[str, Any]) -> None:
        told.append(event)
        if event["event"] in {"done", "failed"}:
            os.close(writing)  # its end is the end of all wishes

    with os.fdopen(reading) as lines:
        os.write(writing, (json.dumps({**wish, "width": 64, "height": 64}) + "\n").encode())
        serve(job, lines, say, idle=3600)
    assert told[-1]["event"] == "done", told
    return [job.samples / "try" / str(event["name"]) for event in told if event["event"] == "drawn"]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """How far apart tensors are, all together, as a share of their size."""
    assert len(ours) == len(theirs)
    squares = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(ours, theirs, strict=True))
    return (
        (squares / sum(float(tensor.double().square().sum()) for tensor in theirs)) ** 0.5 if theirs else 0.0
    )


def rehearse(folder: Path, name: str, checkpoint: Path) -> dict[str, Any]:
    """One case on both."""
    changes = CASES[name]
    on_cpu = {**changes, "mixed_precision": "no"} if changes.get("mixed_precision") == "fp16" else changes
    try:
        wanted = made(folder / name / "whole", name, on_cpu, checkpoint)
        with training_on_card():
            found = made(folder / name / "card", name, changes, checkpoint)
        assert found.weights.keys() == wanted.weights.keys()
        assert bool(found.pictures) == ("sample_prompts" in changes or name == "tried")
    except Exception:  # noqa: BLE001  # the others are rehearsed all the same
        return {"case": name, "error": traceback.format_exc()[-3000:]}
    weights = [[made.weights[key] for key in sorted(wanted.weights)] for made in (found, wanted)]
    return {
        "case": name,
        "distance": distance(*weights),
        "pictures": distance(found.pictures, wanted.pictures),
        "seconds": time.process_time(),
    }


def main() -> None:
    """Rehearse each case."""
    torch.set_num_threads(1)
    stand_in.install()
    folder = Path(sys.argv[1])
    checkpoint = folder / "xl.safetensors"
    if any(CASES[name].get("sdxl") for name in sys.argv[2:]):
        torch.manual_seed(0)
        write_checkpoint(checkpoint, random_model("sdxl"))
    for name in sys.argv[2:]:
        print(json.dumps(rehearse(folder, name, checkpoint)), flush=True)


if __name__ == "__main__":
    main()
