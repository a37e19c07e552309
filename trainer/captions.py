"""Captions: the text file beside a picture, and what each time of learning makes of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

from trainer.picture_files import Stamp, stamp_of

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
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", errors="replace"), False
    try:
        return data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return data.decode("cp932", errors="replace"), False


def first_line(text: str) -> str:
    """The line that is the caption: the first that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


_captions: dict[str, tuple[Stamp, tuple[str, bool]]] = {}


def caption_of(entry: os.DirEntry[str]) -> tuple[str, bool]:
    """Caption in a file ("" where it is empty or cannot be read), and whether it is UTF-8.

    Remembered until the file's time or size changes.
    """
    try:
        stamp = stamp_of(entry)
        known = _captions.get(entry.path)
        if known is None or known[0] != stamp:
            text, is_utf8 = decode(Path(entry.path).read_bytes())
            known = _captions[entry.path] = stamp, (first_line(text), is_utf8)
    except OSError:
        return "", True
    return known[1]


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
