"""Seconds and peak memory of loading a full-size model and of two training steps with it.

    python -m tests.bench.full_size [--family sdxl] [--side 1024] [--set gradient_checkpointing=true] …
    python -m tests.bench.full_size --family sdxl --load [--set fp8_base=true]

The checkpoint has random weights in fp16 and is made in a temporary folder (SD 1.5: 2 GB, SDXL: 7 GB), or is
the one that `--checkpoint` names. `--load`: no training, each part is read for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from trainer.events import Step, read_events
from trainer.families.table import FAMILIES
from trainer.settings import FamilyKey, Settings


def settings_for(family: FamilyKey, side: int, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """Two steps on two pictures of noise."""
    pictures = folder / "pictures" / "1_thing"
    pictures.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.effect_noise((side, side), 80).convert("RGB").save(pictures / f"{number}.png")
    return {
        "pretrained_model_name_or_path": str(checkpoint),
        **FAMILIES[family].switches,
        "train_data_dir": str(pictures.parent),
        "output_dir": str(folder / "out"),
        "max_resolution": f"{side},{side}",
        "mixed_precision": "bf16",
        "optimizer": "AdamW",
        "max_train_steps": 2,
        "lr_scheduler": "constant",
        "save_every_n_epochs": 0,
        "seed": 1,
    }


def measured(command: list[str]) -> dict[str, float]:
    """Run a process of its own to its end: its peak, its seconds."""
    begin = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)  # this child's own peak, not that of any before it
    if status:
        raise SystemExit("It failed.")
    return {
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "wall_s": round(time.monotonic() - begin, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
    }


def trained(values: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Train two steps, or as many as the values say."""
    config, job = folder / "settings.json", folder / "job"
    config.write_text(json.dumps(Settings.from_flat(values).flat()), encoding="utf-8")
    found = measured([sys.executable, "-m", "trainer", "train", str(config), "--job", str(job)])
    steps = [moment for _, moment, event in read_events(job / "events.jsonl") if isinstance(event, Step)]
    return found if len(steps) < 2 else {**found, "second_step_s": round(steps[1] - steps[0], 1)}


LOAD = """
import json, resource, sys
import torch
from trainer.settings import Settings
from trainer.training.encode import open_base_model
from trainer.training.prepare import pick_computing
settings = Settings.from_flat(json.loads(sys.argv[1]))
settings = settings.replace(mixed_precision="bf16")
model = open_base_model(settings, pick_computing(settings.machine, print), lambda _event: None)
import diffusers.loaders.single_file_utils
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
found = getattr(model, sys.argv[2])
modules = found if isinstance(found, list) else [found]
held = sum(t.nbytes for module in modules for t in (*module.parameters(), *module.buffers()))
ratio = (peak() - before) / held
print(json.dumps({"part": sys.argv[2], "weights_gb": held / 1e9, "peak_over_weights": ratio}))
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=list(FAMILIES), default="sd1")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    chosen = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in chosen.set)}
    with tempfile.TemporaryDirectory() as temporary:
        folder, checkpoint = Path(temporary), chosen.checkpoint
        if checkpoint is None:
            checkpoint = folder / "random.safetensors"
            make = [sys.executable, "-m", "tests.checkpoints", str(checkpoint), "--full"]
            subprocess.run([*make, "--family", chosen.family], check=True)
        values = settings_for(chosen.family, chosen.side, folder, checkpoint) | changes
        if not chosen.load:
            print(json.dumps({**vars(chosen), "checkpoint": "", **trained(values, folder)}))
        for part in ("text_encoders", "vae", "denoiser") if chosen.load else ():
            subprocess.run([sys.executable, "-c", LOAD, json.dumps(values), part], check=True)


if __name__ == "__main__":
    main()
