"""The dataset room: every picture of a run as it lies, as it will be cut and with what it is learned."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.form import preset_files
from app.form.values import typed_values
from trainer.data.buckets import BucketRule, Fit
from trainer.data.captions import extension
from trainer.data.dataset_file import scans
from trainer.data.datasets import Dataset, datasets_of, subset_of
from trainer.data.folders import NEVER_WRITTEN, TrainImage, split_name
from trainer.data.held_out import split_of
from trainer.data.picture_files import is_picture
from trainer.families.table import named_by
from trainer.files.paths import clean_paths
from trainer.files.roots import Roots, is_link
from trainer.kohya import additional
from trainer.preflight import places
from trainer.preflight.pictures import no_buckets_possible
from trainer.settings import Settings

SMALL = 1.1
"""Times that a picture's sides may be too short before it is told."""


@dataclass(frozen=True)
class Folder:
    """A folder of pictures with what is said of all that lie in it."""

    path: Path
    repeats: int
    words: str
    """What pictures without a caption are learned as."""
    is_reg: bool = False
    ending: str = ""
    """Of its caption files."""
    random_crop: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture of the room."""

    path: Path
    folder: int
    """Its place among the room's folders."""
    stamp: str
    """Changes with the file; "" for one that lies outside the folders that may be seen."""
    width: int = 0
    height: int = 0
    fits: tuple[int, ...] = ()
    """Places among the room's fits: one for each dataset that it is learned in."""
    small: float = 0.0
    """How many times too short its sides are for the resolution it is learned at; 0: they are not."""
    caption: str = ""
    """"" where it has none of its own."""
    caption_path: Path | None = None
    all_lines: bool = False
    """Its caption may have several lines."""
    unreadable: str = ""
    """Why, as in UnreadableError; "" for one that is read."""
    others: tuple[str, ...] = ()
    """Endings of text files beside it that are not read."""
    held_out: bool = False
    """Kept back from training, to judge the run by it ("Validation split")."""


@dataclass(frozen=True)
class Room:
    """What lies in the folders of a run."""

    name: str
    ending: str
    separator: str
    limit: int
    """Tokens that are learned of a caption at most."""
    folders: tuple[Folder, ...] = ()
    fits: tuple[Fit, ...] = ()
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[tuple[str, str, int], ...] = ()
    """Folders that are not read: name, reason (as in Ignored), pictures in them."""
    by_path: Mapping[str, Picture] = field(default_factory=dict)


def settings_for_pictures(values: Mapping[str, Any], roots: Roots) -> Settings:
    """The form's content as it counts for pictures. Raises UserError for places that the page may not see."""
    preset_files.pictures_within(values, roots)
    typed = Settings.from_flat(typed_values(clean_paths(values)))
    places.require_within(typed, roots)
    return additional.applied(typed)


def open_room(settings: Settings, roots: Roots) -> Room:
    """All pictures, sorted by folder and name; those that cannot be read, too. Never raises for a picture."""
    found, reg = scans(settings.folders, settings.captions)
    rules = datasets_of(settings)
    return _Gathering(settings, rules, roots).room(
        [*found.images, *reg.images],
        {image.path for image in split_of(settings, found.images).held_out},
        [
            (broken.path, broken.reason, is_reg)
            for is_reg, scan in enumerate((found, reg))
            for broken in scan.broken
        ],
        [ignored for scan in (found, reg) for ignored in scan.ignored],
    )


