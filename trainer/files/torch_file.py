"""Files that torch has written, looked at before torch opens them. Loads no torch.

Such a file is a zip archive of plain numbers and a pickle that says what they are. torch refuses code in it,
but believes sizes: a compressed archive, or a pickle that asks for a gigabyte of nothing, fills all memory.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_PICKLE = 20_000_000
"""Bytes of what says what the numbers are; that of a whole checkpoint has 200,000."""
MOST_VALUES = 2_000_000
"""Numbers, texts and tables of a training state; that of SDXL's largest LoRA has some ten thousand."""
ASKS_FOR_MEMORY = frozenset({"builtins bytearray", "__builtin__ bytearray"})
"""What torch lets a pickle call and what makes room, and fills it, as a number in the pickle says."""
PLAIN_PICKLE = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage"
)
"""All that a dict of tensors and numbers needs."""


def refuse_bomb(path: Path) -> None:
    """Raise ValueError for a file that would need more memory than it has bytes, or OSError.

    Both forms are known: the archive of today, and the one before 2020, which begins with its pickles.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"PK"
    names = names_in(path) if packed else _names_in_old_form(path)
    if names & ASKS_FOR_MEMORY:
        raise ValueError("asks for memory")


@dataclass(frozen=True)
class TensorNote:
    """What an archive says of a tensor; its numbers are not read."""

    dtype: str
    """As in torch's names of storages: "Float", "Long", "Byte" …"""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Storage:
    dtype: str
    numbers: int = 0


def outline(path: Path) -> Any:
    """The content of an archive of dicts, lists, numbers and texts, with a `TensorNote` for each tensor.

    Raises ValueError for anything but what torch.save writes of such, or OSError.
    """
    unknown = [name for name in names_in(path) if not PLAIN_PICKLE.fullmatch(name)]
    if unknown:
        raise ValueError(f"not plain: {unknown[0][:80]}")
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename.partition("/")[2]: part for part in archive.infolist()}
        sizes = {name: part.file_size for name, part in parts.items()}
        data = archive.read(parts["data.pkl"])
    try:
        found = _Outline(io.BytesIO(data), sizes).load()
        _refuse_others(found)
    except (
        pickle.UnpicklingError,
        LookupError,
        TypeError,
        AttributeError,
        EOFError,
        RecursionError,
    ) as error:
        raise ValueError("no content of torch") from error
    return found


class _Outline(pickle.Unpickler):
    """Reads the pickle of an archive without torch: it calls nothing but what is in this class."""

    def __init__(self, file: io.BytesIO, sizes: dict[str, int]) -> None:
        """`sizes`: bytes of the archive's files, by name."""
        super().__init__(file)
        self._sizes = sizes

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if not PLAIN_PICKLE.fullmatch(f"{module_name} {global_name}"):
            raise pickle.UnpicklingError("not plain")
        if global_name == "OrderedDict":
            return OrderedDict
        if global_name == "_rebuild_tensor_v2":
            return self._tensor
        if global_name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        return _Storage(global_name.removesuffix("Storage"))

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, place, numbers = pid
        if kind != "storage" or not isinstance(storage, _Storage) or place == "meta":
            raise TypeError("storage")
        if type(numbers) is not int or not 0 <= numbers <= self._sizes[f"data/{key}"]:
            raise ValueError("a storage that is not there")
        return _Storage(storage.dtype, numbers)

    def _tensor(self, storage: _Storage, start: int, shape: tuple[int, ...], *_: Any) -> TensorNote:
        whole = all(type(number) is int and number >= 0 for number in (start, *shape))
        if not whole or start + math.prod(shape) > storage.numbers:
            raise ValueError("a tensor that is not there")
        return TensorNote(storage.dtype, tuple(shape))


def _refuse_others(content: Any) -> None:
    """Raise TypeError for anything but dicts, lists, tensors, numbers and texts, ValueError for too many.

    What is told twice counts twice: lists of the same lists are a few bytes, and fill all memory once copied.
    """
    waiting, left = [content], MOST_VALUES
    while waiting:
        value = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError("too many values")
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif not isinstance(value, TensorNote | str | int | float | bool | None):
            raise TypeError(type(value).__name__)


def names_in(path: Path) -> set[str]:
    """What the archive's pickle names, as "module name". Raises ValueError for a damaged or packed archive.

    torch packs without compression, so nothing is larger inside than outside.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            names = [part.filename for part in parts]
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
            if not stored or sum(part.file_size for part in parts) > path.stat().st_size:
                raise ValueError("larger inside than outside")
            pickles = [part for part in parts if part.filename.rpartition("/")[2] == "data.pkl"]
            if len(set(names)) < len(names) or len(pickles) != 1 or pickles[0].file_size > MOST_PICKLE:
                raise ValueError("not one pickle")
            return _named(archive.read(pickles[0]))
    except (zipfile.BadZipFile, NotImplementedError, KeyError, EOFError, RuntimeError) as error:
        raise ValueError("no zip file") from error


def _named(data: bytes) -> set[str]:
    return {str(text) for opcode, text, _ in pickletools.genops(data) if _names(opcode.name)}


def _names(opcode: str, refused: Container[str] = ("STACK_GLOBAL", "INST")) -> bool:
    if opcode in refused:  # torch does not read them either
        raise ValueError(opcode)
    return opcode == "GLOBAL"


def _names_in_old_form(path: Path) -> set[str]:
    """Four pickles (a number, a version, the machine, the content) and then the numbers."""
    names = set[str]()
    with path.open("rb") as file:
        for _ in range(4):
            if not file.peek(1):
                break
            names |= {str(text) for opcode, text, _ in pickletools.genops(file) if _names(opcode.name)}
            if file.tell() > MOST_PICKLE:
                raise ValueError("too long")
    return names
