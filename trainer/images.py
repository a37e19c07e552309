"""The training pictures: which there are, how large, how often, with which caption.

Only the first bytes of a picture are read, so that a folder of 10,000 takes seconds. What was read is
remembered by the file's time and size; a folder looked at again takes milliseconds.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError, features

from trainer.captions import decode, first_line
from trainer.captions import extension as caption_ending

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", *((".avif",) if features.check("avif") else ()))
"""Endings of the pictures that are read, in either case."""
NOT_READ = frozenset((".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".psd", ".svg", ".avif")) - set(
    EXTENSIONS
)
NO_CAPTIONS = frozenset((".npz", ".safetensors", ".json", ".db", ".ini"))
ORIENTATION = 0x0112
"""EXIF's number for how the camera was held; 5 to 8 mean lying on its side."""
TAIL = 65_536


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


class Ignored(NamedTuple):
    """A folder that is not read. `reason`: "no_number", "zero_repeats", "empty" or "nested"."""

    name: str
    reason: str
    pictures: int


class Broken(NamedTuple):
    """A picture that cannot be read.

    `reason`: "empty", "no_picture", "truncated", "too_large", "missing" or "no_access".
    """

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
    odd_captions: tuple[Path, ...] = ()
    """Caption files that are not UTF-8."""
    not_read: Counter[str] = field(default_factory=Counter)
    """Endings of pictures of kinds that are not read."""
    transparent: int = 0
    animated: int = 0

    @property
    def captions_found(self) -> int:
        """Pictures with a caption file of their own."""
        return sum(image.caption_found for image in self.images)


@dataclass(frozen=True)
class Header:
    """What the first bytes of a picture tell."""

    width: int
    height: int
    transparent: bool = False
    animated: bool = False


class UnreadableError(Exception):
    """A picture cannot be read; the argument is a reason of `Broken`."""


