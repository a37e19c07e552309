"""Captions: the text file beside a picture, and what each time of learning makes of it."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import escape as glob_escape
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from trainer.data.picture_files import Stamp, stamp_of
from trainer.files.reading import is_utf, readings

LONGEST_FILE = 1_000_000
"""Bytes of a caption file that are looked at; the longest captions have a few thousand."""
FILES_TO_GUESS, BYTES_TO_GUESS = 2_000, 50_000
"""So many captions of a folder are looked at for their encoding."""
DEFAULT_EXTENSION = ".caption"
CAPTION_ENDINGS = (".txt", ".caption")
"""Of files that lie beside pictures and hold their captions, whatever the settings say."""
NAMES = {
    "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32",
    "iso2022_jp": "ISO-2022-JP",
}  # fmt: skip
"""Of encodings that are read without a guess, as people know them."""


def extension(setting: str) -> str:
    """The ending of caption files by "Caption Extension": blank means .caption, "txt" means .txt.

    Never a path: captions lie beside their pictures.
    """
    text = re.split(r"[\\/]", setting)[-1].strip()
    if not text:
        return DEFAULT_EXTENSION
    return text if text.startswith(".") else f".{text}"


def decode_caption(data: bytes, file: Path | None = None) -> tuple[str, str]:
    """Text of a caption file, and how it was read: "" for UTF-8, else the encoding's name.

    Editors of older Windows write the encoding of its country, and some write UTF-16. One word may be of
    several: `file` says where it lies, and the captions beside it, which share one encoding, tell more.
    """
    for encoding, text in _likeliest_first(data, file):
        is_utf8 = encoding in ("utf-8", "utf-8-sig")
        return text.removeprefix("\ufeff"), "" if is_utf8 else NAMES.get(encoding, encoding)
    return data.decode("cp932", errors="replace"), "Shift-JIS"


_folders: dict[tuple[Path, str], tuple[int, int, str]] = {}
"""Folder and ending -> the folder's time, how many bytes told its encoding, and that."""


def encoding_of_folder(folder: Path, ending: str) -> str:
    """In which encoding all its captions that are not UTF-8 make the best sense together; "" for none.

    One that more text has told stays while the rest is saved anew, as UTF-8.
    """
    try:
        time = folder.stat().st_mtime_ns
        known = _folders.get((folder, ending))
        if known and known[0] == time:
            return known[2]
        text = b"\n".join(_not_utf(sorted(folder.glob(f"*{glob_escape(ending)}"))))
    except (OSError, ValueError):
        return ""
    found = [encoding for encoding, _ in readings(text)] if text else []
    size, told = len(text), found[0] if found else ""
    if known and known[1] > size and (known[2] in found or not found):
        size, told = known[1:]
    _folders[folder, ending] = time, size, told
    return told


def _not_utf(files: Iterable[Path]) -> Iterator[bytes]:
    """The contents that are not UTF-8, of so many files and bytes as a guess needs."""
    room = BYTES_TO_GUESS
    for file in islice(files, FILES_TO_GUESS):
        data = b"" if not file.is_file() or room <= 0 else _first_bytes(file)
        if data and not is_utf(data):
            room -= len(data)
            yield data


def _first_bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LONGEST_FILE)
    except OSError:
        return b""


def other_readings(file: Path) -> list[tuple[str, str]]:
    """Every encoding in which a caption file makes sense, the likeliest first, each with its first line."""
    return [(encoding, first_line(text)) for encoding, text in _likeliest_first(_first_bytes(file), file)]


def _likeliest_first(data: bytes, file: Path | None) -> list[tuple[str, str]]:
    """Every reading of a caption file, that of its folder before the others."""
    found = readings(data)
    beside = encoding_of_folder(file.parent, file.suffix) if file and len(found) > 1 else ""
    return sorted(found, key=lambda reading: reading[0] != beside)


def first_line(text: str) -> str:
    """The line that is the caption: the first that is not blank, or "" where that has nothing but commas."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if line.strip(NO_WORDS) else ""


def lines_of(text: str) -> str:
    """All lines that are not blank: of several, one is taken by chance each time ("enable_wildcard")."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


NO_WORDS = " ,.;\t\0\u3000\u3001\u3002\uff0c\uff0e\uff1b"
"""What a caption is not made of: commas, stops and blanks, of Japanese and Chinese keyboards too."""


def _beginning(entry: os.DirEntry[str]) -> bytes:
    """A caption file's content. Raises OSError, also for what is no file (a pipe would wait forever)."""
    if not entry.is_file():
        raise OSError("no file")
    with Path(entry.path).open("rb") as file:
        return file.read(LONGEST_FILE)


