"""Small views of pictures."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import OrderedDict
from pathlib import Path
from threading import BoundedSemaphore, Lock

from PIL import Image, ImageOps

from app.paths import Roots
from trainer.files.whole_file import keep

SIDES = (192, 448, 2048)
"""Longest sides of the views that there are: beside a field, in the dataset room, the whole picture there."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl", ".jfif")
KEPT_VIEWS = "views"
"""The folder of the workspace in which views are kept."""
AT_ONCE = 3
"""Pictures that are decoded at the same time."""
MOST_KEPT = 30_000
"""Views that stay on the disk, of about 25 kB each."""
MOST_PIXELS = 120_000_000
"""Larger pictures are not decoded for a small view (a bomb may claim any size)."""


def opened(path: Path) -> Image.Image:
    """A picture, not decoded yet. Raises ValueError for one that would take too much memory, OSError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError("too many pixels")
    return image


def small_view(path: Path, side: int = SIDES[0]) -> bytes:
    """A picture as a small JPEG, turned upright. Raises ValueError, OSError for what cannot be shown."""
    with opened(path) as image:
        image.draft("RGB", (side * 2, side * 2))
        small = ImageOps.exif_transpose(_of_eight_bits(image))
        small.thumbnail((side, side))
        ground = Image.new("RGB", small.size, "white")
        transparent = small.convert("RGBA") if small.mode in ("RGBA", "LA", "P", "PA") else None
        ground.paste(transparent or small.convert("RGB"), mask=transparent)
        out = io.BytesIO()
        ground.save(out, "JPEG", quality=82)
        return out.getvalue()


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled down to 8: Pillow's own `convert` cuts it off, which is white."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value / 257).convert("L")


class Thumbs:
    """Small JPEG views of pictures in the folders that a person may choose.

    `folder`: where those of the dataset room are kept from one day to the next.
    """

    def __init__(self, roots: Roots, folder: Path | None = None, keep: int = 512) -> None:
        self.roots = roots
        self.folder = folder
        self.keep = keep
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()
        self._hands = BoundedSemaphore(AT_ONCE)

    def get(self, text: str, side: int = SIDES[0]) -> tuple[bytes, str] | None:
        """(JPEG, ETag) of a picture, or None for what is no picture or not in the allowed folders."""
        path = self.roots.allowed(text)
        if path is None or side not in SIDES or path.suffix.lower() not in PICTURES:
            return None
        try:
            stamp = view_stamp(path)
        except OSError:
            return None
        data = self.made(path, stamp, side)
        return None if data is None else (data, f'"{stamp}"')

    def made(self, path: Path, stamp: str, side: int) -> bytes | None:
        """The view of a picture that may be seen; None for one that cannot be read. It is made once."""
        key = hashlib.sha256(f"{path}\0{stamp}\0{side}".encode("utf-8", "surrogateescape")).hexdigest()
        kept = self._remembered(key) or self._read(key, side)
        if kept is None:
            try:
                with self._hands:
                    kept = small_view(path, side)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return None
            self._write(key, side, kept)
        if side <= SIDES[1]:
            self._remember(key, kept)
        return kept

    def _remembered(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _remember(self, key: str, data: bytes) -> None:
        with self._lock:
            self._kept[key] = data
            self._kept.move_to_end(key)
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)

    def _place(self, key: str, side: int) -> Path | None:
        return self.folder / key[:2] / f"{key[2:40]}.jpg" if self.folder and side == SIDES[1] else None

    def _read(self, key: str, side: int) -> bytes | None:
        place = self._place(key, side)
        try:
            return place.read_bytes() if place else None
        except OSError:
            return None

    def _write(self, key: str, side: int, data: bytes) -> None:
        if place := self._place(key, side):
            keep(place, data)  # where it cannot be kept it is made anew the next time


def view_stamp(path: Path) -> str:
    """Changes when the file does. Raises OSError."""
    stat = path.stat()
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def forget_oldest(folder: Path, most: int = MOST_KEPT) -> None:
    """Of very many kept views, remove the oldest."""
    files = [(path.stat().st_mtime, path) for path in folder.glob("??/*.jpg")]
    for _, path in sorted(files)[: max(0, len(files) - most)]:
        path.unlink(missing_ok=True)