def folder_name(name: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder's name: "10_sks cat" is (10, "sks cat"). None: no number."""
    number, _, words = name.partition("_")
    try:
        return int(number), words
    except ValueError:
        return None


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture that is read (hidden files are not)."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def scan_folder(root: Path, caption_extension: str, *, is_reg: bool = False) -> FolderScan:
    """All that an Image folder or Regularisation folder holds, sorted by name.

    Never raises for what is in it; raises OSError where the folder itself cannot be read.
    `caption_extension` is the setting (blank = .caption).
    """
    ending = caption_ending(caption_extension)
    parts: list[FolderScan] = []
    ignored: list[Ignored] = []
    loose = 0
    for entry in _listing(root):
        if not _is_folder(entry):
            loose += is_picture(entry.name)
            continue
        part, why_not = _scan_subfolder(entry, ending, is_reg)
        ignored += why_not
        parts += [part] if part else []
    return FolderScan(
        images=tuple(image for part in parts for image in part.images),
        broken=tuple(broken for part in parts for broken in part.broken),
        ignored=tuple(ignored),
        loose=loose,
        extensions=sum((part.extensions for part in parts), Counter()),
        blank_captions=tuple(path for part in parts for path in part.blank_captions),
        odd_captions=tuple(path for part in parts for path in part.odd_captions),
        not_read=sum((part.not_read for part in parts), Counter()),
        transparent=sum(part.transparent for part in parts),
        animated=sum(part.animated for part in parts),
    )


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not entry.name.startswith(".")
    except OSError:
        return False


def _scan_subfolder(
    folder: os.DirEntry[str], ending: str, is_reg: bool
) -> tuple[FolderScan | None, list[Ignored]]:
    try:
        entries = _listing(Path(folder.path))
    except OSError:
        return None, [Ignored(folder.name, "no_access", 0)]
    pictures = [entry for entry in entries if is_picture(entry.name)]
    ignored = [
        Ignored(f"{folder.name}/{entry.name}", "nested", count)
        for entry in entries
        if _is_folder(entry) and (count := _count_pictures(entry))
    ]
    named = folder_name(folder.name)
    reason = (
        "no_number" if named is None else "zero_repeats" if named[0] < 1 else "empty" if not pictures else ""
    )
    if named is None or reason:
        return None, [Ignored(folder.name, reason, len(pictures)), *ignored]
    return scan_pictures(entries, folder.name, *named, ending, is_reg=is_reg), ignored


def _count_pictures(folder: os.DirEntry[str]) -> int:
    try:
        return sum(is_picture(entry.name) for entry in _listing(Path(folder.path)))
    except OSError:
        return 0


def scan_pictures(
    entries: Sequence[os.DirEntry[str]],
    folder: str,
    repeats: int,
    class_tokens: str,
    ending: str,
    *,
    is_reg: bool = False,
) -> FolderScan:
    """The pictures among a folder's entries, with their captions (files that end in `ending`)."""
    images: list[TrainImage] = []
    broken: list[Broken] = []
    blank: list[Path] = []
    odd: list[Path] = []
    headers: list[Header] = []
    files = {entry.name: entry for entry in entries}
    for entry in entries:
        if not is_picture(entry.name):
            continue
        try:
            header = _header_of(entry)
        except UnreadableError as error:
            broken.append(Broken(Path(entry.path), str(error)))
            continue
        headers.append(header)
        caption = None
        if beside := _beside(entry.name, ending, files):
            caption, is_utf8 = _caption_of(beside)
            blank += [] if caption else [Path(beside.path)]
            odd += [] if is_utf8 else [Path(beside.path)]
        images.append(
            TrainImage(
                Path(entry.path),
                folder,
                repeats,
                class_tokens,
                caption or class_tokens,
                bool(caption),
                header.width,
                header.height,
                is_reg,
            )
        )
    return FolderScan(
        images=tuple(images),
        broken=tuple(broken),
        extensions=_text_endings(files),
        blank_captions=tuple(blank),
        odd_captions=tuple(odd),
        not_read=Counter(
            ending for name in files if (ending := os.path.splitext(name)[1].lower()) in NOT_READ
        ),
        transparent=sum(header.transparent for header in headers),
        animated=sum(header.animated for header in headers),
    )


def _beside(name: str, ending: str, files: dict[str, os.DirEntry[str]]) -> os.DirEntry[str] | None:
    stem = os.path.splitext(name)[0]
    return files.get(stem + ending) or files.get(stem + ending.upper())


def _text_endings(files: Iterable[str]) -> Counter[str]:
    """How many files of each other ending stand beside a picture of the same name."""
    stems = {os.path.splitext(name)[0] for name in files if is_picture(name)}
    parts = (os.path.splitext(name) for name in files if not is_picture(name))
    return Counter(
        ending.lower()
        for stem, ending in parts
        if stem in stems and ending.lower() not in NO_CAPTIONS and ending.lower() not in NOT_READ and ending
    )


Stamp = tuple[int, int]
_headers: dict[str, tuple[Stamp, Header | str]] = {}
_captions: dict[str, tuple[Stamp, tuple[str, bool]]] = {}


def _stamp(entry: os.DirEntry[str]) -> Stamp:
    found = entry.stat()
    return found.st_mtime_ns, found.st_size


def _header_of(entry: os.DirEntry[str]) -> Header:
    """`read_header`, remembered. Raises UnreadableError."""
    try:
        stamp = _stamp(entry)
    except FileNotFoundError as error:
        raise UnreadableError("missing") from error
    except OSError as error:
        raise UnreadableError("no_access") from error
    known = _headers.get(entry.path)
    if known is None or known[0] != stamp:
        try:
            known = stamp, read_header(Path(entry.path))
        except UnreadableError as error:
            known = stamp, str(error)
        _headers[entry.path] = known
    if isinstance(known[1], str):
        raise UnreadableError(known[1])
    return known[1]


def _caption_of(entry: os.DirEntry[str]) -> tuple[str, bool]:
    """Caption in a file ("" where there is none), and whether it is UTF-8; remembered."""
    try:
        stamp = _stamp(entry)
        known = _captions.get(entry.path)
        if known is None or known[0] != stamp:
            text, is_utf8 = decode(Path(entry.path).read_bytes())
            known = _captions[entry.path] = stamp, (first_line(text), is_utf8)
    except OSError:
        return "", True
    return known[1]


def read_header(path: Path) -> Header:
    """Size and kind of a picture from its first bytes. Raises UnreadableError."""
    try:
        if path.stat().st_size == 0:
            raise UnreadableError("empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if _is_cut_off(path, picture.format or ""):
                    raise UnreadableError("truncated")
                width, height = picture.size
                on_its_side = orientation(picture) >= 5
                return Header(
                    height if on_its_side else width,
                    width if on_its_side else height,
                    transparent="A" in picture.getbands() or "transparency" in picture.info,
                    animated=getattr(picture, "n_frames", 1) > 1,
                )
    except Image.DecompressionBombError as error:
        raise UnreadableError("too_large") from error
    except UnidentifiedImageError as error:
        raise UnreadableError("no_picture") from error
    except PermissionError as error:
        raise UnreadableError("no_access") from error
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three for damaged files
        raise UnreadableError("no_picture") from error


def orientation(picture: Image.Image) -> int:
    """EXIF's orientation, 1 to 8, without decoding the picture.

    A PNG is asked only for what stands before its pixels: asking for more would decode it whole.
    """
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    value = picture.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _is_cut_off(path: Path, kind: str) -> bool:
    """Whether the end of the file is missing: the usual harm of an interrupted copy."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    if kind == "JPEG":
        return b"\xff\xd9" not in tail
    if kind == "PNG":
        return b"IEND" not in tail
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if kind == "BMP":
        return int.from_bytes(head[2:6], "little") > size
    return False


def matched(reg_images: Sequence[TrainImage], pictures_per_epoch: int) -> tuple[TrainImage, ...]:
    """Regularisation pictures with their repeats set so that they come `pictures_per_epoch` times per
    epoch, as often as all training pictures together: no more, no less.

    Each is repeated as its folder says while there is room; further rounds add one each, in order.
    """
    counts = [0] * len(reg_images)
    left = pictures_per_epoch
    for index, image in enumerate(reg_images):
        counts[index] = min(image.repeats, left)
        left -= counts[index]
    for index in range(len(reg_images)):
        more = left // len(reg_images) + (index < left % len(reg_images))
        counts[index] += more
    return tuple(
        replace(image, repeats=count) for image, count in zip(reg_images, counts, strict=True) if count
    )
