"""A LoRA out of the difference of two checkpoints (as kohya's extract_lora_from_models)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.layers import module_kind
from trainer.tools.lora_files import LoraWriter, Progress, SavePrecision, silent
from trainer.tools.model_files import family_of_model
from trainer.tools.room import require_room, size_of_lora

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.models.checkpoint_names import WeightPlace
    from trainer.models.tensor_file import TensorFile

TEXT_MODULES = (".self_attn.", ".mlp.")


@dataclass(frozen=True)
class ExtractOptions:
    """How the difference is taken apart."""

    rank: int = 32
    conv_rank: int = 0
    """Of convolutions beyond 1x1; 0: these are left alone."""
    clamp_quantile: float = 0.99
    """Numbers beyond this quantile are cut off, as kohya's tool does; 1: none."""
    least: float = 0.01
    """Text encoders that differ by no more than this anywhere are taken for the same."""


@dataclass(frozen=True)
class _Model:
    """One of the two, opened."""

    path: Path
    setting: str
    file: TensorFile

    def rows(self, place: WeightPlace) -> Tensor:
        """A module's weight, (out, in, ...), float32. Raises UserError for inf and NaN."""
        weight = self.file.read(place.tensor).float()
        if not bool(weight.isfinite().all()):
            raise UserError("tools.weights_damaged", self.setting, name=self.path.name, module=place.tensor)
        return weight[place.rows(len(weight))]


def extract_difference(
    base: Path,
    tuned: Path,
    output: Path,
    options: ExtractOptions | None = None,
    precision: SavePrecision = "fp16",
    report: Progress = silent,
) -> Path:
    """Write the LoRA that makes `tuned` of `base`, as near as its rank allows; returns its path.

    Two one-file checkpoints of one family, read tensor by tensor. Raises UserError, StopRequested, OSError.
    """
    from trainer.models.tensor_file import open_tensor_file
    from trainer.network.spectra import clamped, spectrum_of
    from trainer.network.weights import entries_of

    options, family = options or ExtractOptions(), common_family(base, tuned)
    models = tuple(
        _Model(path, key, open_tensor_file(path, key)) for key, path in (("base", base), ("tuned", tuned))
    )
    places = _places(family, *(model.file for model in models))
    if not places:
        raise UserError("tools.nothing_shared", "tuned")
    if _same_text(places, models, options.least, report):
        places = {name: place for name, place in places.items() if name.startswith("lora_unet_")}
    needed = size_of_lora(_numbers(places, models[0].file, options), precision)
    require_room(output, needed)
    differ = False
    with LoraWriter(output, precision, report) as writer:
        for done, (name, place) in enumerate(places.items()):
            report(done, len(places))
            change = _change(place, models)
            differ = differ or bool(change.any())
            shape = tuple(change.shape)
            wide = math.prod(shape[2:]) > 1
            if wide and not options.conv_rank:
                continue
            spectrum = spectrum_of(change)
            factors = spectrum.cut(min(options.conv_rank if wide else options.rank, spectrum.most))
            factors = clamped(factors, options.clamp_quantile)
            writer.add(name, entries_of(factors, shape, len(factors.down)))
        report(len(places), len(places))
        if not differ:
            raise UserError("tools.no_difference", "tuned")
        writer.write(_metadata(family, options, base, tuned))
    return output


def common_family(base: Path, tuned: Path) -> Family:
    """The family of both. Raises UserError for what is no model, and for models of two."""
    of_base, of_tuned = family_of_model(base, "base"), family_of_model(tuned, "tuned")
    if of_base.key != of_tuned.key:
        raise UserError("tools.two_families", "tuned", base=of_base.title, tuned=of_tuned.title)
    return of_base


def _places(family: Family, base: TensorFile, tuned: TensorFile) -> dict[str, WeightPlace]:
    """The modules that a LoRA of kohya's changes, in the reference's order, where both files have them."""
    from trainer.models.checkpoint_names import denoiser_paths, weight_places

    everywhere = weight_places(base.shapes, family)
    paths = sorted(filter(_is_learned, denoiser_paths(base.shapes, family)), key=family.order)
    text = [name for name in everywhere if name.startswith("lora_te") and _is_text_module(name)]
    names = [*text, *map(family.lora_key, paths)]
    return {name: everywhere[name] for name in names if _can_learn(everywhere[name].tensor, base, tuned)}


def _numbers(places: Mapping[str, WeightPlace], base: TensorFile, options: ExtractOptions) -> int:
    """Numbers in the factors of the result."""
    total = 0
    for place in places.values():
        height, *rest = base.shapes[place.tensor]
        out, width = len(range(height)[place.rows(height)]), math.prod(rest)
        rank = options.conv_rank if math.prod(rest[1:]) > 1 else options.rank
        total += min(rank, out, width) * (out + width)
    return total


def _is_learned(path: str) -> bool:
    return module_kind(path) not in {None, "stem", "time"}


def _is_text_module(name: str) -> bool:
    return any(part.replace(".", "_") in name for part in TEXT_MODULES)


def _can_learn(tensor: str, base: TensorFile, tuned: TensorFile) -> bool:
    shape = base.shapes[tensor]
    return len(shape) in {2, 4} and tuned.shapes.get(tensor) == shape


def _change(place: WeightPlace, models: Sequence[_Model]) -> Tensor:
    """What the second model has more than the first, (out, in, ...), float32. Raises UserError."""
    before, after = (model.rows(place) for model in models)
    return after - before


def _same_text(
    places: dict[str, WeightPlace], models: Sequence[_Model], least: float, report: Progress
) -> bool:
    for name, place in places.items():
        report(0, len(places))
        if name.startswith("lora_te") and float(_change(place, models).abs().max()) > least:
            return False
    return True


def _metadata(family: Family, options: ExtractOptions, base: Path, tuned: Path) -> dict[str, str]:
    return {
        "ss_v2": str(family.key == "sd2"),
        "ss_base_model_version": family.version,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(options.rank),
        "ss_network_alpha": str(float(options.rank)),
        "ss_training_comment": f"extracted: {tuned.stem} - {base.stem}",
        "modelspec.architecture": family.architecture,
    }
