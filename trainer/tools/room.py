"""Room on the disk for what a tool will write, as far as its size is known before. Loads no torch.

Sizes are those of the tensors; what cannot be told from the files' headers counts as nothing, so that what is
refused would certainly not have found room.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.paths import nearest_existing
from trainer.files.safetensors_header import BITS, HeaderError, TensorEntry, read_header
from trainer.lora.shapes import Shape, by_module
from trainer.preflight.saving import gigabytes
from trainer.problems import Problem, block
from trainer.schema import Setting
from trainer.tools.lora_files import STORED_AS, SavePrecision

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E5M2", "F8_E4M3", "F8_E8M0")
TWICE = 2
"""A LoRA that is made module by module lies on the disk twice, until its header can be written."""


def check_room(setting: Setting, path: Path, needed: int) -> Iterator[Problem]:
    """The problem of a disk on which a file or folder of so many bytes has no room."""
    if lacking := _lacking(path, needed):
        yield block(setting.key, "tools.no_room", label=setting.spec.label, **lacking)


def require_room(path: Path, needed: int) -> None:
    """As `check_room`, for "Save as" in a run that tells the size. Raises UserError."""
    if lacking := _lacking(path, needed):
        raise UserError("tools.no_room", "output", label="Save as", **lacking)


def _lacking(path: Path, needed: int) -> dict[str, Any]:
    """What is needed and what is free, in words; {} where there is room."""
    place = nearest_existing(path)
    try:
        free = shutil.disk_usage(place).free if place else needed
    except OSError:  # a drive that does not tell
        return {}
    return {"needed": gigabytes(needed), "free": gigabytes(free)} if needed > free else {}


def size_stored(path: Path, precision: SavePrecision | None = None) -> int:
    """Bytes of a file's tensors in another precision (None: as they are); 0 where nothing tells."""
    try:
        entries = read_header(path).entries
    except (HeaderError, OSError):
        return path.stat().st_size if precision is None else 0
    return sum(_size(entry, precision) for entry in entries.values())


def _size(entry: TensorEntry, precision: SavePrecision | None) -> int:
    if precision is None or entry.dtype not in FLOATS:
        return entry.end - entry.begin
    return math.prod(entry.shape) * BITS[STORED_AS[precision]] // 8


def size_of_folder(folder: Path, weights: Iterable[Path], precision: SavePrecision | None) -> int:
    """Bytes of a model's folder whose `weights` are stored in a precision; hidden files are not copied."""
    anew = set(weights)
    files = (path for path in folder.rglob("*") if path.is_file() and path not in anew)
    kept = (
        path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sum(path.stat().st_size for path in kept) + sum(size_stored(path, precision) for path in anew)


def plain_modules(path: Path) -> Mapping[str, Mapping[str, Shape]]:
    """Modules of a file that have both factors of a LoRA -> their entries; {} where nothing tells."""
    try:
        entries = read_header(path).entries
    except (HeaderError, OSError):
        return {}
    modules = by_module({name: entry.shape for name, entry in entries.items()})
    return {
        name: shapes
        for name, shapes in modules.items()
        if len(shapes.get("lora_down.weight", ())) > 1 and len(shapes.get("lora_up.weight", ())) > 1
    }


def numbers_at(shapes: Mapping[str, Shape], rank: int) -> int:
    """Numbers in both factors of a plain module, at a rank (no more than its sizes allow)."""
    out, width = shapes["lora_up.weight"][0], math.prod(shapes["lora_down.weight"][1:])
    return min(rank, out, width) * (out + width)


def is_wide(shapes: Mapping[str, Shape]) -> bool:
    """Whether a plain module is that of a convolution beyond 1x1."""
    return math.prod(shapes["lora_down.weight"][2:]) > 1


def size_of_lora(numbers: int, precision: SavePrecision) -> int:
    """Bytes that making a LoRA of so many numbers takes at its end."""
    return TWICE * numbers * BITS[STORED_AS[precision]] // 8
