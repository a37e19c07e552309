"""What a LoRA file contains, told from its header: `python -m trainer inspect`. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainer.errors import UserError
from trainer.families.lora_family import lora_family, other_lora
from trainer.files.safetensors_header import HeaderError, TensorEntry, read_header
from trainer.files.stand_ins import stand_in
from trainer.lora.types import ALGORITHMS, algorithm_in, rank_of
from trainer.settings import FamilyKey

FLOATS = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


@dataclass(frozen=True)
class LoraModule:
    """One module of the model that the file changes."""

    name: str
    kind: str
    part: str
    """"unet", "text_encoder", "text_encoder_2" or "other"."""
    dim: int
    alpha: float | None
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LoraInfo:
    """A LoRA file in numbers."""

    path: str
    size: int
    dtypes: Mapping[str, int]
    modules: tuple[LoraModule, ...]
    metadata: Mapping[str, str]
    family: FamilyKey | None = None
    """The family of base models that it was made for; None where nothing tells."""
    other_family: str = ""
    """Name of a family that cannot be trained here."""

    @property
    def kinds(self) -> Counter[str]:
        """Kind -> number of modules; convolutions beyond 1×1 make a LoRA a LoCon."""
        return Counter(module.kind for module in self.modules)

    @property
    def parts(self) -> Counter[str]:
        """Part of the model -> number of modules."""
        return Counter(module.part for module in self.modules)

    @property
    def sizes(self) -> Counter[tuple[int, float | None]]:
        """(dim, alpha) -> number of modules."""
        return Counter((module.dim, module.alpha) for module in self.modules)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "path": self.path,
            "size": self.size,
            "family": self.family,
            "dtypes": dict(self.dtypes),
            "kinds": dict(self.kinds),
            "parts": dict(self.parts),
            "dims": [
                {"dim": dim, "alpha": alpha, "modules": n} for (dim, alpha), n in self.sizes.most_common()
            ],
            "modules": [asdict(module) for module in self.modules],
            "metadata": dict(self.metadata),
        }

    def text(self) -> str:
        """A few lines for a terminal."""
        lines = [
            f"{Path(self.path).name}: {self.size / 1e6:.1f} MB, {len(self.modules)} modules",
            "kind:   " + ", ".join(f"{kind} {n}" for kind, n in self.kinds.most_common()),
            "part:   " + ", ".join(f"{part} {n}" for part, n in self.parts.most_common()),
            "number: " + ", ".join(f"{dtype} {n}" for dtype, n in self.dtypes.items()),
        ]
        for (dim, alpha), count in self.sizes.most_common(8):
            lines.append(f"rank {dim}, alpha {'none' if alpha is None else f'{alpha:g}'}: {count} modules")
        lines += [f"{key}: {value[:200]}" for key, value in sorted(self.metadata.items())]
        return "\n".join(lines)


def describe(path: Path) -> LoraInfo:
    """Read a LoRA file's header (and its alphas). Raises UserError for what is no LoRA in .safetensors."""
    try:
        header = read_header(path)
        with path.open("rb") as file:
            alphas = {
                name.removesuffix(".alpha"): _number(file, header.start, entry)
                for name, entry in header.entries.items()
                if name.endswith(".alpha")
            }
    except FileNotFoundError as error:
        raise UserError("files.missing", path=str(path)) from error
    except (HeaderError, OSError) as error:
        raise UserError(stand_in(path) or "files.not_safetensors", name=path.name) from error
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, entry in header.entries.items():
        stem, _, weight = _split(name)
        modules.setdefault(stem, {})[weight] = entry.shape
    found = tuple(
        module
        for stem, shapes in sorted(modules.items())
        if (module := _module(stem, shapes, alphas.get(stem)))
    )
    if not found:
        raise UserError("files.no_lora", name=path.name)
    dtypes = Counter(entry.dtype for entry in header.entries.values())
    shapes = {name: entry.shape for name, entry in header.entries.items()}
    told = lora_family(shapes, header.metadata), other_lora(shapes)
    return LoraInfo(str(path), path.stat().st_size, dtypes, found, header.metadata, *told)


def _number(file: BinaryIO, start: int, entry: TensorEntry) -> float | None:
    """The one number of a tensor; None where it holds another count, or no floats."""
    size = entry.end - entry.begin
    if size not in {2, 4, 8}:
        return None
    file.seek(start + entry.begin)
    data = file.read(size)
    if entry.dtype == "BF16":
        data, dtype = b"\0\0" + data, FLOATS["F32"]
    else:
        dtype = FLOATS.get(entry.dtype)
    return float(np.frombuffer(data, dtype)[0]) if dtype and len(data) == dtype.itemsize else None


def _split(name: str) -> tuple[str, str, str]:
    """ "lora_unet_x.lora_down.weight" -> ("lora_unet_x", ".", "lora_down.weight")."""
    if name.startswith(("lora_", "oft_")):
        return name.partition(".")
    stem, dot, weight = name.rpartition(".lora")
    return (stem, ".", "lora" + weight) if dot else name.rpartition(".")


def _module(name: str, shapes: Mapping[str, tuple[int, ...]], alpha: float | None) -> LoraModule | None:
    algorithm = algorithm_in(shapes)
    if algorithm is None:
        return None
    down = next((shapes[key] for key in ALGORITHMS["lora"].marks if key in shapes), ())
    is_wide = algorithm == "lora" and len(down) == 4 and down[2:] != (1, 1)
    kind = "LoCon" if is_wide else ALGORITHMS[algorithm].name
    part = next(
        (
            part
            for part, starts in (
                ("unet", ("lora_unet", "unet.")),
                ("text_encoder_2", ("lora_te2", "text_encoder_2.")),
                ("text_encoder", ("lora_te", "text_encoder.")),
            )
            if name.startswith(starts)
        ),
        "other",
    )
    return LoraModule(name, kind, part, rank_of(shapes), alpha, shapes)
