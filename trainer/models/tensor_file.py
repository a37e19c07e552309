"""Tensors in a file, read one by one straight into the wanted number format.

A 4 GB checkpoint must not need 4 GB besides the model it becomes, so a .safetensors file is read with
plain seeks instead of being mapped into memory.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.errors import UserError
from trainer.files.safetensors_header import require_header
from trainer.files.torch_file import refuse_bomb

STORED_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


BLOCK = 1 << 18
"""Numbers that are converted at a time."""


class TensorFile(Protocol):
    """Named tensors on disk."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each tensor."""
        ...

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """Number format of each tensor."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Text beside the tensors; a pickle has none."""
        ...

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, in its shape of `shapes`; floating ones in `dtype` where it is given."""
        ...


def open_tensor_file(path: Path, setting: str = "") -> TensorFile:
    """Open .safetensors, or .ckpt/.pt/.bin (numbers only: code inside is refused, never run).

    Raises UserError for a file that is missing, cut short, damaged or holds code; `setting` is the
    setting that names it.
    """
    if not path.is_file():
        raise UserError("core.file_missing", setting, path=str(path))
    if path.suffix.lower() == ".safetensors":
        return SafetensorsFile(path, setting)
    return PickleFile(path, setting)


class SafetensorsFile:
    """Format: https://huggingface.co/docs/safetensors — 8 bytes length, JSON header, data."""

    def __init__(self, path: Path, setting: str = "") -> None:
        self.path = path
        header = require_header(path, setting)
        self._start, self.metadata = header.start, header.metadata
        try:
            self._entries: dict[str, tuple[torch.dtype, tuple[int, ...], int, int]] = {
                name: (STORED_DTYPES[entry.dtype], entry.shape, entry.begin, entry.end)
                for name, entry in header.entries.items()
            }
        # A number format that torch has not.
        except KeyError as error:
            raise UserError("core.file_damaged", setting, path=str(path), name=path.name) from error
        self.shapes = {name: entry[1] for name, entry in self._entries.items()}
        self.dtypes = {name: entry[0] for name, entry in self._entries.items()}

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See TensorFile."""
        stored, shape, begin, _ = self._entries[name]
        tensor = torch.empty(shape, dtype=dtype if dtype and stored.is_floating_point else stored)
        if tensor.numel():
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._start + begin)
                _read_into(tensor.view(-1), file, stored)
        return tensor


def _read_into(numbers: Tensor, file: FileIO, stored: torch.dtype) -> None:
    """Fill them, (n,), with what stands at the file's place, converted block by block.

    So no whole tensor lies in memory in both formats, and a block is converted while it is in the cache.
    """
    block = numbers if numbers.dtype == stored else torch.empty(BLOCK, dtype=stored)
    for start in range(0, len(numbers), len(block)):
        part = numbers[start : start + len(block)]
        read = block[: len(part)]
        _read_whole(file, read.view(torch.uint8).numpy().data)
        if read.dtype != part.dtype:
            part.copy_(read)


def _read_whole(file: FileIO, buffer: memoryview) -> None:
    """Systems read at most 2 GB at once. What the file no longer has stays as it is."""
    done = 0
    while done < len(buffer) and (more := file.readinto(buffer[done:])):
        done += more


class PickleFile:
    """A torch file, read with `weights_only`: a pickle that names anything but tensors is refused."""

    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path, setting: str = "") -> None:
        try:
            content = _load_weights(path)
        except pickle.UnpicklingError as error:
            raise UserError("core.file_has_code", setting, path=str(path), name=path.name) from error
        # What torch's reader ends in depends on where the file is cut.
        except (RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError) as error:
            raise UserError("core.file_damaged", setting, path=str(path), name=path.name) from error
        # Checkpoints of a trainer hold more than weights; VAEs and LoRAs stand bare.
        tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
        tensors = tensors if isinstance(tensors, dict) else {}
        self._tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
        if any(is_blown_up(tensor) for tensor in self._tensors.values()):
            raise UserError("core.file_damaged", setting, path=str(path), name=path.name)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        self.dtypes = {name: tensor.dtype for name, tensor in self._tensors.items()}

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """See TensorFile."""
        return _converted(self._tensors[name], dtype)


def _load_weights(path: Path) -> Any:
    """The zip format of today can stay on disk until a tensor is used, the older one cannot."""
    refuse_bomb(path)
    with path.open("rb") as file:
        mmap = file.read(2) == b"PK"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd pickles, which are refused or read all the same
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def is_blown_up(tensor: Tensor) -> bool:
    """Whether a tensor of any shape claims more numbers than the file has for it."""
    # Strides of 0 and sparse layouts let a few bytes stand for any amount of memory.
    if tensor.layout != torch.strided:
        return True
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def _converted(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The same in `dtype`, in its own shape; whole numbers stay such."""
    return tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor


def raw_bytes(tensor: Tensor) -> memoryview:
    """The numbers of a tensor of any shape, as a file holds them."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
