"""Small views of pictures."""

from __future__ import annotations

import io
import warnings
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from PIL import Image, ImageOps

from app.paths import Roots

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")
THUMB_SIDE = 192
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


def thumbnail(path: Path) -> bytes:
    """A picture as a small JPEG, turned upright. Raises ValueError, OSError for what cannot be shown."""
    with opened(path) as image:
        image.draft("RGB", (THUMB_SIDE * 2, THUMB_SIDE * 2))
        small = ImageOps.exif_transpose(image)
        small.thumbnail((THUMB_SIDE, THUMB_SIDE))
        ground = Image.new("RGB", small.size, "white")
        transparent = small.convert("RGBA") if small.mode in ("RGBA", "LA", "P", "PA") else None
        ground.paste(transparent or small.convert("RGB"), mask=transparent)
        out = io.BytesIO()
        ground.save(out, "JPEG", quality=82)
        return out.getvalue()


class Thumbs:
    """Small JPEG views of pictures in the folders that a person may choose."""

    def __init__(self, roots: Roots, keep: int = 512) -> None:
        self.roots = roots
        self.keep = keep
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, text: str) -> tuple[bytes, str] | None:
        """(JPEG, ETag) of a picture, or None for what is no picture or not in the allowed folders."""
        path = self.roots.allowed(text)
        if path is None or path.suffix.lower() not in PICTURES:
            return None
        try:
            stat = path.stat()
            tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            data = self._made(f"{path}{tag}", path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        return data, tag

    def _made(self, key: str, path: Path) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = thumbnail(path)
        with self._lock:
            self._kept[key] = data
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        return data
