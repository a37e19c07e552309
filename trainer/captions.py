"""Captions: the text file beside a picture, and what each time of learning makes of it."""

from __future__ import annotations

import random
from pathlib import Path

DEFAULT_EXTENSION = ".caption"


def extension(setting: str) -> str:
    """The ending of caption files by "Caption Extension": blank means .caption, "txt" means .txt."""
    text = setting.strip()
    if not text:
        return DEFAULT_EXTENSION
    return text if text.startswith(".") else f".{text}"


def decode(data: bytes) -> tuple[str, bool]:
    """Text of a caption file, and whether it was UTF-8.

    Editors on Japanese Windows still write Shift-JIS (cp932), and some write UTF-16 with its mark.
    """
    for encoding in ("utf-8-sig", "utf-16") if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig",):
        try:
            return data.decode(encoding), encoding == "utf-8-sig"
        except UnicodeDecodeError:
            continue
    return data.decode("cp932", errors="replace"), False


def first_line(text: str) -> str:
    """The line that is the caption: the first that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def read_caption(path: Path) -> tuple[str, bool]:
    """Caption in a file ("" where it is empty), and whether the file was UTF-8. Raises OSError."""
    text, is_utf8 = decode(path.read_bytes())
    return first_line(text), is_utf8


def is_dropped(rate: float, every_n_epochs: int, epoch: int, rng: random.Random) -> bool:
    """Whether a caption is left out this time.

    `rate` is "Rate of caption dropout"; `every_n_epochs` "Dropout caption every n epochs": with 2, the
    2nd, 4th, 6th … epoch (`epoch` counts from 1).
    """
    by_chance = rate > 0 and rng.random() < rate
    return by_chance or (every_n_epochs > 0 and epoch % every_n_epochs == 0)


def process(caption: str, *, shuffle: bool, keep_tokens: int, drop: bool, rng: random.Random) -> str:
    """The caption as it is learned this time.

    `shuffle` mixes the parts between commas ("Shuffle caption"); the first `keep_tokens` of them keep
    their place ("Keep n tokens"). `drop` gives no words at all (see `is_dropped`).
    """
    if drop:
        return ""
    if not shuffle:
        return caption
    parts = [part.strip() for part in caption.strip().split(",")]
    kept, moving = parts[:keep_tokens], parts[keep_tokens:]
    rng.shuffle(moving)
    return ", ".join(kept + moving)
