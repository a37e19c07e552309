"""A LoRA at another rank: the closest change of that rank, module by module (as kohya's resize_lora).

By QR of the factors instead of the whole matrix: the same singular values, in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.tools.lora_files import (
    LoraFile,
    LoraWriter,
    Progress,
    SavePrecision,
    counted,
    silent,
    told_of,
    whole_entries,
)

if TYPE_CHECKING:
    from trainer.network.spectra import RankRule


@dataclass(frozen=True)
class Resized:
    """What became of one module."""

    module: str
    old_rank: int
    rank: int
    kept: float
    """Share of the change's Frobenius norm that is left (0-1)."""


def resize(
    path: Path,
    output: Path,
    rank: int,
    conv_rank: int = 0,
    rule: RankRule = "fixed",
    target: float = 0.0,
    precision: SavePrecision = "float",
    report: Progress = silent,
) -> list[Resized]:
    """Write `path` at ranks of at most `rank` (`conv_rank` for convolutions; 0: the same) into `output`.

    Returns what became of each module. Types without factors (LoHa, LoKr …) become plain LoRAs. Raises
    UserError, StopRequested, OSError.
    """
    from trainer.network.weights import resized

    file = LoraFile(path, "lora")
    with LoraWriter(output, precision, report) as writer:
        modules: list[Resized] = []
        for name in counted(file.modules, report):
            with told_of(name, file):
                entries, outcome = resized(
                    whole_entries(file, name), rank, conv_rank or rank, rule, target, file.kernel(name)
                )
            writer.add(name, entries)
            modules.append(Resized(name, *outcome))
        writer.write(_metadata(file.metadata, modules, rule, target))
    return modules


def _metadata(
    metadata: Mapping[str, str], modules: list[Resized], rule: RankRule, target: float
) -> dict[str, str]:
    ranks = {module.rank for module in modules}
    rank = str(next(iter(ranks))) if len(ranks) == 1 else "Dynamic"
    how = f"{rule} {target:g}, " if rule != "fixed" else ""
    kept = math.fsum(module.kept for module in modules) / max(1, len(modules))
    comment = f"resized ({how}rank {rank}, {kept:.1%} kept); {metadata.get('ss_training_comment', '')}"
    return {
        **metadata,
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": "Dynamic",
        "ss_training_comment": comment.rstrip("; "),
    }
