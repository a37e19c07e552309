"""The pictures of a folder and of those in it, as tools take them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.folders import listing, split_name
from trainer.data.picture_files import OTHER_PICTURES, is_picture
from trainer.problems import counted, some_names

DEEPEST_FOLDER = 6
"""Levels of folders below the first one that are looked into."""


@dataclass
class PicturesBelow:
    """What a folder, and those in it, hold."""

    entries: list[os.DirEntry[str]] = field(default_factory=list)
    """Pictures: those of a folder by name, where it stands among them."""
    not_read: Counter[str] = field(default_factory=Counter)
    """Endings of pictures of kinds that are not read."""
    closed: list[Path] = field(default_factory=list)
    """Folders that may not be looked into."""

    @property
    def paths(self) -> list[Path]:
        return [Path(entry.path) for entry in self.entries]

    @property
    def kinds(self) -> list[str]:
        """[".gif (1)", ".heic (12)"]; [] where all are read."""
        return some_names(counted(self.not_read))


def pictures_below(folder: Path, without: Iterable[Path] = ()) -> PicturesBelow:
    """The pictures of a folder and of those in it, but not of hidden folders and of those named in `without`.

    Each folder is looked at once, however many links lead to it. Raises OSError where the first is closed.
    """
    below = PicturesBelow()
    _look(listing(folder), below, {place.resolve() for place in (folder, *without)}, DEEPEST_FOLDER)
    return below


def _look(entries: Sequence[os.DirEntry[str]], below: PicturesBelow, seen: set[Path], depth: int) -> None:
    for entry in entries:
        if _is_folder(entry):
            place = Path(entry.path).resolve()
            if depth and place not in seen:
                seen.add(place)
                _look(_listed(Path(entry.path), below), below, seen, depth - 1)
        elif is_picture(entry.name):
            below.entries.append(entry)
        elif (ending := split_name(entry.name)[1]) in OTHER_PICTURES and not entry.name.startswith("."):
            below.not_read[ending] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:  # links that lead in a circle
        return False


def _listed(folder: Path, below: PicturesBelow) -> Sequence[os.DirEntry[str]]:
    try:
        return listing(folder)
    except OSError:
        below.closed.append(folder)
        return ()
