"""The header of a .safetensors file, believed only where it fits the file. Loads no torch.

Format: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON object, the tensors' bytes). Files
come from strangers: nothing may be read, or made room for, because a header says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.stand_ins import stand_in

LARGEST_HEADER = 24_000_000
"""Bytes of a header; the largest real ones (all captions counted in them) have a few million."""
MOST_AXES = 8
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Of one number, by its kind; others are not judged."""


class HeaderError(ValueError):
    """Not such a file ("damaged") or not all of it ("incomplete"); `missing` bytes are not there."""

    def __init__(self, reason: str, missing: int = 0) -> None:
        super().__init__(reason)
        self.missing = missing


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: kind of number, sizes, and where its bytes are (from the end of the header)."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file holds."""

    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    start: int
    """Where the tensors' bytes begin."""


def read_header(path: Path) -> Header:
    """The header of a file. Raises HeaderError, or OSError where it cannot be opened."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= LARGEST_HEADER:
            raise HeaderError("damaged")
        if size < 8 + length:
            raise HeaderError("incomplete", 8 + length - size)
        text = file.read(length)
    try:
        content = json.loads(text)
        metadata = content.pop("__metadata__", None)
        entries = {name: _entry(found) for name, found in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HeaderError("damaged") from error
    _check_bytes(entries, size - 8 - length)
    return Header(entries, _texts(metadata), 8 + length)


def require_header(path: Path, setting: str = "") -> Header:
    """The header of a file that a person has named in `setting`.

    Raises UserError for what is missing, cut short, damaged or of another kind, OSError where it is closed.
    """
    try:
        header = _known_numbers(read_header(path))
    except FileNotFoundError as error:
        raise UserError("files.missing", setting, path=str(path)) from error
    except HeaderError as error:
        values = {"path": str(path), "name": path.name, "missing": f"{error.missing / 1e6:.1f}"}
        code = stand_in(path) or ("core.file_truncated" if error.missing else "core.file_damaged")
        raise UserError(code, setting, **values) from error
    return header


def _known_numbers(header: Header) -> Header:
    """The header. Raises HeaderError for numbers of a kind that nothing here can read."""
    if any(entry.dtype not in BITS for entry in header.entries.values()):
        raise HeaderError("damaged")
    return header


def _entry(found: Mapping[str, Any]) -> TensorEntry:
    """An entry that is consistent in itself. Raises ValueError, KeyError, TypeError."""
    dtype, shape, (begin, end) = found["dtype"], found["shape"], found["data_offsets"]
    numbers = [*shape, begin, end]
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > MOST_AXES:
        raise ValueError("entry")
    if any(type(number) is not int or not 0 <= number < 2**48 for number in numbers):
        raise ValueError("numbers")
    if 0 in shape and max(shape) > 2**20:  # no bytes, and yet a size to make room for
        raise ValueError("shape")
    bits = BITS.get(dtype)
    if end < begin or (bits and math.prod(shape) * bits != (end - begin) * 8):
        raise ValueError("size")
    return TensorEntry(dtype, tuple(shape), begin, end)


def _check_bytes(entries: Mapping[str, TensorEntry], there: int) -> None:
    """All bytes must be there, and no two tensors share any (or a small file could fill all memory)."""
    last = max((entry.end for entry in entries.values()), default=0)
    if last > there:
        raise HeaderError("incomplete", last - there)
    if sum(entry.end - entry.begin for entry in entries.values()) > there:
        raise HeaderError("damaged")


def _texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict):
        return {}
    return {key: text for key, text in metadata.items() if isinstance(text, str)}
