"""How long "Try it" takes beside a sample picture of the training itself, phase by phase.

    python -m tests.bench.try_it             # the demo model, 128 x 128
    python -m tests.bench.try_it --full      # Stable Diffusion 1.5 at full size (2 GB, random weights)
    python -m tests.bench.try_it --busy 4    # while four other processes keep the processor at work

A run of two steps draws a sample of the prompt; then the process of "Try it" draws the same prompt at
the same size, twice: the second wish finds it ready. Seconds, and processor seconds of that process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.bench.full_size import settings_for
from trainer.events import Phase, Sampled, Saved, read_events
from trainer.settings import Settings

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "presets" / "demo"
PROMPT = "a red circle on a white background"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    chosen = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in chosen.set)}
    with tempfile.TemporaryDirectory() as temporary:
        folder, side = Path(temporary), 512 if chosen.full else 128
        checkpoint = chosen.checkpoint or (full_size(folder) if chosen.full else DEMO / "model")
        values = settings_for("sd1", side, folder, checkpoint) | {
            "sample_prompts": f"{PROMPT} --w {side} --h {side} --d 1 --s {chosen.steps}",
            "sample_every_n_steps": 1,
            "mixed_precision": "bf16" if chosen.full else "no",
            **changes,
        }
        with busy(chosen.busy):
            print(
                f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {chosen.busy} others at work"
            )
            job, sample, file = trained(values, folder)
            print(f"a sample of the training: {sample:.1f} s")
            tried(job, {"file": file, "prompt": PROMPT, "strength": 0.8, "width": side, "height": side,
                        "steps": chosen.steps, "sampler": ""})  # fmt: skip


def full_size(folder: Path) -> Path:
    """A checkpoint of random weights."""
    checkpoint = folder / "random.safetensors"
    subprocess.run([sys.executable, "-m", "tests.checkpoints", str(checkpoint), "--full"], check=True)
    return checkpoint


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Inside, other processes compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def trained(values: Mapping[str, Any], folder: Path) -> tuple[Path, float, str]:
    """Train two steps: the job's folder, the seconds of its last sample, its LoRA file."""
    config, job = folder / "settings.json", folder / "job"
    config.write_text(json.dumps(Settings.from_flat(values).flat()), encoding="utf-8")
    words = [sys.executable, "-m", "trainer", "train", str(config), "--job", str(job)]
    subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    began, took, file = 0.0, 0.0, ""
    for _, moment, event in read_events(job / "events.jsonl"):
        if isinstance(event, Phase) and event.name == "sample":
            began = moment
        elif isinstance(event, Sampled):
            took = moment - began
        elif isinstance(event, Saved) and event.kind == "lora":
            file = event.path
    return job, took, file


@dataclass
class Watch:
    """Seconds, and processor seconds of a process, since it was last asked."""

    process: psutil.Process
    wall: float = field(default_factory=time.perf_counter)
    cpu: float = 0.0

    def lap(self, what: str) -> None:
        """Print what has taken so long."""
        wall, times = time.perf_counter(), self.process.cpu_times()
        cpu = times.user + times.system
        print(f"  {what:34} {wall - self.wall:7.2f} s {cpu - self.cpu:7.2f} s of processor time")
        self.wall, self.cpu = wall, cpu


def tried(job: Path, wish: Mapping[str, Any]) -> None:
    """Ask the process of "Try it" twice, with two seeds, and print its phases."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "try", str(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )
    assert process.stdin
    assert process.stdout
    watch = Watch(psutil.Process(process.pid), began)
    for seed in (1, 2):
        print("Try it, first wish" if seed == 1 else "second wish")
        process.stdin.write(json.dumps({"id": seed, "seed": seed, "scale": 7.5, **wish}) + "\n")
        began = time.perf_counter()
        for line in process.stdout:
            event = json.loads(line)
            if told(event, watch, int(wish["steps"])):
                break
        print(f"  in all {time.perf_counter() - began:.1f} s")
    process.stdin.close()
    process.wait(60)


def told(event: Mapping[str, Any], watch: Watch, steps: int) -> bool:
    """Note a phase that has ended; whether the wish has."""
    kind, done = event["event"], int(event.get("done", 0))
    if kind == "loading":
        watch.lap("process, imports")
    elif kind == "ready":
        watch.lap("model and LoRA")
    elif kind == "drawing" and done and done % steps == 1:
        watch.lap("texts and first step")
    elif kind == "drawing" and done and done % steps == 0:
        watch.lap(f"{steps - 1} more steps")
    elif kind == "drawn":
        watch.lap(f"VAE and file ({event['which']})")
    elif kind == "failed":
        raise SystemExit(str(event))
    return kind == "done"


if __name__ == "__main__":
    main()
