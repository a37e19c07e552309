"""SHA-256 of large files, read once: remembered while they stay as they are. Torch-free."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.files.file_hashes import file_hash
from trainer.files.whole_file import write_whole

MOST_REMEMBERED = 500
"""Files that are remembered."""
WORTH_IT = 64 << 20
"""Bytes from which on."""


def remembered_hash(path: Path, memory: Path) -> str:
    """`file_hash(path)`; `memory` is a JSON file that keeps what was found.

    A memory that cannot be read or written only costs time. Raises OSError where the file cannot be read.
    """
    stat = path.stat()
    if stat.st_size < WORTH_IT:
        return file_hash(path)
    known = _read(memory)
    key, marks = str(path.resolve()), [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    entry = known.pop(key, None)
    if isinstance(entry, list) and entry[:-1] == marks and isinstance(entry[-1], str):
        return entry[-1]
    known[key] = [*marks, digest := file_hash(path)]
    _write(memory, dict(list(known.items())[-MOST_REMEMBERED:]))
    return digest


def _read(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(memory: Path, known: dict[str, Any]) -> None:
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(known).encode())
