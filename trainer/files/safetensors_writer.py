"""A .safetensors file written tensor by tensor, whole or not at all. Loads no torch.

Format: https://huggingface.co/docs/safetensors. Tensors lie in the order of the official writer (wide numbers
first, then by name), so that a file with the same content has the same hash, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.files.file_hashes import LEGACY_LENGTH, LEGACY_START
from trainer.files.safetensors_header import BITS
from trainer.files.whole_file import partial_of, sweep

Data = bytes | bytearray | memoryview
ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E8M0", "F8_E4M3",
    "F8_E5M2", "I8", "U8", "BOOL",
)  # fmt: skip
"""Kinds of numbers as they follow each other in a file."""
READABLE_BY_ALL = 0o644
MODEL_HASH, LEGACY_HASH = "sshs_model_hash", "sshs_legacy_hash"


class Planned(NamedTuple):
    """A tensor to be written: kind of number (as the header names it) and sizes."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * BITS[self.dtype] // 8


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Planned],
    read: Callable[[str], Data],
    metadata: Mapping[str, str],
    *,
    hashes: bool = False,
) -> None:
    """Write a file; `read` is asked for the bytes of one tensor after the other, in the file's order.

    What a killed process has left of the same file is removed. `hashes` adds the two fingerprints that LoRA
    files carry (see file_hashes). Raises OSError, whose `filename` is set, and whatever `read` raises; then
    `path` is as it was before.
    """
    names = sorted(tensors, key=lambda name: (ORDER.index(tensors[name].dtype), name))
    kept = {key: text for key, text in metadata.items() if not key.startswith("sshs_")}
    blank = {MODEL_HASH: "0" * 64, LEGACY_HASH: "0" * 8} if hashes else {}
    header = _header(names, tensors, {**kept, **blank})
    counted = _header(names, tensors, {key: text for key, text in kept.items() if key.startswith("ss_")})
    fingerprint = _Fingerprint(counted)
    sweep(path.parent, path.name)
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
            file.write(header)
            for name in names:
                data = memoryview(read(name)).cast("B")
                if len(data) != tensors[name].size:
                    raise ValueError(f"{name}: {len(data)} bytes, not {tensors[name].size}")
                file.write(data)
                fingerprint.update(data)
            if hashes:
                file.seek(0)
                file.write(_header(names, tensors, {**kept, **fingerprint.hashes()}))
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(READABLE_BY_ALL)
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


class _Fingerprint:
    """The hashes of a file's content, taken while it is written.

    The older one covers 64 KiB from the second MiB on of a file whose header holds only ss_… entries.
    """

    def __init__(self, counted: bytes) -> None:
        self._whole, self._window = hashlib.sha256(), hashlib.sha256()
        self._at = 0
        self._see(counted)

    def update(self, data: memoryview) -> None:
        self._whole.update(data)
        self._see(data)

    def _see(self, data: Data) -> None:
        view = memoryview(data)
        begin, end = LEGACY_START - self._at, LEGACY_START + LEGACY_LENGTH - self._at
        self._window.update(view[max(0, begin) : max(0, end)])
        self._at += len(view)

    def hashes(self) -> dict[str, str]:
        return {MODEL_HASH: self._whole.hexdigest(), LEGACY_HASH: self._window.hexdigest()[:8]}


def _header(names: list[str], tensors: Mapping[str, Planned], metadata: Mapping[str, str]) -> bytes:
    """Length and text of the header."""
    content: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in names:
        planned = tensors[name]
        content[name] = {
            "dtype": planned.dtype,
            "shape": list(planned.shape),
            "data_offsets": [at, at + planned.size],
        }
        at += planned.size
    # Names of folders may hold half letters, as which Python reads bytes that are no text.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
