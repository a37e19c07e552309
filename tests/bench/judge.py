"""Does a run name the right file? A study on the demo model.

    python -m tests.bench.judge --work FOLDER            trains what is missing (hours), then reports
    python -m tests.bench.judge --work FOLDER --report   reports what is there

24 runs, from too weak to burnt: four rates, two LoRAs (rank 2, denoiser only; rank 16 with text encoder) and
three seeds, with a file every 30 steps up to 240. Of every file the truth is measured by a foreign reader
(diffusers): how far 12 "sks mascot …" pictures are from mascots that no run has seen, how much 12 ordinary
prompts have changed. The *loss* of a file is the sum of both (root mean square differences, 0 to 1). Reported
is how often the file that the run names, the last one, and the one where the training loss was lowest, lie
within a tenth of the best one's loss.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import StableDiffusionPipeline

from presets.demo.make import draw, measure
from presets.demo.make.sample import sample
from tests.trainer.runs import DEMO
from trainer.events import Judged, Saved, Step, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run import run_job
from trainer.judge.verdict import Point, judge
from trainer.settings import TRAINING, Settings

RATES = (1.5e-4, 5e-4, 2e-3, 6e-3)
LORAS = ({"network_dim": 2, "network_alpha": 2}, {"network_dim": 16, "network_alpha": 16})
SEEDS = (1, 2, 3)
STEPS = 12
"""Of the sampler."""
GROUNDS = ("white", "yellow", "pink", "blue", "green", "gray")
MASCOTS = [f"sks mascot on a {ground} background" for ground in GROUNDS] * 2
ORDINARY = [
    f"a {color} {figure} on a {ground} background"
    for color, figure, ground in (
        ("red", "circle", "white"), ("blue", "cat", "yellow"), ("green", "star", "pink"),
        ("brown", "house", "blue"), ("purple", "fish", "white"), ("pink", "heart", "gray"),
        ("black", "bear", "white"), ("cyan", "ghost", "purple"), ("yellow", "flower", "blue"),
        ("gray", "moon", "white"), ("black", "square", "white"), ("green", "triangle", "yellow"),
    )
]  # fmt: skip
NEAR = 1.1
"""Of the best one's loss: as good as it."""
Row = dict[str, Any]


def runs() -> list[tuple[str, dict[str, Any]]]:
    """Name and changes of each run."""
    return [
        (
            f"{rate:g}_rank{lora['network_dim']}_seed{seed}",
            {
                **lora,
                "unet_lr": rate,
                "learning_rate": rate,
                "text_encoder_lr": rate / 4 if lora["network_dim"] > 2 else 0.0,
                "seed": seed,
            },
        )
        for seed in SEEDS
        for rate in RATES
        for lora in LORAS
    ]


def train(folder: Path, changes: Mapping[str, Any]) -> JobFolder:
    """Train the demo with changes, judged at every file."""
    preset = json.loads((DEMO.parent / "demo.json").read_text(encoding="utf-8"))
    values = {**preset, **preset["lora_atelier"]["values"]}
    settings = Settings.from_flat({
        **{key: value for key, value in values.items() if key in TRAINING},
        "pretrained_model_name_or_path": str(DEMO / "model"),
        "train_data_dir": str(DEMO / "pictures"),
        "output_dir": str(folder / "out"),
        "lr_scheduler": "constant",
        "lr_warmup": 0,
        "max_train_steps": 240,
        "save_every_n_steps": 30,
        "sample_every_n_steps": 0,
        "sample_at_first": False,
        "validation_split": 0.25,
        "validate_every_n_steps": 30,
        **changes,
    })  # fmt: skip
    job = JobFolder.create(folder, settings)
    assert run_job(job) == 0, job.events_file.read_text(encoding="utf-8")[-500:]
    return job


def truth(path: Path, before: Sequence[np.ndarray]) -> dict[str, float]:
    """How good a file is: distance to unseen mascots, change of ordinary prompts."""
    pipeline = StableDiffusionPipeline.from_pretrained(DEMO / "model", safety_checker=None)
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    rng = random.Random(1234)
    unseen = [measure.whitened_ground(np.asarray(draw.draw_mascot(g, rng, 128))) for g in GROUNDS * 3]
    mascots = sample(pipeline, MASCOTS, seed=100, steps=STEPS)
    others = sample(pipeline, ORDINARY, seed=200, steps=STEPS)
    distances = [
        min(measure.shifted_distance(measure.whitened_ground(picture), one) for one in unseen)
        for picture in mascots
    ]
    changes = [measure.picture_change(*pair) for pair in zip(before, others, strict=True)]
    return {"distance": float(np.mean(distances)), "change": float(np.mean(changes))}


def studied(name: str, changes: Mapping[str, Any], work: Path) -> Row:
    """One run and the truth about its files; from disk where it is there."""
    kept = work / f"{name}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    job = train(work / name, changes)
    told = [event for _, _, event in read_events(job.events_file)]
    before = sample(
        StableDiffusionPipeline.from_pretrained(DEMO / "model", safety_checker=None),
        ORDINARY,
        200,
        steps=STEPS,
    )
    row: Row = {
        "name": name,
        "points": [vars(event) for event in told if isinstance(event, Judged)],
        "losses": [event.loss for event in told if isinstance(event, Step)],
        "files": {
            event.step: truth(Path(event.path), before)
            for event in told
            if isinstance(event, Saved) and event.kind == "lora"
        },
    }
    kept.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def choices(row: Row) -> dict[str, int]:
    """Which file each way of choosing takes, as a step."""
    files = [int(step) for step in row["files"]]
    points = [
        Point(p["step"], p["epoch"], tuple(p["held_out"]), tuple(p["learned"]), p["drift"])
        for p in row["points"]
    ]
    verdict = judge(points, files, pictures=3)
    smooth = {step: float(np.mean(row["losses"][max(0, step - 20) : step])) for step in files}
    return {
        "named by the run": verdict.best.step if verdict else files[-1],
        "last": files[-1],
        "lowest training loss": min(smooth, key=lambda step: smooth[step]),
    }


def report(rows: Sequence[Row]) -> None:
    """A line per run and the sums."""
    hits: dict[str, int] = {}
    for row in rows:
        losses = {int(step): known["distance"] + known["change"] for step, known in row["files"].items()}
        best = min(losses, key=lambda step: losses[step])
        chosen = choices(row)
        for way, step in chosen.items():
            hits[way] = hits.get(way, 0) + (losses[step] <= NEAR * losses[best])
        told = ", ".join(f"{way} {step} ({losses[step] / losses[best]:.2f})" for way, step in chosen.items())
        print(f"{row['name']:24} best {best:3} ({losses[best]:.3f}); {told}")
    for way, count in hits.items():
        print(f"{way:24} within a tenth of the best: {count} of {len(rows)}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    wanted = [
        (name, changes)
        for name, changes in runs()
        if not args.report or (args.work / f"{name}.json").exists()
    ]
    report([studied(name, changes, args.work) for name, changes in wanted])


if __name__ == "__main__":
    main()
