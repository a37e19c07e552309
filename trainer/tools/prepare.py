"""Pictures into the folder layout that training reads: img/10_sks cat, reg/1_cat, log, model.

First everything is listed (`preparation_of`), then done (`carry_out`). Originals are copied or linked, never
moved or changed; what is there already stays.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainer.data.captions import CAPTION_ENDINGS
from trainer.data.picture_files import PictureHeader, UnreadableError, header_of, is_picture
from trainer.errors import UserError
from trainer.files.paths import FORBIDDEN, LONGEST_FILE_NAME, visible
from trainer.tools.earlier_copies import is_copy
from trainer.tools.lora_files import Progress, silent
from trainer.tools.picture_copies import CopyOptions, FileStep, make_files
from trainer.tools.picture_walk import PicturesBelow, pictures_below

OUTPUT_FOLDERS = ("img", "reg", "log", "model")


@dataclass(frozen=True)
class TrainingFolder:
    """A folder of pictures and the training folder that they go into."""

    folder: Path
    name: str
    """ "10_sks cat"."""
    parent: Literal["img", "reg"] = "img"


@dataclass(frozen=True)
class Preparation:
    """What would be done."""

    root: Path
    folders: tuple[Path, ...]
    steps: tuple[FileStep, ...]
    left_out: tuple[tuple[Path, str], ...] = ()
    """Files that are not taken, and why: reasons of UnreadableError, or "taken" for names of other files."""
    there: tuple[Path, ...] = ()
    """Pictures whose copies are there already, as they would be made."""
    animations: tuple[Path, ...] = ()
    """Pictures of several frames, of which only the first is learned."""
    not_read: tuple[tuple[Path, list[str]], ...] = ()
    """Folders with pictures of kinds that are not read, and which: [".heic (12)"]."""
    options: CopyOptions = field(default_factory=CopyOptions)

    @property
    def changed_folders(self) -> list[Path]:
        """The folders that are made, or get files."""
        filled = {step.target.parent for step in self.steps}
        return [folder for folder in self.folders if folder in filled or not folder.is_dir()]

    @property
    def pictures(self) -> int:
        return sum(is_picture(step.target.name) for step in self.steps)

    @property
    def size(self) -> int:
        """Bytes that are copied; of pictures that are drawn anew, the original's."""
        return sum(step.source.stat().st_size for step in self.steps) if self.options.how == "copy" else 0

    @property
    def known_size(self) -> int:
        """Bytes that are written for certain: what is drawn anew may become smaller or larger."""
        copied = self.options.how == "copy"
        return sum(step.source.stat().st_size for step in self.steps if copied and not step.drawn)


def training_folder_name(repeats: int, **words: str) -> str:
    """ "10_sks cat". Raises UserError at the setting whose words cannot stand in a folder's name."""
    filled = {setting: text for setting, word in words.items() if (text := word.strip())}
    for setting, text in filled.items():
        at_end = setting == [*filled][-1]
        if FORBIDDEN.search(text) or visible(text) != text or (at_end and text.endswith(".")):
            raise UserError("tools.prepare_words", setting, text=text[:100])
        if len(text.encode()) > LONGEST_FILE_NAME // 2:
            raise UserError("tools.prepare_words_long", setting, text=f"{text[:40]}…")
    return f"{repeats}_{' '.join(filled.values())}"


def preparation_of(root: Path, sources: Sequence[TrainingFolder], options: CopyOptions) -> Preparation:
    """Everything that would be made below `root`. Raises UserError for a folder without pictures, OSError."""
    steps: list[FileStep] = []
    there: list[Path] = []
    animations: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    not_read: list[tuple[Path, list[str]]] = []
    targets = [root / source.parent / source.name for source in sources]
    made = [root / "img", root / "reg", *targets, *(source.folder for source in sources)]
    for source, target in zip(sources, targets, strict=True):
        below = pictures_below(source.folder, made if _is_same(root, source.folder) else [root, *made])
        left_out += [(folder, "no_access") for folder in below.closed]
        if below.kinds:
            not_read.append((source.folder, below.kinds))
        if not below.entries:
            raise _no_pictures(source, below)
        pictures = list(_readable(below, left_out))
        places = _Places(target, options, pictures)
        for entry, header in pictures:
            path, place = Path(entry.path), places.of[entry.path]
            if place.exists() and entry.path not in places.made:
                left_out.append((path, "taken"))
                continue
            if entry.path in places.made:
                there.append(path)
            else:
                steps.append(FileStep(path, place, options.draws(header)))
                animations += [path] * header.animated
            steps += _captions(path, place)
    folders = (*(root / name for name in OUTPUT_FOLDERS), *targets)
    return Preparation(
        root,
        folders,
        tuple(steps),
        tuple(left_out),
        tuple(there),
        tuple(animations),
        tuple(not_read),
        options,
    )


