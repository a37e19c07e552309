"""Files of a training folder, made one by one: copied, linked, or drawn anew in another size or format."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image, ImageOps

from trainer.data.picture_files import PictureHeader, is_picture
from trainer.data.pixels import flattened, is_see_through
from trainer.files.whole_file import naming, partial_of
from trainer.tools.lora_files import Progress, silent

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CopyMode = Literal["copy", "link"]
Format = Literal["as it is", "png", "jpg", "webp"]
QUALITY = 95
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}
LARGEST_SIDES = {"WEBP": 16_383, "JPEG": 65_500}
"""Pixels of a side that a kind of file can have."""
SAVED_WITH: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": QUALITY}}
DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What comes of pictures whose beginning is whole and the rest is not."""


@dataclass(frozen=True)
class CopyOptions:
    """How files get there."""

    how: CopyMode = "copy"
    longest_side: int = 0
    """Pixels; larger pictures are made smaller. 0: as they are."""
    format: Format = "as it is"

    def name(self, source: Path) -> str:
        """Of a picture's copy."""
        return source.name if self.format == "as it is" else source.stem + SUFFIXES[self.format]

    def draws(self, picture: PictureHeader) -> bool:
        """Whether a picture is made smaller or converted, not copied as it is."""
        too_large = 0 < self.longest_side < max(picture.width, picture.height)
        return self.format != "as it is" or too_large


@dataclass(frozen=True)
class FileStep:
    """One file to be made."""

    source: Path
    target: Path
    drawn: bool = False
    """Whether the picture is made smaller or converted, not copied as it is."""


def make_files(steps: Iterable[FileStep], options: CopyOptions, report: Progress = silent) -> list[Path]:
    """Make the files; returns the pictures of which none was made, as they are damaged.

    Nothing is replaced. Stopped, what is done stays. Raises OSError (full disk, no right).
    """
    steps = list(steps)
    damaged: list[Path] = []
    for done, step in enumerate(steps):
        report(done, len(steps))
        if damaged and damaged[-1].with_suffix("") == step.source.with_suffix(""):
            continue  # its caption
        if not step.target.exists() and not _make(step, options):
            damaged.append(step.source)
    report(len(steps), len(steps))
    return damaged


def _make(step: FileStep, options: CopyOptions) -> bool:
    """One file, whole or not at all. False for a picture that is damaged."""
    if options.how == "link" and not step.drawn and is_picture(step.target.name):  # captions may be edited
        with suppress(OSError):  # another disk, or a file system without links: a copy then
            os.link(step.source.resolve(), step.target)  # of a link, what it leads to
            return True
    data = encoded(step.source, step.target.suffix, options.longest_side) if step.drawn else None
    if step.drawn and data is None:
        return False
    partial = partial_of(step.target)
    try:
        with naming(step.target):
            if data is not None:
                partial.write_bytes(data)
                shutil.copystat(step.source, partial)  # by its time it is known again
            else:
                shutil.copy2(step.source, partial)
            partial.replace(step.target)
    finally:
        partial.unlink(missing_ok=True)
    return True


def encoded(source: Path, ending: str, longest_side: int) -> bytes | None:
    """The file of this ending that is drawn of a picture; None: that is damaged. The same each time."""
    kind = Image.registered_extensions()[ending.lower()]
    picture = _drawn(source, kind, longest_side)
    if picture is None:
        return None
    file = BytesIO()
    picture.save(file, kind, icc_profile=picture.info.get("icc_profile"), **SAVED_WITH.get(kind, {}))
    return file.getvalue()


def longest_of(size: tuple[int, int], target: Path, options: CopyOptions) -> int:
    """Pixels of the longer side of what is drawn of a picture of `size`."""
    kind = Image.registered_extensions().get(target.suffix.lower(), "")
    return min(max(size), options.longest_side or max(size), LARGEST_SIDES.get(kind, max(size)))


def _drawn(source: Path, kind: str, longest_side: int) -> Picture | None:
    """The picture upright, at most so large, in colours that the kind of file has; None: it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                upright = ImageOps.exif_transpose(image)
                icc = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "P"} else None
    except DAMAGED:
        return None
    drawn = upright.convert("RGBA") if kind != "JPEG" and is_see_through(upright) else flattened(upright)
    longest = min(longest_side or max(drawn.size), LARGEST_SIDES.get(kind, max(drawn.size)))
    drawn.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    drawn.info = {"icc_profile": icc} if icc else {}
    return drawn