class _Gathering:
    """Puts a room together, reading every folder once."""

    def __init__(self, settings: Settings, rules: tuple[Dataset, ...], roots: Roots) -> None:
        self.settings, self.rules, self.roots = settings, rules, roots
        self.ending = extension(settings.captions.caption_extension)
        self.sizes = not no_buckets_possible(rules, named_by(settings.model))
        self.folders: dict[Path, Folder] = {}
        self.fits: dict[Fit, int] = {}
        self.shapes: dict[tuple[int, int, int], tuple[int, float]] = {}
        self.beside: dict[Path, _Beside] = {}

    def room(
        self,
        images: Iterable[TrainImage],
        held_out: Collection[Path],
        broken: Iterable[tuple[Path, str, int]],
        left_out: Iterable[tuple[str, str, int]],
    ) -> Room:
        same: dict[Path, list[TrainImage]] = defaultdict(list)
        for image in images:
            same[image.path].append(image)
        pictures = [self._picture(group, path in held_out) for path, group in same.items()]
        pictures += [self._unreadable(*one) for one in broken]
        order = {place: at for at, place in enumerate(sorted(self.folders))}
        moved = [order[place] for place in self.folders]
        pictures.sort(key=lambda one: (moved[one.folder], one.path.name.casefold(), one.path.name))
        settings = self.settings
        return Room(
            name=Path(settings.folders.dataset_config or settings.folders.train_data_dir).name,
            ending=self.ending,
            separator=self.rules[0].subsets[0].captions.separator if self.rules[0].subsets else ",",
            limit=settings.captions.max_token_length,
            folders=tuple(self.folders[place] for place in order),
            fits=tuple(self.fits),
            pictures=tuple(_moved(one, moved) for one in pictures),
            left_out=tuple(left_out),
            by_path={str(one.path): one for one in pictures},
        )

    def _picture(self, images: list[TrainImage], held_out: bool) -> Picture:
        first = images[0]
        parent = first.path.parent
        rule = subset_of(self.rules, first)
        written = first.caption_path or first.path.with_suffix(self.ending)
        folder = self._folder(
            Folder(
                parent,
                first.repeats,
                first.class_tokens,
                first.is_reg,
                split_name(written.name)[1],
                any(subset_of(self.rules, image).random_crop for image in images),
            )
        )
        beside = self._beside(parent)
        sizes = [self._size(image) for image in images] if self.sizes else []
        return Picture(
            first.path,
            folder,
            beside.stamp(first.path),
            first.width,
            first.height,
            tuple(dict.fromkeys(fit for fit, _ in sizes)),
            max((small for _, small in sizes), default=0.0),
            first.caption if first.caption_found else "",
            written,
            rule.captions.enable_wildcard,
            others=beside.others(first.path.name, self.folders[parent].ending),
            held_out=held_out,
        )

    def _unreadable(self, path: Path, reason: str, is_reg: int) -> Picture:
        folder = self._folder(Folder(path.parent, 0, "", bool(is_reg), self.ending))
        return Picture(path, folder, self._beside(path.parent).stamp(path), unreadable=reason)

    def _folder(self, folder: Folder) -> int:
        known = self.folders.get(folder.path)
        if known is None or (not known.repeats and folder.repeats):
            self.folders[folder.path] = folder
        return list(self.folders).index(folder.path)

    def _size(self, image: TrainImage) -> tuple[int, float]:
        """The place of its fit, and how many times too short it is: the same for all pictures of its size."""
        shape = image.subset[0], image.width, image.height
        if shape not in self.shapes:
            rule = self.rules[image.subset[0]].rule
            fit = rule.fit(image.width, image.height)
            self.shapes[shape] = self.fits.setdefault(fit, len(self.fits)), _small(image, rule, fit)
        return self.shapes[shape]

    def _beside(self, folder: Path) -> _Beside:
        if folder not in self.beside:
            self.beside[folder] = _Beside(folder, self.roots)
        return self.beside[folder]


def _small(image: TrainImage, rule: BucketRule, fit: Fit) -> float:
    """Enlarged for its bucket; or learned at a smaller size, where "Don't upscale" keeps it as it is."""
    enlarged = fit.resized[0] / image.width
    missing = math.sqrt(rule.resolution[0] * rule.resolution[1] / (image.width * image.height))
    times = max(enlarged, missing)
    return times if times > SMALL else 0.0


def _moved(picture: Picture, places: list[int]) -> Picture:
    object.__setattr__(picture, "folder", places[picture.folder])  # ours alone until the room is made
    return picture


class _Beside:
    """What lies in a folder: stamps of its pictures, and text files of their names."""

    def __init__(self, folder: Path, roots: Roots) -> None:
        self.stamps: dict[str, str] = {}
        self.endings: dict[str, list[str]] = defaultdict(list)
        if roots.place(folder.absolute()) is None:
            return
        for entry in _entries(folder):
            if is_picture(entry.name):
                if not is_link(entry) or roots.allowed(str(Path(entry.path).absolute())):
                    self.stamps[entry.name] = _stamp(entry)
                continue
            stem, ending = split_name(entry.name)
            if ending and ending not in NEVER_WRITTEN:
                self.endings[stem].append(ending)

    def stamp(self, path: Path) -> str:
        return self.stamps.get(path.name, "")

    def others(self, name: str, ending: str) -> tuple[str, ...]:
        return tuple(
            sorted({one for one in self.endings.get(split_name(name)[0], ()) if one != ending.lower()})
        )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _stamp(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError:
        return "0"
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def as_json(room: Room) -> dict[str, Any]:
    """The room for the page. Pictures outside the allowed folders are named, but not shown."""
    return {
        "name": room.name,
        "ending": room.ending,
        "separator": room.separator,
        "limit": room.limit,
        "folders": [
            {
                "path": str(folder.path),
                "name": folder.path.name,
                "repeats": folder.repeats,
                "words": folder.words,
                "is_reg": folder.is_reg,
                "random_crop": folder.random_crop,
            }
            for folder in room.folders
        ],
        "fits": [{"bucket": fit.bucket, "resized": fit.resized, "corner": fit.center} for fit in room.fits],
        "pictures": [_picture_json(picture) for picture in room.pictures],
        "left_out": [list(one) for one in room.left_out],
    }


def _picture_json(picture: Picture) -> dict[str, Any]:
    """Only what is not the usual, since there may be many thousands."""
    seen = picture.stamp != ""
    found = {
        "name": picture.path.name,
        "folder": picture.folder,
        "stamp": picture.stamp,
        "small": round(picture.small, 2),
        "width": picture.width,
        "height": picture.height,
        "fits": list(picture.fits),
        "caption": picture.caption if seen else "",
        "unreadable": picture.unreadable,
        "others": list(picture.others) if seen else [],
        "lines": picture.all_lines,
        "held_out": picture.held_out,
    }
    return {key: value for key, value in found.items() if value or key == "folder"}
