"""Several LoRAs as one file.

"exact" puts the factors side by side, so the result does exactly what the files do together, at the sum of
their ranks. "svd" takes the closest change of a chosen rank (as kohya's svd_merge_lora). "factors" adds the
factors themselves, as kohya's merge_lora: a mixture, not the sum of effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from trainer.lora.shapes import Shape
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
    from torch import Tensor

    from trainer.network.weights import RankLimits

T = TypeVar("T")
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
    from trainer.network.weights import mixed, plain, summand, summed

    add = partial(summed, size=size if method == "svd" else None)
    files = [LoraFile(share.path, "loras") for share in shares]
    strengths = [share.strength for share in shares]
    names = dict.fromkeys(name for file in files for name in file.modules)
    with LoraWriter(output, precision, report) as writer:
        for name in counted(names, report):
            with_it = [part for part in zip(files, strengths, strict=True) if name in part[0].modules]
            if method == "factors":
                writer.add(name, _joined(name, with_it, plain, mixed))
            else:
                writer.add(name, _joined(name, with_it, summand, add))
        writer.write(_metadata(files, shares, writer))
    return output


def _joined(
    module: str,
    parts: Sequence[tuple[LoraFile, float]],
    prepare: Callable[[Mapping[str, Tensor], float, Shape], T],
    join: Callable[[Sequence[T]], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """A module of the files, each `prepare`d with its strength, in one; what is refused names the files."""
    given: list[T] = []
    for file, strength in parts:
        with told_of(module, file):
            given.append(prepare(whole_entries(file, module), strength, file.kernel(module)))
    with told_of(module, *(file for file, _ in parts)):
        return join(given)


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
