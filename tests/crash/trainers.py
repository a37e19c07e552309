"""Real trainers to be killed, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.trainer.runs import short_settings
from trainer.events import Event, Phase, Step, parse, read_events
from trainer.files.job_folder import JobFolder, find_state
from trainer.files.whole_file import PARTIAL
from trainer.settings import Settings
from trainer.training.state import load_state

STEPS = 6
PHASES = ("start", "read_images", "load_model", "cache_texts", "cache_latents", "sample", "save", "train")


def settings_of_a_run(folder: Path, **changes: Any) -> Settings:
    """Six steps in which everything happens: chance of every kind, saves, states, samples."""
    values: dict[str, Any] = {
        "max_train_steps": STEPS,
        "gradient_accumulation_steps": 2,
        "shuffle_caption": True,
        "caption_dropout_rate": 0.2,
        "flip_aug": True,
        "network_dropout": 0.1,
        "noise_offset": 0.05,
        "lr_scheduler": "cosine",
        "save_every_n_steps": 2,
        "save_last_n_steps": 2,
        "save_state": True,
        "cache_latents": True,
        "cache_latents_to_disk": True,
        "sample_every_n_steps": 3,
        "sample_at_first": True,
        "sample_prompts": "a mascot --w 64 --h 64 --s 2",
        "safety_state_minutes": 1e-4,
    }
    return short_settings(folder, **{**values, **changes})


@dataclass
class Trainer:
    """A forker (see there) and the process it has started last."""

    forker: subprocess.Popen[str]
    pid: int = 0
    running: bool = False

    def start(self, verb: str, folder: JobFolder, **hardship: int) -> None:
        """Start a trainer; `hardship` as in the forker."""
        if self.running:  # a test has failed before it waited
            self.kill()
            self.wait()
        assert self.forker.stdin
        self.forker.stdin.write(json.dumps({"verb": verb, "folder": str(folder.path), **hardship}) + "\n")
        self.forker.stdin.flush()
        self.pid, self.running = int(self._line()), True

    def train(self, verb: str, folder: JobFolder, **hardship: int) -> int:
        """Start a trainer and wait for its end; the exit code."""
        self.start(verb, folder, **hardship)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Exit code; negative: the signal that ended it."""
        self.running = False
        return os.waitstatus_to_exitcode(int(self._line()))

    def _line(self) -> str:
        assert self.forker.stdout
        return self.forker.stdout.readline()


@contextmanager
def trainers(workspace: Path) -> Iterator[Trainer]:
    """A forker for this workspace."""
    program = [sys.executable, str(Path(__file__).with_name("forker.py"))]
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(workspace)}
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, env=environment) as forker:
        assert forker.stdout
        assert forker.stdout.readline() == "ready\n"
        yield Trainer(forker)
        assert forker.stdin
        forker.stdin.close()


@dataclass(frozen=True)
class Reference:
    """The run that nobody disturbed."""

    files: dict[str, dict[str, Tensor]]
    losses: dict[int, float]
    seconds: float


def undisturbed(trainer: Trainer, folder: Path, **changes: Any) -> Reference:
    """Train once without a kill."""
    job = JobFolder.create(folder, settings_of_a_run(folder, **changes))
    began = time.monotonic()
    trainer.start("job", job)
    assert trainer.wait() == 0, job.log_file.read_text()
    return Reference(lora_files(folder), losses(job), time.monotonic() - began)


def lora_files(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Weights of the LoRA files of a run, by file name."""
    return {path.name: load_file(path) for path in (folder / "out").glob("*.safetensors")}


def losses(job: JobFolder) -> dict[int, float]:
    """Loss of each step; of a step done twice the last one."""
    return {event.step: event.loss for event in told(job) if isinstance(event, Step)}


def kill_somewhere(trainer: Trainer, job: JobFolder, moment: random.Random, seconds: float) -> str:
    """Kill at a random moment: anywhere, or just after some phase has begun. Where the run was then."""
    phase = moment.choice(PHASES) if moment.random() < 0.5 else ""
    times = moment.choice((1, 2, 3)) if phase in ("save", "sample", "train") else 1
    end = time.monotonic() + (3 * seconds if phase else moment.uniform(0, seconds))
    while time.monotonic() < end and not (phase and phases(job).count(phase) >= times):
        time.sleep(0.0005)
    time.sleep(moment.uniform(0, 0.06) if phase else 0)
    trainer.kill()
    return (phases(job) or ["nothing yet"])[-1]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something is so; fails where it is not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def told(job: JobFolder) -> list[Event]:
    """All events of a job."""
    return [event for _, _, event in read_events(job.events_file)]


def phases(job: JobFolder) -> list[str]:
    """The phases begun so far."""
    return [event.name for event in told(job) if isinstance(event, Phase)]


def check_whole(folder: Path, job: JobFolder) -> None:
    """Every file that stands under its final name can be read."""
    lora_files(folder)
    for state in (folder / "out").glob("*-state"):
        load_state(state)
    if kept := find_state(job.safety_state):
        load_state(kept)
    for path in [path for path in job.path.glob("*.json") if not PARTIAL.fullmatch(path.name)]:
        json.loads(path.read_text())
    for path in job.samples.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
    for path in (folder / "latents").glob("*.safetensors"):
        load_file(path)
    if job.events_file.exists():
        *lines, torn = job.events_file.read_bytes().split(b"\n")
        assert all(parse(line) or not line for line in lines), lines
        assert b"\n" not in torn


def check_continued(folder: Path, job: JobFolder, reference: Reference) -> None:
    """After Continue nothing tells that the run was ever interrupted."""
    files = lora_files(folder)
    assert files.keys() == reference.files.keys()
    for name, weights in reference.files.items():
        assert files[name].keys() == weights.keys()
        assert all(torch.equal(files[name][key], tensor) for key, tensor in weights.items()), name
    assert losses(job) == reference.losses
    everything = [*(folder / "out").iterdir(), *job.path.iterdir()]
    assert not [path.name for path in everything if PARTIAL.fullmatch(path.name)]
