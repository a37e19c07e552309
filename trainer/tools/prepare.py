"""Pictures into the folder layout that training reads: img/10_sks cat, reg/1_cat, log, model.

First everything is listed (`preparation_of`), then done (`carry_out`). Originals are copied or linked, never
moved or changed; what is there already stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

from trainer.data.captions import CAPTION_ENDINGS
from trainer.data.folders import listing
from trainer.data.picture_files import UnreadableError, header_of, is_picture
from trainer.errors import UserError
from trainer.files.whole_file import partial_of
from trainer.tools.lora_files import Progress, silent

CopyMode = Literal["copy", "link"]
Format = Literal["as it is", "png", "jpg", "webp"]
OUTPUT_FOLDERS = ("img", "reg", "log", "model")
QUALITY = 95
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class CopyOptions:
    """How files get there."""

    how: CopyMode = "copy"
    longest_side: int = 0
    """Pixels; larger pictures are made smaller. 0: as they are."""
    format: Format = "as it is"


@dataclass(frozen=True)
class TrainingFolder:
    """A folder of pictures and the training folder that they go into."""

    folder: Path
    name: str
    """ "10_sks cat"."""
    parent: Literal["img", "reg"] = "img"


@dataclass(frozen=True)
class FileStep:
    """One file to be made."""

    source: Path
    target: Path
    drawn: bool = False
    """Whether the picture is made smaller or converted, not copied as it is."""


@dataclass(frozen=True)
class Preparation:
    """What would be done."""

    root: Path
    folders: tuple[Path, ...]
    steps: tuple[FileStep, ...]
    left_out: tuple[tuple[Path, str], ...] = ()
    """Files that are not taken, and why: reasons of UnreadableError, or "there" for what exists already."""
    options: CopyOptions = CopyOptions()

    @property
    def pictures(self) -> int:
        return sum(is_picture(step.target.name) for step in self.steps)

    @property
    def size(self) -> int:
        """Bytes that are copied; of pictures that are drawn anew, the original's."""
        return sum(step.source.stat().st_size for step in self.steps) if self.options.how == "copy" else 0


def training_folder_name(repeats: int, *words: str) -> str:
    """ "10_sks cat". Raises UserError where the words cannot stand in a folder's name."""
    text = " ".join(filter(None, (word.strip() for word in words)))
    if any(sign in text for sign in '/\\:*?"<>|') or text.endswith("."):
        raise UserError("tools.prepare_words", "instance_prompt", text=text)
    return f"{repeats}_{text}"


def preparation_of(root: Path, sources: Iterable[TrainingFolder], options: CopyOptions) -> Preparation:
    """Everything that would be made below `root`. Raises UserError for a folder without pictures."""
    steps: list[FileStep] = []
    left_out: list[tuple[Path, str]] = []
    folders = [root / name for name in OUTPUT_FOLDERS]
    for source in sources:
        target = root / source.parent / source.name
        folders.append(target)
        found = list(_pictures(source.folder, root))
        if not found:
            setting = "reg_pictures" if source.parent == "reg" else "pictures"
            raise UserError("tools.prepare_no_pictures", setting, path=str(source.folder))
        taken: set[str] = set()
        for entry in found:
            path = Path(entry.path)
            try:
                header = header_of(entry)
            except UnreadableError as error:
                left_out.append((path, str(error)))
                continue
            drawn = options.format != "as it is" or 0 < options.longest_side < max(
                header.width, header.height
            )
            made = target / _free(_target_name(path, options), taken)
            if made.exists():
                left_out.append((path, "there"))
                continue
            steps.append(FileStep(path, made, drawn))
            steps += _captions(path, made)
    return Preparation(root, tuple(folders), tuple(steps), tuple(left_out), options)


def _pictures(folder: Path, outside: Path) -> Iterator[os.DirEntry[str]]:
    """Pictures of a folder and of those in it, but not of the one that is being made."""
    for entry in listing(folder):
        if entry.is_dir():
            if Path(entry.path) != outside:
                yield from _pictures(Path(entry.path), outside)
        elif is_picture(entry.name):
            yield entry


def _target_name(path: Path, options: CopyOptions) -> str:
    return path.name if options.format == "as it is" else path.stem + SUFFIXES[options.format]


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where another picture (or its caption) has it already; case does not count."""
    stem, dot, ending = name.rpartition(".")
    names = (name, *(f"{stem}-{number}{dot}{ending}" for number in range(2, len(taken) + 3)))
    free = next(one for one in names if one.rpartition(".")[0].casefold() not in taken)
    taken.add(free.rpartition(".")[0].casefold())
    return free


def _captions(picture: Path, made: Path) -> Iterator[FileStep]:
    for ending in CAPTION_ENDINGS:
        if (caption := picture.with_suffix(ending)).is_file():
            yield FileStep(caption, made.with_suffix(ending))


def carry_out(preparation: Preparation, report: Progress = silent) -> int:
    """Make the folders and files; returns how many pictures there are now. Stopped, what is done stays.

    Raises OSError with `filename` set (full disk, no right), UserError for a picture that cannot be decoded.
    """
    for folder in preparation.folders:
        folder.mkdir(parents=True, exist_ok=True)
    for done, step in enumerate(preparation.steps):
        report(done, len(preparation.steps))
        _make(step, preparation.options)
    report(len(preparation.steps), len(preparation.steps))
    return preparation.pictures


def _make(step: FileStep, options: CopyOptions) -> None:
    """One file, whole or not at all; nothing is replaced."""
    if options.how == "link" and not step.drawn and is_picture(step.target.name):  # captions may be edited
        with suppress(OSError):  # another disk, or a file system without links: a copy then
            step.target.hardlink_to(step.source)
            return
    partial = partial_of(step.target)
    try:
        if step.drawn:
            _draw(step, partial, options)
        else:
            shutil.copy2(step.source, partial)
        partial.replace(step.target)
    finally:
        partial.unlink(missing_ok=True)


def _draw(step: FileStep, into: Path, options: CopyOptions) -> None:
    """The picture upright, at most `longest_side` large, in the wanted format (losslessly but for JPEG)."""
    try:
        with Image.open(step.source) as image:
            icc = image.info.get("icc_profile")
            upright = ImageOps.exif_transpose(image)
            kind = Image.registered_extensions()[step.target.suffix.lower()]
            if kind == "JPEG":
                upright = upright.convert("RGB")
            if options.longest_side:
                upright.thumbnail((options.longest_side, options.longest_side), Image.Resampling.LANCZOS)
            lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": QUALITY}}.get(kind, {})
            upright.save(into, kind, icc_profile=icc, **lossless)
    except (SyntaxError, ValueError) as error:
        raise UserError("tools.no_picture", "pictures", name=step.source.name) from error
