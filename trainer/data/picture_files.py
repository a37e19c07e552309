"""Picture files: which are read, how large the pictures are, whether they are whole.

Only the first and last bytes of a file are read. What was found is remembered until the file's time or
size changes, so that a folder of 10,000 pictures takes seconds at first and a fraction of one later.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

EXTENSIONS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".webp",
    ".bmp",
    *((".avif",) if features.check("avif") else ()),
)
"""Endings of the pictures that are read, in either case."""
OTHER_PICTURES = frozenset((
    ".gif", ".tif", ".tiff", ".heic", ".heif", ".jxl", ".psd", ".svg", ".avif",
)) - set(EXTENSIONS)  # fmt: skip
"""Endings of pictures that are not read."""
ORIENTATION = 0x0112
"""EXIF's number for how the camera was held; 5 to 8 mean lying on its side."""
END_LOOKED_AT = 65_536
"""Bytes at the end of a file in which its end mark is looked for; some cameras write more behind it."""


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's file tells without being decoded."""

    width: int
    """After turning it upright, as `height`."""
    height: int
    transparent: bool = False
    """It may have see-through parts."""
    animated: bool = False


class UnreadableError(Exception):
    """A picture cannot be read. The argument says why: "empty", "no_picture", "truncated", "too_large",
    "missing" or "no_access".
    """


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture that is read (hidden files are not)."""
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


Stamp = tuple[int, int]
_headers: dict[str, tuple[Stamp, PictureHeader | str]] = {}


def stamp_of(entry: os.DirEntry[str]) -> Stamp:
    """Time and size of a file. Raises OSError."""
    found = entry.stat()
    return found.st_mtime_ns, found.st_size


def header_of(entry: os.DirEntry[str]) -> PictureHeader:
    """`read_header`, remembered. Raises UnreadableError."""
    try:
        stamp = stamp_of(entry)
        if not entry.is_file():  # a pipe would wait forever
            raise UnreadableError("no_picture")
    except FileNotFoundError as error:
        raise UnreadableError("missing") from error
    except OSError as error:
        raise UnreadableError("no_access") from error
    known = _headers.get(entry.path)
    if known is None or known[0] != stamp:
        try:
            known = stamp, read_picture_header(Path(entry.path))
        except UnreadableError as error:
            known = stamp, str(error)
        _headers[entry.path] = known
    if isinstance(known[1], str):
        raise UnreadableError(known[1])
    return known[1]


def read_picture_header(path: Path) -> PictureHeader:
    """Size and kind of a picture from its first bytes. Raises UnreadableError."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise UnreadableError("empty")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                header = _header(picture)
                if _is_cut_off(file, size, picture.format or ""):
                    raise UnreadableError("truncated")
                return header
    except Image.DecompressionBombError as error:
        raise UnreadableError("too_large") from error
    except UnidentifiedImageError as error:
        raise UnreadableError("no_picture") from error
    except PermissionError as error:
        raise UnreadableError("no_access") from error
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three for damaged files
        raise UnreadableError("no_picture") from error


def _header(picture: Image.Image) -> PictureHeader:
    width, height = picture.size
    if orientation(picture) >= 5:
        width, height = height, width
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    return PictureHeader(width, height, transparent, getattr(picture, "n_frames", 1) > 1)


def orientation(picture: Image.Image) -> int:
    """EXIF's orientation, 1 to 8, without decoding the picture.

    A PNG is asked only for what stands before its pixels: asking for more would decode it whole.
    """
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    value = picture.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _is_cut_off(file: BinaryIO, size: int, kind: str) -> bool:
    """Whether the end of the file is missing: the usual harm of an interrupted copy."""
    if kind == "BMP":  # says at the start how long it is
        file.seek(2)
        return int.from_bytes(file.read(4), "little") > size
    mark = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind)
    if mark is None:
        return False
    file.seek(max(0, size - 32))
    if mark in file.read():
        return False
    file.seek(max(0, size - END_LOOKED_AT))
    return mark not in file.read()
