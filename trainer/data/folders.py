"""The training pictures: which there are, how large, how often, with which caption."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from trainer.data.captions import caption_of
from trainer.data.captions import extension as caption_ending
from trainer.data.picture_files import (
    EXTENSIONS,
    OTHER_PICTURES,
    PictureHeader,
    Stamp,
    UnreadableError,
    header_of,
    is_picture,
    stamp_of,
)
from trainer.files.paths import can_exist, is_closed

MOST_REPEATS = 100_000
"""More is a date or another number in the folder's name, not a count of repeats."""
NO_CAPTIONS = frozenset((".npz", ".safetensors", ".json", ".db", ".ini"))
"""Endings of files beside pictures that surely are no captions."""
NEVER_WRITTEN = NO_CAPTIONS | OTHER_PICTURES | frozenset(EXTENSIONS)
"""Endings of files into which no caption is written, whatever the settings say."""


@dataclass(frozen=True)
class TrainImage:
    """One training picture."""

    path: Path
    folder: str
    """Name of its folder, as "10_sks cat"."""
    repeats: int
    """Times per epoch."""
    class_tokens: str
    """The words in the folder's name: the caption of pictures without one."""
    caption: str
    caption_found: bool
    width: int
    """After turning it upright, as `height`."""
    height: int
    is_reg: bool = False
    subset: tuple[int, int] = (0, 0)
    """Numbers of its dataset and its subset there; without a dataset file there is one."""
    caption_path: Path | None = None
    """Where its caption file is, or would be."""


class Ignored(NamedTuple):
    """A folder that is not read. `reason`: "no_number", "zero_repeats", "many_repeats", "empty", "nested",
    "no_access" or "missing".
    """

    name: str
    reason: str
    pictures: int


class Broken(NamedTuple):
    """A picture that cannot be read; `reason` as in UnreadableError."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FolderScan:
    """What an Image folder holds."""

    images: tuple[TrainImage, ...] = ()
    broken: tuple[Broken, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    loose: int = 0
    """Pictures directly in the folder, where none is read."""
    extensions: Counter[str] = field(default_factory=Counter)
    """Endings of the text files beside pictures."""
    blank_captions: tuple[Path, ...] = ()
    odd_captions: Mapping[Path, str] = field(default_factory=dict)
    """Caption files that are not UTF-8, and as what they were read."""
    not_read: Counter[str] = field(default_factory=Counter)
    """Endings of pictures of kinds that are not read."""
    transparent: int = 0
    animated: int = 0

    @property
    def captions_found(self) -> int:
        """Pictures with a caption of their own."""
        return sum(image.caption_found for image in self.images)


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures and what its name, or a dataset file, says of it."""

    path: Path
    repeats: int
    class_tokens: str
    ending: str
    """Of the caption files."""
    is_reg: bool = False
    subset: tuple[int, int] = (0, 0)
    """Numbers of the dataset and the subset in it."""
    all_lines: bool = False
    """Captions are all lines that are not blank ("enable_wildcard"), not only the first."""


