"""Pictures and captions from another device into a new folder of the workspace, piece by piece.

A file is put in its place only when it is whole and found to be what its name says. What is there stays.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

from trainer.data.captions import CAPTION_ENDINGS, LONGEST_FILE
from trainer.data.folders import MOST_REPEATS, repeats_and_words
from trainer.data.picture_files import UnreadableError, is_picture, read_picture_header
from trainer.errors import UserError
from trainer.files.paths import FORBIDDEN, LONGEST_FILE_NAME, is_reserved
from trainer.files.whole_file import PARTIAL, partial_of

MOST_PICTURE = 100 << 20
"""Bytes of one picture."""
MOST_FILES = 20_000
"""Files in one folder."""
MOST_PIECE = 8 << 20
"""Bytes that are sent at once."""
SPARE = 512 << 20
"""Bytes of the disk that stay free."""


def safe_file_name(name: str) -> str:
    """A file's name as every system can have it; "" for one of which nothing is left."""
    text = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    text = FORBIDDEN.sub("_", text).strip(" .")
    stem, dot, ending = text.rpartition(".")
    stem, ending = (stem, f".{ending}") if dot and stem else (text, "")
    while len(f"{stem}{ending}".encode()) > LONGEST_FILE_NAME and stem:
        stem = stem[:-1]
    text = f"{stem.rstrip(' .')}{ending}"
    return f"_{text}" if is_reserved(text) else "" if PARTIAL.fullmatch(text) else text


def new_folder(datasets: Path, name: str, repeats: Any, words: str) -> Path:
    """Make <datasets>/<name>/<repeats>_<words> for pictures; its path. A name that is taken gets a number."""
    outer = safe_file_name(name).replace(".", "_") or "pictures"
    inner = safe_file_name(words).strip() or outer
    count = repeats if isinstance(repeats, int) and 1 <= repeats <= MOST_REPEATS else 10
    for number in range(1, 1000):
        place = datasets / (outer if number == 1 else f"{outer}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        folder = place / f"{count}_{inner}"
        folder.mkdir()
        return folder
    raise UserError("page.upload_name", name=outer)


def folder_of(datasets: Path, text: str) -> Path:
    """A folder that `new_folder` made. Raises UserError for every other place."""
    try:
        folder = Path(text).resolve()
        if folder.parent.parent == datasets.resolve() and folder.is_dir() and repeats_and_words(folder.name):
            return folder
    except (OSError, ValueError, RuntimeError):  # no name that a folder can have
        pass
    raise UserError("page.upload_no_folder")


def receive(folder: Path, name: str, start: Any, size: Any, data: str) -> dict[str, Any]:
    """Take a piece of a file: its place in the file, the file's size, the bytes in Base64.

    Gives {"name", "had": bytes that are here} and, with the last piece, {"done": "new" | "there"}.
    Raises UserError for what cannot be taken; of that file nothing is left then.
    """
    kept = safe_file_name(name)
    if not kept.lower().endswith(CAPTION_ENDINGS) and not is_picture(kept):
        raise UserError("page.upload_kind", name=name[:120])
    most = LONGEST_FILE if kept.lower().endswith(CAPTION_ENDINGS) else MOST_PICTURE
    if not isinstance(size, int) or not isinstance(start, int) or not 0 <= start <= size:
        raise UserError("page.upload_broken", name=kept)
    if not 0 < size <= most:
        raise UserError("page.upload_large" if size else "page.upload_empty", name=kept, most=most >> 20 or 1)
    piece = _bytes(data, kept)
    partial = partial_of(folder / kept)
    _append(partial, piece, start, size, kept)
    if start + len(piece) < size:
        return {"name": kept, "had": start + len(piece)}
    try:
        _judge(partial, kept)
        return {"name": kept, "had": size, **_put(partial, folder / kept)}
    finally:
        partial.unlink(missing_ok=True)


def _bytes(data: str, name: str) -> bytes:
    try:
        piece = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError("page.upload_broken", name=name) from error
    if len(piece) > MOST_PIECE:
        raise UserError("page.upload_broken", name=name)
    return piece


def _append(partial: Path, piece: bytes, start: int, size: int, name: str) -> None:
    """Write a piece behind those before it."""
    if start == 0:
        if sum(1 for _ in partial.parent.iterdir()) >= MOST_FILES:
            raise UserError("page.upload_many", most=f"{MOST_FILES:,}")
        if shutil.disk_usage(partial.parent).free < size + SPARE:
            raise UserError("page.upload_no_room")
    have = partial.stat().st_size if partial.exists() else 0
    if (start and start != have) or start + len(piece) > size:
        partial.unlink(missing_ok=True)
        raise UserError("page.upload_broken", name=name)
    with partial.open("ab" if start else "wb") as file:
        file.write(piece)


def _judge(partial: Path, name: str) -> None:
    """Raise UserError for a picture that cannot be read."""
    if not is_picture(name):
        return
    try:
        read_picture_header(partial)
    except UnreadableError as error:
        raise UserError(f"page.upload_{error}", name=name) from error


def _put(partial: Path, place: Path) -> dict[str, Any]:
    """Put a whole file in its place; one of that name that holds something else stays."""
    for number in range(1, 1000):
        target = place if number == 1 else place.with_stem(f"{place.stem}-{number}")
        if not target.exists():
            partial.replace(target)
            return {"done": "new", "name": target.name}
        if target.stat().st_size == partial.stat().st_size and target.read_bytes() == partial.read_bytes():
            return {"done": "there", "name": target.name}
    raise UserError("page.upload_name", name=place.name)
