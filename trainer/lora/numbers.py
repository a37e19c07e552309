"""Whether a LoRA file holds numbers throughout, and an alpha that says something. Loads no torch."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from trainer.files.safetensors_header import HeaderError, TensorEntry, read_header
from trainer.settings import TRAINING

LARGEST_ALPHA = TRAINING["network_alpha"].bound("le") or math.inf
EXPONENTS = {
    "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}  # fmt: skip
"""Kind of number -> how it is read as a whole one, and the bits that are all set in inf and NaN."""
WHOLE_NUMBERS = ("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
BYTES_AT_ONCE = 1 << 22


class Odd(NamedTuple):
    """What is odd about a file's numbers."""

    not_finite: str
    """The first tensor that holds inf or NaN; "" for none."""
    zero_alphas: int
    """Modules whose alpha is 0."""
    whole: str = ""
    """The kind of number of a weight that is whole numbers; "" for none."""
    alpha: float | None = None
    """One that no training writes: below 0, or beyond what "Network alpha" takes; None: there is none."""


NOTHING_ODD = Odd("", 0)
"""Also of a pickle, whose numbers are looked at when it is loaded."""


def odd_numbers(path: Path) -> Odd:
    """Read every number of a .safetensors file; remembered until it changes. Raises HeaderError, OSError."""
    stat = path.stat()
    return _odd_numbers(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _odd_numbers(path: Path, _changed: int, _size: int) -> Odd:
    header = read_header(path)
    not_finite, zeros, whole, odd_alpha = "", 0, "", None
    with path.open("rb") as file:
        for name, entry in sorted(header.entries.items(), key=lambda item: item[1].begin):
            if entry.dtype not in EXPONENTS:
                if name.endswith(".alpha"):
                    zeros += _is_zero(file, header.start, entry)
                elif entry.dtype in WHOLE_NUMBERS and math.prod(entry.shape) > 1:
                    whole = whole or entry.dtype
                continue
            if not not_finite and not _is_finite(file, header.start, entry):
                not_finite = name
            if name.endswith(".alpha"):
                zeros += _is_zero(file, header.start, entry)
                value = _number(file, header.start, entry)
                if value is not None and not 0 <= value <= LARGEST_ALPHA:
                    odd_alpha = value
    return Odd(not_finite, zeros, whole, odd_alpha)


def _number(file: BinaryIO, start: int, entry: TensorEntry) -> float | None:
    """The number of a tensor that holds one fraction."""
    if math.prod(entry.shape) != 1:
        return None
    file.seek(start + entry.begin)
    data = file.read(entry.end - entry.begin)
    if entry.dtype == "BF16":  # the upper half of a number of 32 bits
        return float(np.frombuffer(bytes(2) + data, "<f4")[0])
    return float(np.frombuffer(data, f"<f{len(data)}")[0])


def _is_zero(file: BinaryIO, start: int, entry: TensorEntry) -> bool:
    file.seek(start + entry.begin)
    return not any(file.read(entry.end - entry.begin))


def _is_finite(file: BinaryIO, start: int, entry: TensorEntry) -> bool:
    whole, exponent = EXPONENTS[entry.dtype]
    file.seek(start + entry.begin)
    left = entry.end - entry.begin
    while left:
        data = file.read(min(BYTES_AT_ONCE, left))
        if not data:
            raise HeaderError("incomplete", left)
        bits = np.frombuffer(data, whole)
        if bool(((bits & exponent) == exponent).any()):
            return False
        left -= len(data)
    return True
