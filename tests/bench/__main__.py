"""Our figures beside sd-scripts': python -m tests.bench [--full] [--sd-scripts FOLDER] [--only ROW] [--gpu].

Each row is done by ours and by sd-scripts in turn (A B A B …), in processes of their own, at equal precision;
the table has medians and the median of the pairs' ratios. Nothing of sd-scripts is in this repository: give
the folder of a checkout, and with --packages a folder that holds the packages it needs. Without it the table
has ours alone.

Every pair is written to --json FILE as soon as it is measured, so a long measurement can be made in pieces
(--only ROW --pairs 1) and shown as one table (--show). On a machine that does other things as well judge by
processor time; the load is in the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.bench.limits import seconds_at_best
from tests.bench.rows import MANY, ROWS, TINY, Row, make_pictures
from tests.bench.table import Pair, load, read_pairs, table
from tests.bench.trainings import Place

FULL_SIDE = 512
"""Pixels of a side at which Stable Diffusion 1.5 is measured."""


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of sd-scripts")
    parser.add_argument("--packages", type=Path, help="a folder with the packages that sd-scripts needs")
    parser.add_argument("--tokenizers", type=Path, help="a folder of tokenizers for sd-scripts")
    parser.add_argument("--checkpoint", type=Path, help="a Stable Diffusion 1.x file; else one is made")
    parser.add_argument("--full", action="store_true", help="full size (2 GB) instead of tiny")
    parser.add_argument("--gpu", action="store_true", help="on the card, which must be there")
    parser.add_argument("--only", default="", help="rows whose name is this, or has it in it")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="add each pair to this file")
    parser.add_argument("--show", action="store_true", help="measure nothing: the table of --json FILE")
    chosen = parser.parse_args()
    if chosen.show and not chosen.json:
        parser.error("--show needs --json FILE")
    return chosen


def rows_of(chosen: argparse.Namespace) -> list[Row]:
    """The rows that are wanted."""
    exact = [row for row in ROWS if row.name == chosen.only]
    rows = exact or [row for row in ROWS if chosen.only in row.name]
    real = chosen.full or chosen.checkpoint or not chosen.sd_scripts  # sd-scripts knows the real sizes alone
    return [row for row in rows if real or row.tiny]


def place_for(chosen: argparse.Namespace, folder: Path, rows: Sequence[Row]) -> Place:
    """The checkpoint and the pictures of all rows; those that no row wants are not made."""
    checkpoint = chosen.checkpoint or folder / "model.safetensors"
    if not chosen.checkpoint and not all(row.tiny for row in rows):
        size = ["--full"] if chosen.full else []
        subprocess.run([sys.executable, "-m", "tests.checkpoints", str(checkpoint), *size], check=True)
    if any(row.name == TINY for row in rows):
        make = [sys.executable, "-m", "tests.bench.small_folder", str(folder / "tiny")]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    side = FULL_SIDE if chosen.full or chosen.checkpoint else 64
    given = {name: path and path.resolve() for name, path in vars(chosen).items() if isinstance(path, Path)}
    return Place(
        checkpoint=checkpoint.resolve(),
        pictures=make_pictures(folder / "pictures", side),
        tokenizers=given.get("tokenizers"),
        sd_scripts=given.get("sd_scripts"),
        packages=given.get("packages"),
        threads=chosen.threads,
        side=side,
        tiny=folder / "tiny",
        many=make_many(folder / "many") if any(row.name.startswith(f"{MANY:,}") for row in rows) else None,
    )


def make_many(folder: Path) -> Path:
    """JPEGs of a few sizes with captions: copies of one another, for their sizes are all that is read."""
    place = folder / "1_thing"
    place.mkdir(parents=True)
    sizes = [(512, 512), (640, 448), (448, 640), (768, 512)]
    for number in range(MANY):
        path = place / f"{number}.jpg"
        if number < len(sizes):
            Image.effect_noise(sizes[number], 80).convert("RGB").save(path)
        else:
            path.write_bytes((place / f"{number % len(sizes)}.jpg").read_bytes()[:20_000] + b"\xff\xd9")
        path.with_suffix(".txt").write_text(f"a photo of thing {number}", encoding="utf-8")
    return folder


def measure(row: Row, place: Place, device: str) -> Pair:
    """One pair."""
    before = load()
    ours = row.ours(place)
    theirs = row.theirs(place) if row.theirs and place.sd_scripts else {}
    if row.limit and place.side == FULL_SIDE:
        best = seconds_at_best(place.side, row.limit, device, place.threads)
        for figures in (ours, theirs) if theirs else (ours,):
            figures["share"] = best / figures["step_wall" if device == "cuda" else "step_cpu"]
    return Pair(row.name, ours, theirs, (before + load()) / 2, place.threads)


def main() -> None:
    """Measure and print."""
    chosen = arguments()
    rows = rows_of(chosen)
    if chosen.show:
        print(table(read_pairs(chosen.json), rows, gpu=chosen.gpu))
        return
    if chosen.gpu:
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("There is no card here that torch can use.")
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = place_for(chosen, Path(temporary), rows)
        for _ in range(chosen.pairs):
            for row in rows:
                pairs.append(measure(row, place, "cuda" if chosen.gpu else "cpu"))
                print(table(pairs[-1:], [row], gpu=chosen.gpu), flush=True)
                if chosen.json:
                    pairs[-1].write(chosen.json)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {chosen.threads} used\n")
    print(table(pairs, rows, gpu=chosen.gpu))


if __name__ == "__main__":
    main()
