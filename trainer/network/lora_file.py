"""LoRA files in kohya's format: written whole or not at all, and read again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from trainer.errors import UserError
from trainer.files.file_hashes import legacy_hash, tensors_hash
from trainer.files.whole_file import write_whole
from trainer.lora.types import ALGORITHMS
from trainer.models.tensor_file import open_tensor_file

READABLE_BY_ALL = 0o644
DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""By the names in "Save precision"."""
WEIGHTS = tuple(f".{mark}" for facts in ALGORITHMS.values() for mark in facts.marks)
"""Endings of keys by which a LoRA file of any type is told."""


def save_lora(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype = torch.float32
) -> None:
    """Write a LoRA file; .safetensors carries the metadata and its hashes, .ckpt and .pt cannot.

    Either the whole file stands under `path` afterwards or none. Raises OSError (disk full, no right).
    """
    converted = {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        data: bytes | memoryview = safetensors.torch.save(converted, with_hashes(converted, metadata))
    else:
        buffer = io.BytesIO()  # torch itself would tell of a full disk as a RuntimeError
        torch.save(converted, buffer)
        data = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, READABLE_BY_ALL)


def with_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata and `sshs_model_hash`, `sshs_legacy_hash`, as the reference computes them.

    Only entries named ss_… count for the older hash, since it covers part of the header.
    """
    counted = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    content = safetensors.torch.save(dict(tensors), counted)
    hashes = {"sshs_model_hash": tensors_hash(content), "sshs_legacy_hash": legacy_hash(content)}
    return {**metadata, **hashes}


def load_lora(path: Path, setting: str = "network_weights") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a LoRA file. Raises UserError for a file that is none, damaged or unsafe."""
    file = open_tensor_file(path, setting)
    if not any(key.endswith(WEIGHTS) for key in file.shapes):
        raise UserError("core.not_a_lora", setting, name=path.name)
    return {key: file.read(key) for key in file.shapes}, dict(file.metadata)


def alphas(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Alpha of each module, by its name."""
    return {
        key.removesuffix(".alpha"): float(value) for key, value in tensors.items() if key.endswith(".alpha")
    }
