"""Which of the files in a training folder an earlier run has made of which pictures, by what is in them."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from trainer.data.picture_files import PictureHeader, Stamp, UnreadableError, read_picture_header
from trainer.tools.picture_copies import CopyOptions, encoded, longest_of

SECOND = 1_000_000_000
COARSE, FINE = 2 * SECOND, 1_000
"""Nanoseconds by which the times of a file and its copy differ at most: where a disk knows whole seconds
alone (memory cards every second one), and elsewhere (Windows knows a tenth of a microsecond)."""
MOST_KNOWN = 100_000
"""Files whose content is remembered: a form is looked at again and again."""


def is_copy(
    entry: os.DirEntry[str], made: Path, header: PictureHeader, options: CopyOptions, *, alone: bool
) -> bool:
    """Whether a file is the copy that would be made of a picture now.

    `alone`: no other picture's copy wants this name, so that the same time and size say enough. Else, and
    where the times differ, the content decides. Raises OSError.
    """
    before, after = entry.stat(), made.stat()
    drawn = options.draws(header)
    if os.path.samestat(before, after):  # linked
        return not drawn
    same_size = _has_size(made, header, options) if drawn else before.st_size == after.st_size
    if not same_size:
        return False
    if alone and _same_time(before.st_mtime_ns, after.st_mtime_ns):
        return True
    stamp = before.st_mtime_ns, before.st_size
    source = _drawn_content(entry.path, stamp, made.suffix, options) if drawn else _content(entry.path, stamp)
    return source is not None and source == _content(str(made), (after.st_mtime_ns, after.st_size))


def _same_time(picture: int, copy: int) -> bool:
    """Whether a copy has its picture's time, in nanoseconds. One saved anew a moment later has not."""
    return abs(picture - copy) <= (FINE if copy % SECOND else COARSE)


def _has_size(made: Path, header: PictureHeader, options: CopyOptions) -> bool:
    """Whether a picture has the pixels of what would be drawn."""
    try:
        there = read_picture_header(made)
    except UnreadableError:
        return False
    return max(there.width, there.height) == longest_of((header.width, header.height), made, options)


@lru_cache(MOST_KNOWN)
def _content(path: str, _stamp: Stamp) -> bytes | None:
    """A file's fingerprint; None for one that cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


@lru_cache(MOST_KNOWN)
def _drawn_content(path: str, _stamp: Stamp, ending: str, options: CopyOptions) -> bytes | None:
    """The fingerprint of what is drawn of a picture; None for one that is damaged."""
    data = encoded(Path(path), ending, options.longest_side)
    return None if data is None else hashlib.sha256(data).digest()
