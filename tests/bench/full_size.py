"""Seconds and peak memory of two training steps on a full-size Stable Diffusion 1.5 checkpoint.

    python -m tests.bench.full_size [no|bf16] [512]

The checkpoint has random weights and is made in a temporary folder (2 GB).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from trainer.events import Step, read_events
from trainer.settings import Settings


def measure(precision: str, side: int, folder: Path, checkpoint: Path) -> dict[str, float | str]:
    """Train two steps in a process of its own."""
    pictures = folder / "pictures" / "1_thing"
    pictures.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.effect_noise((side, side), 80).convert("RGB").save(pictures / f"{number}.png")
    settings = Settings.from_flat(
        {
            "pretrained_model_name_or_path": str(checkpoint),
            "train_data_dir": str(pictures.parent),
            "output_dir": str(folder / f"out-{precision}"),
            "max_resolution": f"{side},{side}",
            "mixed_precision": precision,
            "optimizer": "AdamW",
            "max_train_steps": 2,
            "lr_scheduler": "constant",
            "save_every_n_epochs": 0,
            "seed": 1,
        }
    )
    config, job = folder / f"{precision}.json", folder / f"job-{precision}"
    config.write_text(json.dumps(settings.flat()), encoding="utf-8")
    begin = time.monotonic()
    command = [sys.executable, "-m", "trainer", "train", str(config), "--job", str(job)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)  # this child's own peak, not that of any before it
    if status:
        raise SystemExit("The training failed.")
    steps = [
        (moment, event) for _, moment, event in read_events(job / "events.jsonl") if isinstance(event, Step)
    ]
    return {
        "precision": precision,
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
        "wall_s": round(time.monotonic() - begin, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "second_step_s": round(steps[1][0] - steps[0][0], 1),
    }


def main() -> None:
    """Measure one precision."""
    precision, side = (sys.argv[1:] + ["bf16", "512"][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "sd15_random.safetensors"
        make = [sys.executable, "-m", "tests.checkpoints", str(checkpoint), "--full"]
        subprocess.run(make, check=True)
        print(json.dumps(measure(precision, int(side), Path(temporary), checkpoint)))


if __name__ == "__main__":
    main()
