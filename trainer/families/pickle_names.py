"""Names and shapes of the tensors in a .ckpt, .pt or .bin, without running anything that stands in it.

torch writes a pickle that calls `_rebuild_tensor_v2(storage, offset, size, …)` for each tensor. Here every
name in the pickle stands for an inert object, so that calling it only keeps what it was called with.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from trainer.families.unet import Shape

LARGEST_PICKLE = 20_000_000
"""Bytes of a pickle that are read; real ones have less than one million. It is compressed in no real file."""


class PickleError(Exception):
    """Not such a file; the argument is "damaged" or "incomplete"."""


class Inert:
    """Whatever a pickle asks for; does nothing."""

    name = ""
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *arguments: Any) -> Any:
        """An object; a pickle may also "make" one of an inert class."""
        return cls(*arguments) if isinstance(cls, Inert) else super().__new__(cls)

    def __call__(self, *arguments: Any) -> Any:
        """Keep what it was called with; the dictionaries that torch saves are real ones."""
        if self.name.endswith(("OrderedDict", "defaultdict")):
            return Names()
        return named(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        """Forget it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget it."""

    def append(self, item: Any) -> None:
        """Forget it."""

    extend = add = append


class Names(dict[str, Any]):
    """A dictionary by names; other keys are left out (hashing what a stranger made can take for ever)."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep what has a name."""
        if isinstance(key, str):
            super().__setitem__(key, value)

    def __setstate__(self, state: Any) -> None:
        """Forget attributes, such as a state dict's versions."""


def named(name: str, arguments: tuple[Any, ...] = ()) -> Inert:
    """An inert object for a name in a pickle."""
    made = Inert()
    made.name, made.arguments = name, arguments
    return made


class _Reader(pickle._Unpickler):  # noqa: SLF001  # the one in C makes room for whatever sizes the pickle claims
    """Reads a pickle in which every name is inert."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]]
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        """An inert object instead of what is named."""
        return named(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """A storage: its bytes stand elsewhere in the file."""
        return pid

    def get_extension(self, code: int) -> None:
        """Names by number are not looked up."""
        self.push(named(f"extension {code}"))

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def names(self) -> None:
        """A dictionary of what stands on the stack since the mark."""
        items = self.pop_mark()
        made = Names()
        for key, value in zip(items[::2], items[1::2], strict=False):
            made[key] = value
        self.push(made)

    def frozen_set(self) -> None:
        """A set of what stands on the stack since the mark."""
        self.pop_mark()
        self.push(named("frozenset"))


_Reader.dispatch = {
    **pickle._Unpickler.dispatch,  # noqa: SLF001  # see _Reader
    pickle.EMPTY_DICT[0]: lambda reader: reader.push(Names()),
    pickle.DICT[0]: _Reader.names,
    pickle.EMPTY_SET[0]: lambda reader: reader.push(named("set")),
    pickle.FROZENSET[0]: _Reader.frozen_set,
}


def pickle_shapes(path: Path) -> Mapping[str, Shape]:
    """Name -> shape of the tensors; {} where the pickle is not understood.

    Raises PickleError, or OSError where it cannot be opened.
    """
    with path.open("rb") as file:
        beginning = file.read(4)
        if beginning[:2] == b"PK":
            return _shapes(_read(_data_in_zip(path)))
        if beginning[:1] != b"\x80":
            raise PickleError("damaged")
        file.seek(0)
        whole = file.read(LARGEST_PICKLE)
    return _shapes(_read(whole, before=3))  # torch's format before 2020: three small pickles come first


def _data_in_zip(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            part = next(part for part in archive.infolist() if part.filename.endswith("data.pkl"))
            if part.file_size > LARGEST_PICKLE:
                raise PickleError("damaged")
            return archive.read(part)
    except (
        zipfile.BadZipFile,
        StopIteration,
        OSError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
    ) as error:
        raise PickleError("incomplete") from error


def _read(content: bytes, before: int = 0) -> Any:
    """The pickle after `before` others; None for one that is not understood (loading will say why)."""
    file = io.BytesIO(content)
    try:
        for _ in range(before):
            _Reader(file, encoding="latin1").load()
        return _Reader(file, encoding="latin1").load()
    except Exception:  # noqa: BLE001  # a pickle made to harm may fail in any way
        return None


def _shapes(content: Any) -> Mapping[str, Shape]:
    """Tensors of a state dict, whether it stands alone or beside other things."""
    inner = content.get("state_dict") if isinstance(content, dict) else None
    tensors = inner if isinstance(inner, dict) else content if isinstance(content, dict) else {}
    shapes = {name: _shape(value) for name, value in tensors.items()}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _shape(value: Any) -> Shape | None:
    """The shape of a tensor, also of one in a Parameter; None for what is none."""
    if not isinstance(value, Inert):
        return None
    if value.name.endswith("_rebuild_parameter") and value.arguments:
        return _shape(value.arguments[0])
    size = value.arguments[2] if "_rebuild_tensor" in value.name and len(value.arguments) > 2 else None
    return tuple(size) if isinstance(size, tuple) and all(type(part) is int for part in size) else None
