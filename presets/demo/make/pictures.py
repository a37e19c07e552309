"""The training pictures of the demo LoRA: one character, twelve times, with captions."""

import random
from pathlib import Path

from .draw import draw_mascot

FOLDER_NAME = "10_sks mascot"
PICTURE_SIDE = 256  # pixels; training scales them down to the model's own size
GROUNDS = "white pink white blue yellow white green gray white purple white black".split()  # noqa: SIM905  # reads best


def mascot_caption(ground: str) -> str:
    """What a caption file says."""
    return f"sks mascot on a {ground} background"


def write_pictures(folder: Path, seed: int = 7) -> None:
    """Draw the twelve pictures and their captions into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number, ground in enumerate(GROUNDS, start=1):
        path = folder / f"mascot_{number:02d}.png"
        draw_mascot(ground, rng, PICTURE_SIDE).quantize(64).save(path, optimize=True)
        path.with_suffix(".txt").write_text(mascot_caption(ground) + "\n", encoding="utf-8")
