"""A smaller LoRA out of a DyLoRA: its first ranks. `python -m trainer extract`. Loads no torch.

DyLoRA (arXiv 2210.07558) trains its ranks so that the first n of them are a LoRA of rank n. As with kohya's
own tool the alphas stay as they are.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import UserError
from trainer.files.file_hashes import legacy_hash, tensors_hash
from trainer.files.safetensors_header import BITS, Header, HeaderError, TensorEntry, read_header
from trainer.files.safetensors_writer import READABLE_BY_ALL
from trainer.files.stand_ins import stand_in
from trainer.files.whole_file import write_whole
from trainer.tools.lora_files import free_path

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
    return _ranks(_header(path), path.name)


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except FileNotFoundError as error:
        raise UserError("files.missing", path=str(path)) from error
    except (HeaderError, OSError) as error:
        raise UserError(stand_in(path) or "files.not_safetensors", name=path.name) from error


def _ranks(header: Header, name: str) -> Ranks:
    factors = {key: entry.shape for key, entry in header.entries.items() if key.endswith(FACTORS)}
    downs = [shape[0] for key, shape in factors.items() if key.endswith(FACTORS[0]) and shape]
    if not downs or any(len(shape) < 2 for shape in factors.values()):  # no matrix
        raise UserError("files.no_lora", name=name)
    unit = _unit(header.metadata)
    if unit is None:
        raise UserError("files.no_dylora", name=name)
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


def extract(path: Path, rank: int, output: Path | None = None) -> Path:
    """Write the LoRA of the first `rank` ranks; returns its path (default: beside `path`, a free name).

    Raises UserError for a file that is no DyLoRA and a rank that it does not hold, OSError for a full disk.
    """
    header = _header(path)
    ranks = _ranks(header, path.name)
    if rank not in ranks.smaller:
        choices = [str(one) for one in ranks.smaller] or "–"
        raise UserError("files.extract_rank", name=path.name, rank=rank, full=ranks.full, choices=choices)
    target = output or free_path(path.with_name(f"{path.stem}-rank{rank}.safetensors"))
    if target.resolve() == path.resolve():
        raise UserError("files.extract_itself", name=path.name)
    data = memoryview(path.read_bytes())[header.start :]
    entries = sorted(header.entries.items(), key=lambda item: item[1].begin)
    parts = [_first_ranks(name, entry, data, rank) for name, entry in entries]
    comment_before = header.metadata.get("ss_training_comment", "")
    comment = f"rank {rank} of a DyLoRA of rank {ranks.full}; {comment_before}"
    metadata = {**header.metadata, "ss_network_dim": str(rank), "ss_training_comment": comment.rstrip("; ")}
    metadata = {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
    write_whole(target, _with_hashes(parts, metadata), READABLE_BY_ALL)
    return target


RawTensor = tuple[str, str, list[int], bytes]
"""Name, number format, shape, bytes."""


def _first_ranks(name: str, entry: TensorEntry, data: memoryview, rank: int) -> RawTensor:
    """One tensor cut to the first ranks; alphas and smaller ones stay as they are."""
    shape, raw = list(entry.shape), bytes(data[entry.begin : entry.end])
    axis = next((axis for axis, ending in enumerate(FACTORS) if name.endswith(ending)), None)
    if axis is None or shape[axis] <= rank:
        return name, entry.dtype, shape, raw
    numbers = np.frombuffer(raw, np.dtype(f"V{BITS[entry.dtype] // 8}")).reshape(shape)
    cut = numbers[:rank] if axis == 0 else numbers[:, :rank]
    return name, entry.dtype, list(cut.shape), np.ascontiguousarray(cut).tobytes()


def _with_hashes(parts: list[RawTensor], metadata: Mapping[str, str]) -> bytes:
    """A .safetensors file with the hashes of its content (see lora_file.with_hashes)."""
    plain = _file(parts, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    hashes = {"sshs_model_hash": tensors_hash(plain), "sshs_legacy_hash": legacy_hash(plain)}
    return _file(parts, {**metadata, **hashes})


def _file(parts: list[RawTensor], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, dtype, shape, raw in parts:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, _, raw in parts)
