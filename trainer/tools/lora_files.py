"""LoRA files as tools read and write them: module by module, so that a file is never in memory twice."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import Self

from trainer.errors import UserError
from trainer.families.lora_family import lora_family
from trainer.families.table import FAMILIES
from trainer.files.safetensors_header import Header, require_header
from trainer.files.safetensors_writer import Data, Planned, write_safetensors
from trainer.files.whole_file import naming
from trainer.lora.shapes import Shape, by_module
from trainer.lora.torn import is_torn
from trainer.lora.types import algorithm_in, needs_weight
from trainer.problems import some_names

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from trainer.models.tensor_file import TensorFile

SavePrecision = Literal["float", "fp16", "bf16"]
STORED_AS = {"float": "F32", "fp16": "F16", "bf16": "BF16"}
"""Names in a header by the names in "Save precision"."""
LARGEST_FP16 = 65504.0
MOST_ENTRIES = 6
FLAT = {"hada_w1_a", "lokr_w1", "lokr_w1_a"}
"""Entries of the types whose factors hold a kernel's numbers side by side."""


Progress = Callable[[int, int], None]
"""Called with (done, total); raises StopRequested where the tool is to stop."""


def silent(_done: int, _total: int) -> None:
    """Report to nobody."""


@dataclass
class LoraFile:
    """A LoRA file, read module by module."""

    path: Path
    setting: str = ""
    modules: dict[str, dict[str, Shape]] = field(default_factory=dict, init=False)
    """Module -> name of an entry -> its shape."""

    def __post_init__(self) -> None:
        """Raises UserError for a file that is missing, damaged or no LoRA."""
        from trainer.models.tensor_file import open_tensor_file

        self.file: TensorFile = open_tensor_file(self.path, self.setting)
        self.modules = modules_of(self.file.shapes, self.path, self.setting)

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.file.metadata

    def entries(self, module: str) -> dict[str, Tensor]:
        """A module's tensors as stored, in the shapes of `modules`; of 8 bits in 32, to compute with."""
        names = {entry: f"{module}.{entry}" for entry in self.modules[module]}
        return {entry: self.file.read(name, self._readable(name)) for entry, name in names.items()}

    def kernel(self, module: str) -> Shape:
        """Of a convolution whose entries do not show it (they are those of a linear layer), as its family has
        it: (3, 3); () where they do, or where it is none.
        """
        from trainer.models.lora_names import kernel_of

        entries = self.modules[module]
        if not FLAT & entries.keys() or any(len(shape) > 2 for shape in entries.values()):
            return ()
        return kernel_of(module, FAMILIES[lora_family(self.file.shapes, self.metadata) or "sd1"])

    def _readable(self, name: str) -> dtype:
        import torch

        stored = self.file.dtypes[name]
        return torch.float32 if stored.is_floating_point and stored.itemsize == 1 else stored


def modules_of(shapes: Mapping[str, Shape], path: Path, setting: str) -> dict[str, dict[str, Shape]]:
    """Module -> name of an entry -> its shape. Raises UserError where no name is one of kohya's."""
    modules = by_module({key: shape for key, shape in shapes.items() if key.startswith(("lora_", "oft_"))})
    if not modules:
        raise UserError("tools.no_kohya_lora", setting, name=path.name)
    return modules


def modules_in(path: Path, setting: str) -> dict[str, dict[str, Shape]]:
    """As `modules_of`, by the header alone: loads no torch. {} for a pickle, which tells nothing unopened."""
    if path.suffix.lower() != ".safetensors":
        return {}
    entries = require_header(path, setting).entries
    return modules_of({name: entry.shape for name, entry in entries.items()}, path, setting)


def require_lora(path: Path, setting: str) -> None:
    """Raise UserError for a file that is no whole LoRA in kohya's naming, as its header tells."""
    for module, entries in modules_in(path, setting).items():
        require_whole(module, entries, path, setting)


def is_plain(entries: Mapping[str, Shape]) -> bool:
    """Whether a module is the product of two factors, and of nothing else."""
    return algorithm_in(entries) == "lora" and not {"lora_mid.weight", "dora_scale"} & entries.keys()


def require_factors(path: Path, setting: str) -> None:
    """Raise UserError for a LoRA that cannot become a plain one without its model, as its header tells.

    Also as `require_lora`.
    """
    for module, entries in modules_in(path, setting).items():
        require_whole(module, entries, path, setting)
        if not has_factors(module, entries, path, setting):
            raise UserError("tools.needs_model", setting, name=path.name)


def has_factors(module: str, entries: Mapping[str, Shape], path: Path, setting: str) -> bool:
    """Whether the file alone tells a module's change. Raises UserError for entries of no known type."""
    algorithm = algorithm_in(entries)
    if algorithm is None:
        names = some_names(sorted(entries), MOST_ENTRIES)
        raise UserError("tools.unknown_type", setting, name=path.name, module=module, names=names)
    return algorithm != "norm" and not needs_weight(entries)


def require_whole(module: str, entries: Mapping[str, Shape], path: Path, setting: str) -> None:
    """Raise UserError for a module whose parts do not belong together; `entries`: name -> shape."""
    if is_torn(entries):
        raise UserError("tools.weights_torn", setting, name=path.name, module=module)


