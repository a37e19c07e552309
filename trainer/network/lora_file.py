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
from trainer.files.safetensors_writer import READABLE_BY_ALL
from trainer.files.whole_file import write_whole
from trainer.lora.peft_names import in_kohyas_form
from trainer.lora.shapes import by_module
from trainer.lora.types import ALGORITHMS, algorithm_in, rank_of
from trainer.models.tensor_file import open_tensor_file

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""By the names in "Save precision"."""
WEIGHT_MARKS = tuple(f".{mark}" for facts in ALGORITHMS.values() for mark in facts.marks)
"""Endings of keys by which a LoRA file of any type is told."""


def save_lora(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype = torch.float32
) -> None:
    """Write a LoRA file; .safetensors carries the metadata and its hashes, .ckpt and .pt cannot.

    Tensors are shaped as `lora.shapes` says. What `dtype` cannot hold is written in float32. Either the
    whole file stands under `path` afterwards or none. Raises OSError (disk full, no right), UserError for
    weights that are no numbers.
    """
    refuse_no_numbers(tensors)
    # Copied to the CPU first: the hash and the file are made of the same bytes.
    converted = {key: _converted(tensor.detach().cpu(), dtype) for key, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        # In memory, not by `save_file`: the hashes of the content belong into the header before it.
        data: bytes | memoryview = safetensors.torch.save(converted, with_hashes(converted, metadata))
    else:
        buffer = io.BytesIO()  # torch itself would tell of a full disk as a RuntimeError
        torch.save(converted, buffer)
        data = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Like any file of the person's own: other programs of the machine read it, too.
    write_whole(path, data, READABLE_BY_ALL)


def refuse_no_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError where weights, of any shape, are no numbers: such a file only harms who loads it."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise UserError("training.weights_not_finite", "learning_rate")


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Any shape, in `dtype`; in float32 where it would become infinite or nothing (alpha 1e5 in fp16)."""
    small = tensor.to(dtype)
    # Subnormal numbers may vanish one by one; only a tensor that would be lost as a whole counts.
    lost = not bool(torch.isfinite(small).all()) or (bool(tensor.any()) and not bool(small.any()))
    return (tensor.float() if lost else small).contiguous()


def with_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata and `sshs_model_hash`, `sshs_legacy_hash`, as the reference computes them.

    `tensors`: the file's, of any shape. Only entries named ss_… count for the older hash, since it covers
    part of the header.
    """
    counted = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    content = safetensors.torch.save(dict(tensors), counted)
    hashes = {"sshs_model_hash": tensors_hash(content), "sshs_legacy_hash": legacy_hash(content)}
    return {**metadata, **hashes}


def load_lora(path: Path, setting: str = "network_weights") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, under kohya's names and shaped as `lora.shapes` says, and metadata of a LoRA file.

    Raises UserError for a file that is none, damaged or unsafe, or holds inf or NaN.
    """
    file = open_tensor_file(path, setting)
    # By names and shapes alone, so that a foreign file is refused before its tensors are read.
    names = in_kohyas_form({key: key for key in file.shapes}, file.shapes)
    if not any(key.endswith(WEIGHT_MARKS) for key in names):
        raise UserError("core.not_a_lora", setting, name=path.name)
    tensors = {key: file.read(stored) for key, stored in names.items()}
    for key, tensor in tensors.items():
        # One NaN spreads to every weight in the first step: better said here, with the tensor's name.
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError("core.weights_not_finite", setting, name=path.name, tensor=key)
    return {**tensors, **_alphas_of_ranks(tensors)}, dict(file.metadata)


def _alphas_of_ranks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An alpha, shape (), equal to the rank where a file has none, or 0 (as the reference takes it)."""
    found: dict[str, Tensor] = {}
    for name, entries in by_module(tensors).items():
        shapes = {entry: tuple(tensor.shape) for entry, tensor in entries.items()}
        algorithm = algorithm_in(shapes)
        has_none = "alpha" not in entries or not entries["alpha"].any()
        if algorithm and ALGORITHMS[algorithm].has_alpha and has_none and (rank := rank_of(shapes)):
            found[f"{name}.alpha"] = torch.tensor(float(rank))
    return found


def alphas(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Alpha of each module, of shape (), by its name."""
    return {
        key.removesuffix(".alpha"): float(value) for key, value in tensors.items() if key.endswith(".alpha")
    }
