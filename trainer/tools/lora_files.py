"""LoRA files as tools read and write them: module by module, so that a file is never in memory twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainer.errors import UserError
from trainer.files.safetensors_writer import Planned, write_safetensors
from trainer.lora.shapes import Shape, by_module

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.models.tensor_file import TensorFile

SavePrecision = Literal["float", "fp16", "bf16"]
KINDS = {"float": "F32", "fp16": "F16", "bf16": "BF16"}
"""Names in a header by the names in "Save precision"."""
LARGEST_FP16 = 65504.0


Report = Callable[[int, int], None]
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
        names = {key: shape for key, shape in self.file.shapes.items() if key.startswith(("lora_", "oft_"))}
        self.modules = by_module(names)
        if not self.modules:
            raise UserError("tools.no_kohya_lora", self.setting, name=self.path.name)

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.file.metadata

    def entries(self, module: str) -> dict[str, Tensor]:
        """A module's tensors as they are stored."""
        return {entry: self.file.read(f"{module}.{entry}") for entry in self.modules[module]}


def write_lora(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], precision: SavePrecision
) -> None:
    """Write a LoRA file with its hashes; numbers are converted one tensor at a time.

    What fp16 cannot hold is written in float32, which every reader takes. Raises OSError, and UserError where
    a number is inf or NaN: such a file would make grey pictures.
    """
    import torch

    from trainer.models.tensor_file import raw_bytes

    dtypes = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    kinds = {name: _kind(name, tensor, precision) for name, tensor in tensors.items()}
    names = {kind: key for key, kind in KINDS.items()}

    def read(name: str) -> memoryview:
        tensor = tensors[name].to(dtypes[names[kinds[name]]])
        return raw_bytes(tensor)

    planned = {name: Planned(kinds[name], tuple(tensor.shape)) for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, planned, read, metadata, hashes=True)


def _kind(name: str, tensor: Tensor, precision: SavePrecision) -> str:
    largest = float(tensor.detach().abs().max()) if tensor.numel() else 0.0
    if not math.isfinite(largest):
        raise UserError("tools.not_finite", name=name)
    return "F32" if precision == "fp16" and largest > LARGEST_FP16 else KINDS[precision]


def free_path(wanted: Path) -> Path:
    """The path, or with -2, -3 … where something of that name is there: nothing is overwritten."""
    taken = {file.name.casefold() for file in wanted.parent.iterdir()} if wanted.parent.is_dir() else set()
    numbered = (f"-{number}" for number in range(2, len(taken) + 3))
    names = (f"{wanted.stem}{suffix}{wanted.suffix}" for suffix in ("", *numbered))
    return wanted.with_name(next(name for name in names if name.casefold() not in taken))


def counted(modules: Mapping[str, object], report: Report) -> Iterator[str]:
    """The modules' names one by one, each told to `report`."""
    for done, name in enumerate(modules):
        report(done, len(modules))
        yield name
    report(len(modules), len(modules))