def whole_entries(file: LoraFile, module: str) -> dict[str, Tensor]:
    """A module's tensors, as `entries`. Raises UserError for inf, NaN and parts that do not fit."""
    require_whole(module, file.modules[module], file.path, file.setting)
    entries = file.entries(module)
    for tensor in entries.values():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError("tools.weights_damaged", file.setting, name=file.path.name, module=module)
    return entries


@contextmanager
def told_of(module: str, *files: LoraFile) -> Iterator[None]:
    """What is refused within tells of which files and of which of their modules."""
    try:
        yield
    except UserError as error:
        told = {"name": [file.path.name for file in files], "module": module, **error.message.values}
        raise UserError(error.message.code, error.setting or files[0].setting, **told) from error


class LoraWriter:
    """A LoRA file that is made module by module. What is done lies on the disk until all of it is known.

    So a tool needs memory for one module. Used with `with`: at its end what lies there is gone. What fp16
    cannot hold is written in float32, which every reader takes.
    """

    def __init__(self, path: Path, precision: SavePrecision, report: Progress = silent) -> None:
        """`report` is asked between two tensors whether to stop. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.precision: SavePrecision = precision
        self._report = report
        self.alphas: set[float] = set()
        self._planned: dict[str, Planned] = {}
        self._begin: dict[str, int] = {}
        # Without a name where the system can: nothing is left over, however the program ends.
        with naming(path):
            self._done = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed at the block's end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):  # of a full disk, which has been told where it was met
            self._done.close()

    def add(self, module: str, entries: Mapping[str, Tensor]) -> None:
        """Put a module in: up (out, r, …), down (r, in, …), alpha () and what else a type has, as they are.

        Raises OSError, and UserError for inf or NaN: they would make grey pictures.
        """
        from trainer.models.tensor_file import STORED_DTYPES, raw_bytes

        for entry, tensor in entries.items():
            name = f"{module}.{entry}"
            kind = _kind(name, tensor, self.precision)
            self._planned[name] = Planned(kind, tuple(tensor.shape))
            self._begin[name] = self._done.tell()
            with naming(self.path):
                self._done.write(raw_bytes(tensor.to(STORED_DTYPES[kind])))
            if entry == "alpha":
                self.alphas.add(float(tensor))

    @property
    def ranks(self) -> set[int]:
        """Of the modules so far."""
        return {
            planned.shape[0] for name, planned in self._planned.items() if name.endswith(".lora_down.weight")
        }

    def write(self, metadata: Mapping[str, str]) -> None:
        """Write the file, with its hashes. Raises OSError, StopRequested."""
        with naming(self.path):
            write_safetensors(self.path, self._planned, self._read, metadata, hashes=True)

    def _read(self, name: str) -> bytes:
        self._report(len(self._planned), len(self._planned))
        self._done.seek(self._begin[name])
        return self._done.read(self._planned[name].size)


def _kind(name: str, tensor: Tensor, precision: SavePrecision) -> str:
    """The kind of number that a tensor of any shape is stored in."""
    largest = float(tensor.detach().abs().max()) if tensor.numel() else 0.0
    if not math.isfinite(largest):
        raise UserError("tools.not_finite", name=name)
    return "F32" if precision == "fp16" and largest > LARGEST_FP16 else STORED_AS[precision]


def free_path(path: Path) -> Path:
    """The path, or with -2, -3 … where something of that name is there: nothing is overwritten."""
    names_there = {file.name.casefold() for file in path.parent.iterdir()} if path.parent.is_dir() else set()
    numbered = (f"-{number}" for number in range(2, len(names_there) + 3))
    names = (f"{path.stem}{suffix}{path.suffix}" for suffix in ("", *numbered))
    return path.with_name(next(name for name in names if name.casefold() not in names_there))


def counted(modules: Mapping[str, object], report: Progress) -> Iterator[str]:
    """The modules' names one by one, each told to `report`."""
    for done, name in enumerate(modules):
        report(done, len(modules))
        yield name
    report(len(modules), len(modules))


def reported(read: Callable[[str], Data], total: int, report: Progress) -> Callable[[str], Data]:
    """`read`, each of whose `total` calls is told to `report`."""
    done = count()

    def read_next(name: str) -> Data:
        report(next(done), total)
        return read(name)

    return read_next


def rewrite(
    path: Path,
    header: Header,
    output: Path,
    planned: Mapping[str, Planned],
    metadata: Mapping[str, str],
    report: Progress,
    change: Callable[[str, bytes], Data] = lambda _name, data: data,
) -> None:
    """Write a file with its hashes, each tensor as `change` makes it of its bytes in `path`.

    Memory: that of one tensor. Raises OSError, StopRequested.
    """
    with path.open("rb") as file:

        def read(name: str) -> Data:
            entry = header.entries[name]
            file.seek(header.start + entry.begin)
            return change(name, file.read(entry.end - entry.begin))

        told = reported(read, len(planned), report)
        write_safetensors(output, planned, told, metadata, hashes=True)