class _Read(NamedTuple):
    """A caption file that was read."""

    stamp: Stamp
    text: str
    encoding: str
    beside: str
    """The encoding of its folder then; "" for UTF-8, which is read the same beside whatever."""


_captions: dict[str, _Read] = {}


def caption_of(entry: os.DirEntry[str], *, all_lines: bool = False) -> tuple[str, str]:
    """Caption in a file ("" where it is empty or cannot be read), and how it was read ("": as UTF-8).

    Remembered until the file's time or size changes, or how its folder is read.
    """
    try:
        stamp = stamp_of(entry)
        known = _captions.get(entry.path)
        if known is None or known.stamp != stamp or known.beside != _beside(entry.path, known.encoding):
            text, encoding = decode_caption(_beginning(entry), Path(entry.path))
            known = _Read(stamp, lines_of(text), encoding, _beside(entry.path, encoding))
            _captions[entry.path] = known
    except OSError:
        return "", ""
    return (known.text if all_lines else first_line(known.text)), known.encoding


def _beside(path: str, encoding: str) -> str:
    if not encoding:
        return ""
    file = Path(path)
    return encoding_of_folder(file.parent, file.suffix)


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
    return CaptionRule(shuffle=shuffle, keep_tokens=keep_tokens).words(caption, rng)


@dataclass(frozen=True)
class CaptionRule:
    """What happens to a caption each time it is learned: sd-scripts' caption options, under its names."""

    shuffle: bool = False
    keep_tokens: int = 0
    dropout_rate: float = 0.0
    dropout_every_n_epochs: int = 0
    tag_dropout_rate: float = 0.0
    """Chance of each part (that may move) to be left out."""
    keep_tokens_separator: str = ""
    """Mark in captions: parts before it and behind a second one keep their place."""
    secondary_separator: str = ""
    """Mark in captions that becomes a separator in the end: what it joins moves together."""
    separator: str = ","
    prefix: str = ""
    suffix: str = ""
    enable_wildcard: bool = False
    """One of several lines, and one of {this|that}, is taken by chance."""
    token_warmup_step: float = 0
    """Steps (below 1: share of all steps) over which captions grow to their full length."""
    token_warmup_min: int = 1

    def process(self, caption: str, rng: random.Random, *, epoch: int, step: int, total_steps: int) -> str:
        """The caption as it is learned at this epoch (from 1) and step (from 0)."""
        if is_dropped(self.dropout_rate, self.dropout_every_n_epochs, epoch, rng):
            return ""
        whole = " ".join(part for part in (self.prefix, caption, self.suffix) if part)
        return self.words(whole, rng, step=step, total_steps=total_steps)

    def words(self, caption: str, rng: random.Random, *, step: int = 0, total_steps: int = 0) -> str:
        """The caption, not dropped."""
        text = _chosen(caption, rng) if self.enable_wildcard else caption.partition("\n")[0]
        if self.shuffle or self.token_warmup_step or self.tag_dropout_rate:
            first, moving, last = self._parts(text)
            moving = moving[: self._length(len(moving), step, total_steps)]
            if self.shuffle:
                rng.shuffle(moving)
            if self.tag_dropout_rate:
                moving = [part for part in moving if rng.random() >= self.tag_dropout_rate]
            text = ", ".join([*first, *moving, *last])
        return text.replace(self.secondary_separator, self.separator) if self.secondary_separator else text

    def _parts(self, text: str) -> tuple[list[str], list[str], list[str]]:
        """Parts that stay at the front, that may move, and that stay at the end."""
        mark = self.keep_tokens_separator
        if mark and mark in text:
            front, _, rest = text.partition(mark)
            middle, _, end = rest.partition(mark)
            first, moving, last = (
                [part for part in self._split(piece) if part] for piece in (front, middle, end)
            )
            return first, moving, last
        parts = self._split(text.strip())
        return parts[: self.keep_tokens], parts[self.keep_tokens :], []

    def _split(self, text: str) -> list[str]:
        return [part.strip() for part in text.split(self.separator)]

    def _length(self, parts: int, step: int, total_steps: int) -> int:
        """How many of the moving parts are learned at this step."""
        end = self.token_warmup_step
        end = math.floor(end * total_steps) if end < 1 else end
        if step >= end:
            return parts
        return math.floor(step * ((parts - self.token_warmup_min) / end)) + self.token_warmup_min


def _chosen(caption: str, rng: random.Random) -> str:
    """One line, and one of the words in each {this|that}; doubled brackets are plain ones."""
    line = rng.choice(caption.split("\n")) if "\n" in caption else caption
    hidden = line.replace("{{", "\0").replace("}}", "\1")
    text = re.sub(r"\{([^}]+)\}", lambda match: rng.choice(match[1].split("|")), hidden)
    return text.replace("\0", "{").replace("\1", "}")
