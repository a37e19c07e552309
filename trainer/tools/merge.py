"""Several LoRAs as one file.

"exact" puts the factors side by side, so the result does exactly what the files do together, at the sum of
their ranks. "svd" takes the closest change of a chosen rank (as kohya's svd_merge_lora). "factors" adds the
factors themselves, as kohya's merge_lora: a mixture, not the sum of effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from trainer.tools.lora_files import (
    LoraFile,
    LoraWriter,
    Progress,
    SavePrecision,
    counted,
    silent,
    whole_entries,
)

if TYPE_CHECKING:
    from trainer.network.weights import RankLimits

Method = Literal["exact", "svd", "factors"]
CARRIED = ("ss_v2", "ss_base_model_version", "ss_sd_model_name", "ss_sd_model_hash", "modelspec.architecture")
"""What a merged file tells of its base model."""


class Portion(NamedTuple):
    """One LoRA of a merge and how much of it."""

    path: Path
    strength: float = 1.0


def merge(
    shares: Sequence[Portion],
    output: Path,
    method: Method = "exact",
    size: RankLimits | None = None,
    precision: SavePrecision = "float",
    report: Progress = silent,
) -> Path:
    """Merge LoRAs into `output`; returns it. Memory: that of one module.

    Raises UserError for files that are no LoRAs or do not go together, StopRequested, OSError.
    """
    from trainer.network.weights import mixed, summed

    files = [LoraFile(share.path, "loras") for share in shares]
    strengths = [share.strength for share in shares]
    names = dict.fromkeys(name for file in files for name in file.modules)
    with LoraWriter(output, precision, report) as writer:
        for name in counted(names, report):
            parts = [
                (whole_entries(file, name), strength)
                for file, strength in zip(files, strengths, strict=True)
                if name in file.modules
            ]
            entries = (
                mixed(parts) if method == "factors" else summed(parts, size if method == "svd" else None)
            )
            writer.add(name, entries)
        writer.write(_metadata(files, shares, writer))
    return output


def _metadata(files: Sequence[LoraFile], shares: Sequence[Portion], made: LoraWriter) -> dict[str, str]:
    """What the result tells of itself: base model of the first that tells it, ranks, and what went in."""
    told = {key: next((file.metadata[key] for file in files if key in file.metadata), "") for key in CARRIED}
    ranks, alphas = made.ranks, made.alphas
    parts = ", ".join(f"{share.path.stem} x {share.strength:g}" for share in shares)
    return {
        **{key: text for key, text in told.items() if text},
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(next(iter(ranks))) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(next(iter(alphas))) if len(alphas) == 1 else "Dynamic",
        "ss_training_comment": f"merged: {parts}",
    }
