"""A smaller LoRA out of a DyLoRA: its first ranks. `python -m trainer extract`. Loads no torch.

DyLoRA (arXiv 2210.07558) trains its ranks so that the first n of them are a LoRA of rank n. As with kohya's
own tool the alphas stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.errors import UserError
from trainer.files.safetensors_header import BITS, Header, TensorEntry, require_header
from trainer.files.safetensors_writer import Planned
from trainer.lora.numbers import odd_numbers
from trainer.lora.shapes import Shape
from trainer.tools.lora_files import Progress, free_path, rewrite, silent

FACTORS = (".lora_down.weight", ".lora_up.weight")
"""The names of both factors end so; the first has the rank as its rows, the second as its columns."""


@dataclass(frozen=True)
class Ranks:
    """What can be taken out of a file."""

    full: int
    unit: int
    """The ranks were trained in groups of so many."""

    @property
    def smaller(self) -> tuple[int, ...]:
        """The ranks that a smaller LoRA can have."""
        return tuple(range(self.unit, self.full, self.unit))


def ranks_in(path: Path) -> Ranks:
    """The ranks that a DyLoRA file holds. Raises UserError for a file that is none."""
    return _ranks(require_header(path, "lora"), path.name)


def _ranks(header: Header, name: str) -> Ranks:
    factors = {key: entry.shape for key, entry in header.entries.items() if key.endswith(FACTORS)}
    downs = [shape[0] for key, shape in factors.items() if key.endswith(FACTORS[0]) and shape]
    if not downs or any(len(shape) < 2 for shape in factors.values()):  # no matrix
        raise UserError("files.no_lora", "lora", name=name)
    unit = _unit(header.metadata)
    if unit is None:
        raise UserError("files.no_dylora", "lora", name=name)
    return Ranks(max(downs), unit)


def _unit(metadata: Mapping[str, str]) -> int | None:
    """Ranks per group by the metadata; None where it tells of another LoRA type, 1 where it tells nothing."""
    try:
        arguments = json.loads(metadata.get("ss_network_args") or "{}")
        unit = int(arguments.get("unit") or arguments.get("block_size") or 1)
    except (ValueError, TypeError, AttributeError):
        arguments, unit = {}, 1
    module = metadata.get("ss_network_module", "")
    nested = module == "networks.dylora" or arguments.get("algo") == "dylora"
    return max(1, unit) if nested or not module else None


def extract(path: Path, rank: int, output: Path | None = None, report: Progress = silent) -> Path:
    """Write the LoRA of the first `rank` ranks; returns its path (default: beside `path`, a free name).

    Raises UserError for a file that is no DyLoRA, holds inf or NaN, or not that rank; StopRequested, OSError.
    """
    header = require_header(path, "lora")
    ranks = _ranks(header, path.name)
    if rank not in ranks.smaller:
        raise refused(ranks, rank, path)
    target = output or free_path(path.with_name(f"{path.stem}-rank{rank}.safetensors"))
    if target.resolve() == path.resolve():
        raise UserError("files.extract_itself", name=path.name)
    if damaged := odd_numbers(path).not_finite:
        raise UserError("tools.weights_damaged", "lora", name=path.name, module=damaged)
    planned = {
        name: Planned(entry.dtype, _cut(name, entry.shape, rank)) for name, entry in header.entries.items()
    }

    def cut(name: str, data: bytes) -> bytes:
        return _first_ranks(name, header.entries[name], data, rank)

    rewrite(path, header, target, planned, _metadata(header.metadata, rank, ranks), report, cut)
    return target


def refused(ranks: Ranks, rank: int, path: Path) -> UserError:
    """Why a rank cannot be taken out."""
    choices = [str(smaller) for smaller in ranks.smaller] or "–"
    return UserError(
        "files.extract_rank", "rank", name=path.name, rank=rank, full=ranks.full, choices=choices
    )


def _metadata(before: Mapping[str, str], rank: int, ranks: Ranks) -> dict[str, str]:
    comment = f"rank {rank} of a DyLoRA of rank {ranks.full}; {before.get('ss_training_comment', '')}"
    return {**before, "ss_network_dim": str(rank), "ss_training_comment": comment.rstrip("; ")}


def _cut(name: str, shape: Shape, rank: int) -> Shape:
    """The shape that is left of a tensor: factors lose ranks, alphas and smaller ones stay as they are."""
    axis = next((axis for axis, ending in enumerate(FACTORS) if name.endswith(ending)), None)
    return shape if axis is None else (*shape[:axis], min(shape[axis], rank), *shape[axis + 1 :])


def _first_ranks(name: str, entry: TensorEntry, data: bytes, rank: int) -> bytes:
    """The bytes of one tensor cut to the first ranks."""
    kept = _cut(name, entry.shape, rank)
    if kept == entry.shape:
        return data
    numbers = np.frombuffer(data, np.dtype(f"V{BITS[entry.dtype] // 8}")).reshape(entry.shape)
    return np.ascontiguousarray(numbers[tuple(slice(size) for size in kept)]).tobytes()