def _is_same(one: Path, two: Path) -> bool:
    return one.resolve() == two.resolve()


def _no_pictures(source: TrainingFolder, below: PicturesBelow) -> UserError:
    setting = "reg_pictures" if source.parent == "reg" else "pictures"
    code = "tools.pictures_of_other_kinds" if below.kinds else "tools.prepare_no_pictures"
    return UserError(code, setting, path=str(source.folder), kinds=below.kinds)


def _readable(
    below: PicturesBelow, left_out: list[tuple[Path, str]]
) -> Iterator[tuple[os.DirEntry[str], PictureHeader]]:
    for entry in below.entries:
        header = _header(entry)
        if isinstance(header, PictureHeader):
            yield entry, header
        else:
            left_out.append((Path(entry.path), header))


def _header(entry: os.DirEntry[str]) -> PictureHeader | str:
    """A picture's header, or why it has none."""
    try:
        return header_of(entry)
    except UnreadableError as error:
        return str(error)


class _Places:
    """A place in a folder for each picture: where an earlier run has put it, else under a name of its own.

    Names are numbered where another picture (or its caption) has them already; case does not count.
    """

    def __init__(
        self, folder: Path, options: CopyOptions, pictures: Sequence[tuple[os.DirEntry[str], PictureHeader]]
    ) -> None:
        self.of: dict[str, Path] = {}
        """Path of a picture -> its place."""
        names = {entry.path: options.name(Path(entry.path)) for entry, _ in pictures}
        wanted, taken = Counter(map(_stem, names.values())), set[str]()
        there = {_stem(made.name) for made in folder.iterdir()} if folder.is_dir() else set[str]()
        for entry, header in pictures:
            alone = wanted[_stem(names[entry.path])] == 1
            for name in _names(names[entry.path], len(pictures)):
                place = folder / name
                if _stem(name) not in there:
                    break
                is_free = _stem(name) not in taken and place.exists()
                if is_free and is_copy(entry, place, header, options, alone=alone):
                    taken.add(_stem(name))
                    self.of[entry.path] = place
                    break
        self.made = frozenset(self.of)
        """Pictures whose places hold their copies."""
        for path, wanted_name in names.items():
            if path not in self.of:
                free = _names(wanted_name, len(pictures))
                name = next(name for name in free if _stem(name) not in taken)
                taken.add(_stem(name))
                self.of[path] = folder / name


def _names(name: str, most: int) -> Iterator[str]:
    """ "a.png", "a-2.png", "a-3.png" …"""
    stem, dot, ending = name.rpartition(".")
    yield name
    yield from (f"{stem}-{number}{dot}{ending}" for number in range(2, most + 2))


def _stem(name: str) -> str:
    return name.rpartition(".")[0].casefold()


def _captions(picture: Path, place: Path) -> Iterator[FileStep]:
    for ending in CAPTION_ENDINGS:
        caption = picture.with_suffix(ending)
        if caption.is_file() and not place.with_suffix(ending).exists():
            yield FileStep(caption, place.with_suffix(ending))


def carry_out(preparation: Preparation, report: Progress = silent) -> list[Path]:
    """Make the folders and files; returns the pictures that could not be decoded. What is done stays.

    Raises OSError (full disk, no right).
    """
    for folder in preparation.folders:
        folder.mkdir(parents=True, exist_ok=True)
    return make_files(preparation.steps, preparation.options, report)
