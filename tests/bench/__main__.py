"""Our figures beside sd-scripts': python -m tests.bench [--sd-scripts FOLDER] [--json FILE] [--full] [--gpu].

Each case is trained by ours and by sd-scripts in turn (A B A B …), in processes of their own, at equal
precision; the table has medians and the median of the pairs' ratios. Nothing of sd-scripts is in this
repository: give the folder of a checkout, and with --packages a folder that holds the packages it needs.
Without it the table has ours alone. A quiet machine is wanted: the load is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from tests.bench.trainings import Case, Place, Used, ours, theirs

CASES = (
    Case("bf16"),
    Case("fp32", "no"),
    Case("bf16, text encoder too", changes={"text_encoder_lr": 1e-4}, flags=()),
    Case(
        "bf16, checkpointed",
        changes={"gradient_checkpointing": True},
        flags=("--network_train_unet_only", "--gradient_checkpointing"),
    ),
    Case(
        "fp32, checkpointed",
        "no",
        changes={"gradient_checkpointing": True},
        flags=("--network_train_unet_only", "--gradient_checkpointing"),
    ),
    *(
        Case(f"bf16, {kind}", changes={"LoRA_type": f"LyCORIS/{kind}"}, has_other=False)
        for kind in ("LoHa", "LoKr", "GLoRA", "Diag-OFT")
    ),
    Case("bf16, DoRA", changes={"LoRA_type": "LyCORIS/LoCon", "dora_wd": True}, has_other=False),
)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of sd-scripts")
    parser.add_argument("--packages", type=Path, help="a folder with the packages that sd-scripts needs")
    parser.add_argument("--tokenizers", type=Path, help="a folder of tokenizers for sd-scripts")
    parser.add_argument("--checkpoint", type=Path, help="a Stable Diffusion 1.x file; else one is made")
    parser.add_argument("--full", action="store_true", help="full size (2 GB) instead of tiny")
    parser.add_argument("--gpu", action="store_true", help="on the card, which must be there")
    parser.add_argument("--only", default="", help="cases whose name is this, or has it in it")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures there")
    chosen = parser.parse_args()
    if chosen.sd_scripts and not (chosen.full or chosen.checkpoint):
        parser.error("sd-scripts knows the real sizes alone: add --full, or give a --checkpoint")
    return chosen


def make_pictures(folder: Path, side: int) -> Path:
    """Four pictures with captions, as noisy as pictures can be."""
    (folder / "1_thing").mkdir(parents=True)
    for number in range(4):
        Image.effect_noise((side, side), 80).convert("RGB").save(folder / "1_thing" / f"{number}.png")
        (folder / "1_thing" / f"{number}.txt").write_text("a photo of a thing", encoding="utf-8")
    return folder


def measure(case: Case, place: Place, pairs: int) -> dict[str, Any]:
    """All figures of a case: each training's, medians, and ratios of the pairs."""
    found: dict[str, list[Used]] = {"ours": [], "theirs": []}
    loads = []
    for _ in range(pairs):
        loads.append(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
        found["ours"].append(ours(case, place))
        if place.sd_scripts and case.has_other:
            found["theirs"].append(theirs(case, place))
    names = [one.name for one in fields(Used)]
    medians = {
        who: {name: median(getattr(one, name) for one in runs) for name in names}
        for who, runs in found.items()
        if runs
    }
    couples = list(zip(found["ours"], found["theirs"], strict=False))
    ratios = {
        name: median(getattr(a, name) / getattr(b, name) for a, b in couples)
        for name in names
        if couples and all(getattr(b, name) for _, b in couples)
    }
    runs = {who: [asdict(one) for one in several] for who, several in found.items()}
    return {"case": case.name, "medians": medians, "ratios": ratios, "load": max(loads), "runs": runs}


HEADINGS = {
    "step_cpu": "step, CPU s",
    "step_wall": "step, s",
    "peak_gb": "peak, GB",
    "card_gb": "card, GB",
    "start_cpu": "to first step, CPU s",
    "start_wall": "to first step, s",
}


def table(rows: Sequence[dict[str, Any]], *, gpu: bool) -> str:
    """Markdown: ours · sd-scripts' (ratio) in each cell."""
    shown = [name for name in HEADINGS if gpu or name != "card_gb"]
    lines = [
        f"| case | {' | '.join(HEADINGS[name] for name in shown)} | load |",
        f"|{'---|' * (len(shown) + 2)}",
    ]
    for row in rows:
        cells = []
        for name in shown:
            figures = [f"{medians[name]:.2f}" for medians in row["medians"].values()]
            ratio = f" (**{row['ratios'][name]:.2f}**)" if name in row["ratios"] else ""
            cells.append(" · ".join(figures) + ratio)
        lines.append(f"| {row['case']} | {' | '.join(cells)} | {row['load']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    chosen = arguments()
    if chosen.gpu:
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("There is no card here that torch can use.")
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    side = 512 if chosen.full or chosen.checkpoint else 64
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = chosen.checkpoint or Path(temporary) / "model.safetensors"
        if not chosen.checkpoint:
            size = ["--full"] if chosen.full else []
            make = [sys.executable, "-m", "tests.checkpoints", str(checkpoint), *size]
            subprocess.run(make, check=True)
        place = Place(
            checkpoint.resolve(),
            make_pictures(Path(temporary) / "pictures", side),
            chosen.tokenizers and chosen.tokenizers.resolve(),
            chosen.sd_scripts and chosen.sd_scripts.resolve(),
            chosen.packages and chosen.packages.resolve(),
            chosen.threads,
            side,
        )
        rows = []
        exact = [case for case in CASES if case.name == chosen.only]
        for case in exact or [case for case in CASES if chosen.only in case.name]:
            rows.append(measure(replace(case, steps=chosen.steps), place, chosen.pairs))
            print(table(rows[-1:], gpu=chosen.gpu).splitlines()[-1], flush=True)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {chosen.threads} used\n")
    print(table(rows, gpu=chosen.gpu))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
