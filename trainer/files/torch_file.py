"""Files that torch has written, looked at before torch opens them. Loads no torch.

Such a file is a zip archive of plain numbers and a pickle that says what they are. torch refuses code in it,
but believes sizes: a compressed archive, or a pickle that asks for a gigabyte of nothing, fills all memory.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Container
from pathlib import Path

MOST_PICKLE = 20_000_000
"""Bytes of what says what the numbers are; that of a whole checkpoint has 200,000."""
ASKS_FOR_MEMORY = frozenset({"builtins bytearray", "__builtin__ bytearray"})
"""What torch lets a pickle call and what makes room, and fills it, as a number in the pickle says."""
PLAIN = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage")
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


def check_plain(path: Path) -> None:
    """Raise ValueError for anything but an archive of tensors, numbers and texts, as torch.save writes it."""
    unknown = [name for name in names_in(path) if not PLAIN.fullmatch(name)]
    if unknown:
        raise ValueError(f"not plain: {unknown[0][:80]}")


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
