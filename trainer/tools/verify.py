"""Is a LoRA file whole? Numbers that are none, modules that do nothing, names that no program knows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainer.files.safetensors_header import read_header
from trainer.lora.shapes import Shape
from trainer.lora.types import rank_of
from trainer.problems import some_names
from trainer.tools.lora_files import LoraFile, Progress, counted, silent

if TYPE_CHECKING:
    from torch import Tensor

MOST_NAMES = 5
PAIRS = {
    "lora_down.weight": "lora_up.weight", "lora_up.weight": "lora_down.weight", "hada_w1_a": "hada_w1_b",
    "hada_w2_a": "hada_w2_b", "hada_w1_b": "hada_w1_a", "hada_w2_b": "hada_w2_a", "lokr_w1_a": "lokr_w1_b",
    "lokr_w1_b": "lokr_w1_a", "lokr_w2_a": "lokr_w2_b", "lokr_w2_b": "lokr_w2_a", "a1.weight": "a2.weight",
    "a2.weight": "a1.weight", "b1.weight": "b2.weight", "b2.weight": "b1.weight", "w_norm": "b_norm",
}  # fmt: skip
"""An entry of a file and the one that it is useless without."""
ALONE = (
    "alpha", "diff", "diff_b", "dora_scale", "lora_mid.weight", "hada_t1", "hada_t2", "lokr_w1", "lokr_w2",
    "lokr_t2", "oft_blocks", "rescale", "weight", "on_input", "b_norm",
)  # fmt: skip
"""Entries that stand for themselves."""
FROM_ZERO = ("lora_up.weight", "hada_w2_a", "lokr_w2_b", "diff", "oft_blocks", "a2.weight", "b2.weight")
"""Entries that begin as zeros: all zero means that nothing was learned."""


@dataclass(frozen=True)
class Finding:
    """One thing about a file, for the texts under `tools.verify_…`."""

    level: Literal["error", "hint"]
    code: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Seen:
    """What was met on the way through the modules, by kind: names."""

    not_finite: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    no_strength: list[str] = field(default_factory=list)


def verify(path: Path, report: Progress = silent) -> list[Finding]:
    """What is wrong with a LoRA file, worst first; an empty list where nothing is.

    Raises UserError for a file that is missing, damaged or no LoRA, and StopRequested.
    """
    file, seen = LoraFile(path, "lora"), _Seen()
    for name in counted(file.modules, report):
        _look(name, file.entries(name), seen)
    return [*_findings(seen, len(file.modules)), *_hash(path, file.metadata, report)]


def _look(name: str, entries: Mapping[str, Tensor], seen: _Seen) -> None:
    """Note what is wrong with a module; `entries`: tensors of any shape."""
    shapes = {entry: tuple(tensor.shape) for entry, tensor in entries.items()}
    for entry, tensor in entries.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            seen.not_finite.append(f"{name}.{entry}")
        if entry in PAIRS and PAIRS[entry] not in entries:
            seen.alone.append(f"{name}.{entry}")
        elif entry not in PAIRS and entry not in ALONE:
            seen.unknown.append(f"{name}.{entry}")
    if any(entry in entries and not bool(entries[entry].any()) for entry in FROM_ZERO):
        seen.idle.append(name)
    if "alpha" in entries and rank_of(shapes) and not float(entries["alpha"]):
        seen.no_strength.append(name)
    if not _ranks_agree(shapes):
        seen.sizes.append(name)


def _ranks_agree(shapes: Mapping[str, Shape]) -> bool:
    """Whether the two sides of a LoRA have the same rank; where one is missing, that is told elsewhere."""
    if not shapes.keys() >= {"lora_down.weight", "lora_up.weight"}:
        return True
    down, up = shapes["lora_down.weight"], shapes["lora_up.weight"]
    return len(down) == len(up) >= 2 and down[0] == up[1]


def _findings(seen: _Seen, modules: int) -> Iterator[Finding]:
    errors = (
        ("tools.verify_not_finite", seen.not_finite), ("tools.verify_alone", seen.alone),
        ("tools.verify_sizes", seen.sizes),
    )  # fmt: skip
    hints = (
        ("tools.verify_no_strength", seen.no_strength), ("tools.verify_unknown", seen.unknown),
    )  # fmt: skip
    for code, names in errors:
        if names:
            yield Finding("error", code, _some(names))
    if len(seen.idle) == modules:
        yield Finding("error", "tools.verify_nothing_learned")
    elif seen.idle:
        yield Finding("hint", "tools.verify_idle", {**_some(seen.idle), "modules": modules})
    for code, names in hints:
        if names:
            yield Finding("hint", code, _some(names))


def _some(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "names": some_names(names, MOST_NAMES)}


def _hash(path: Path, metadata: Mapping[str, str], report: Progress) -> Iterator[Finding]:
    """The fingerprint in the file against its content."""
    stated = metadata.get("sshs_model_hash")
    if stated and path.suffix == ".safetensors":
        with path.open("rb") as content:
            content.seek(read_header(path).start)
            digest = hashlib.sha256()
            while chunk := content.read(1 << 20):
                report(1, 1)
                digest.update(chunk)
        if digest.hexdigest() != stated:
            yield Finding("hint", "tools.verify_hash")