def repeats_and_words(name: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder's name: "10_sks cat" is (10, "sks cat"). None: no number."""
    number, _, words = name.partition("_")
    try:
        return int(number), words
    except ValueError:
        return None


def scan_folder(root: Path, caption_extension: str, *, is_reg: bool = False) -> FolderScan:
    """All that an Image folder or Regularisation folder holds, sorted by name.

    Never raises for what is in it; raises OSError where the folder itself cannot be read.
    `caption_extension` is the setting (blank = .caption).
    """
    ending = caption_ending(caption_extension)
    parts: list[FolderScan] = []
    loose = 0
    for entry in listing(root):
        if _is_folder(entry):
            parts += _scan_subfolder(entry, ending, is_reg)
        else:
            loose += is_picture(entry.name)
    return replace(merged(parts), loose=loose)


def merged(parts: Iterable[FolderScan]) -> FolderScan:
    """Several scans as one."""
    scans = list(parts)
    return FolderScan(
        images=tuple(image for scan in scans for image in scan.images),
        broken=tuple(broken for scan in scans for broken in scan.broken),
        ignored=tuple(ignored for scan in scans for ignored in scan.ignored),
        loose=sum(scan.loose for scan in scans),
        extensions=sum((scan.extensions for scan in scans), Counter()),
        blank_captions=tuple(path for scan in scans for path in scan.blank_captions),
        odd_captions={path: name for scan in scans for path, name in scan.odd_captions.items()},
        not_read=sum((scan.not_read for scan in scans), Counter()),
        transparent=sum(scan.transparent for scan in scans),
        animated=sum(scan.animated for scan in scans),
    )


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name. Raises OSError."""
    if not can_exist(str(folder)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder)[:200])
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:
        return False


def _scan_subfolder(folder: os.DirEntry[str], ending: str, is_reg: bool) -> list[FolderScan]:
    try:
        entries = listing(Path(folder.path))
    except OSError:
        return [FolderScan(ignored=(Ignored(folder.name, "no_access", 0),))]
    nested = tuple(
        Ignored(f"{folder.name}/{entry.name}", "nested", count)
        for entry in entries
        if _is_folder(entry) and (count := _count_pictures(entry))
    )
    named = repeats_and_words(folder.name)
    if named is None or not 1 <= named[0] <= MOST_REPEATS:
        repeats = named[0] if named else 0
        reason = "no_number" if named is None else "zero_repeats" if repeats < 1 else "many_repeats"
        pictures = sum(is_picture(entry.name) for entry in entries)
        return [FolderScan(ignored=(Ignored(folder.name, reason, pictures), *nested))]
    scan = scan_pictures(entries, PictureFolder(Path(folder.path), *named, ending, is_reg))
    empty = () if scan.images or scan.broken else (Ignored(folder.name, "empty", 0),)
    return [replace(scan, ignored=(*empty, *nested))]


def _count_pictures(folder: os.DirEntry[str]) -> int:
    try:
        return sum(is_picture(entry.name) for entry in listing(Path(folder.path)))
    except OSError:
        return 0


_scans: dict[PictureFolder, tuple[list[tuple[str, Stamp]], FolderScan]] = {}


def scan_pictures(entries: Sequence[os.DirEntry[str]], place: PictureFolder) -> FolderScan:
    """The pictures among a folder's entries, with their captions; remembered until a file changes."""
    stamps = [(entry.name, _stamp_or_none(entry)) for entry in entries]
    known = _scans.get(place)
    if known is None or known[0] != stamps:
        known = _scans[place] = stamps, _scan_afresh(entries, place)
    return known[1]


def _stamp_or_none(entry: os.DirEntry[str]) -> Stamp:
    try:
        return stamp_of(entry)
    except OSError:
        return 0, -1


def _scan_afresh(entries: Sequence[os.DirEntry[str]], place: PictureFolder) -> FolderScan:
    files = {entry.name: entry for entry in entries}
    images: list[TrainImage] = []
    headers: list[PictureHeader] = []
    broken: list[Broken] = []
    blank: list[Path] = []
    odd: dict[Path, str] = {}
    for entry in entries:
        if not is_picture(entry.name):
            continue
        try:
            header = header_of(entry)
        except UnreadableError as error:
            broken.append(Broken(Path(entry.path), str(error)))
            continue
        beside = _beside(entry.name, place.ending, files)
        caption, encoding = caption_of(beside, all_lines=place.all_lines) if beside else ("", "")
        if beside and not caption:
            blank.append(Path(beside.path))
        if beside and encoding:
            odd[Path(beside.path)] = encoding
        written = Path(beside.path) if beside else place.path / (split_name(entry.name)[0] + place.ending)
        images.append(_train_image(Path(entry.path), place, caption, header, written))
        headers.append(header)
    return FolderScan(
        images=tuple(images),
        broken=tuple(broken),
        extensions=_text_endings(files),
        blank_captions=tuple(blank),
        odd_captions=odd,
        not_read=Counter(ending for name in files if (ending := split_name(name)[1]) in OTHER_PICTURES),
        transparent=sum(header.transparent for header in headers),
        animated=sum(header.animated for header in headers),
    )


def _train_image(
    path: Path, place: PictureFolder, caption: str, header: PictureHeader, caption_path: Path
) -> TrainImage:
    return TrainImage(
        path,
        place.path.name,
        place.repeats,
        place.class_tokens,
        caption or place.class_tokens,
        bool(caption),
        header.width,
        header.height,
        place.is_reg,
        place.subset,
        caption_path,
    )


def split_name(name: str) -> tuple[str, str]:
    """A file's name without its ending, and the ending in small letters."""
    stem, dot, ending = name.rpartition(".")
    return (stem, f".{ending.lower()}") if dot and stem else (name, "")


def _beside(name: str, ending: str, files: dict[str, os.DirEntry[str]]) -> os.DirEntry[str] | None:
    """The caption file of a picture."""
    stem = split_name(name)[0]
    return files.get(stem + ending) or files.get(stem + ending.upper())


def _text_endings(files: Iterable[str]) -> Counter[str]:
    """How many files of each other ending stand beside a picture of the same name."""
    stems = {split_name(name)[0] for name in files if is_picture(name)}
    others = (split_name(name) for name in files if not is_picture(name))
    return Counter(
        ending
        for stem, ending in others
        if stem in stems and ending and ending not in NO_CAPTIONS and ending not in OTHER_PICTURES
    )


def scan_places(places: Iterable[PictureFolder]) -> FolderScan:
    """The pictures of folders that are named one by one, as a dataset file does."""
    return merged(map(_scan_place, places))


def _scan_place(place: PictureFolder) -> FolderScan:
    try:
        scan = scan_pictures(listing(place.path), place)
        empty = () if scan.images or scan.broken else (Ignored(str(place.path), "empty", 0),)
        return replace(scan, ignored=empty)
    except OSError:
        reason = "no_access" if is_closed(place.path) or place.path.exists() else "missing"
        return FolderScan(ignored=(Ignored(str(place.path), reason, 0),))


def matched(reg_images: Sequence[TrainImage], pictures_per_epoch: int) -> tuple[TrainImage, ...]:
    """Regularisation pictures with their repeats set so that they come `pictures_per_epoch` times per
    epoch, as often as all training pictures together: no more, no less.

    Each is repeated as its folder says while there is room; further rounds add one each, in order.
    """
    left = pictures_per_epoch
    counts: list[int] = []
    for image in reg_images:
        counts.append(min(image.repeats, left))
        left -= counts[-1]
    rounds, rest = divmod(left, len(reg_images) or 1)
    return tuple(
        replace(image, repeats=count)
        for index, image in enumerate(reg_images)
        if (count := counts[index] + rounds + (index < rest))
    )
