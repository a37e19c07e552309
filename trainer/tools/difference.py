"""A LoRA out of the difference of two checkpoints (as kohya's extract_lora_from_models)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UserError
from trainer.families.detect import read_model
from trainer.families.facts import ModelUnreadableError
from trainer.families.family import Family
from trainer.families.layers import module_kind
from trainer.families.table import FAMILIES
from trainer.tools.lora_files import LoraWriter, Progress, SavePrecision, silent

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
    from trainer.network.weights import clamped, entries_of, spectrum_of

    options, family = options or ExtractOptions(), _common_family(base, tuned)
    files = open_tensor_file(base, "base"), open_tensor_file(tuned, "tuned")
    places = _places(family, *files)
    if _same_text(places, files, options.least, report):
        places = {name: place for name, place in places.items() if name.startswith("lora_unet_")}
    with LoraWriter(output, precision, report) as made:
        for done, (name, place) in enumerate(places.items()):
            report(done, len(places))
            change = _change(place, files)
            if not bool(change.isfinite().all()):
                raise UserError("tools.not_finite", "tuned", name=place.tensor)
            shape = tuple(change.shape)
            wide = math.prod(shape[2:]) > 1
            if wide and not options.conv_rank:
                continue
            spectrum = spectrum_of(change)
            factors = spectrum.cut(min(options.conv_rank if wide else options.rank, spectrum.most))
            factors = clamped(factors, options.clamp_quantile)
            made.add(name, entries_of(factors, shape, len(factors.down)))
        report(len(places), len(places))
        made.write(_metadata(family, options, base, tuned))
    return output


def _common_family(base: Path, tuned: Path) -> Family:
    found = []
    for path, setting in ((base, "base"), (tuned, "tuned")):
        try:
            family = read_model(path).family if path.is_file() else ""
        except (ModelUnreadableError, OSError) as error:
            raise UserError("tools.model_unreadable", setting, name=path.name) from error
        if not family:
            raise UserError("tools.model_unknown", setting, name=path.name)
        found.append(FAMILIES[family])
    if found[0].key != found[1].key:
        values = {"base": found[0].title, "tuned": found[1].title}
        raise UserError("tools.two_families", "tuned", **values)
    return found[0]


def _places(family: Family, base: TensorFile, tuned: TensorFile) -> dict[str, WeightPlace]:
    """The modules that a LoRA of kohya's changes, in the reference's order, where both files have them."""
    from trainer.models.checkpoint_names import denoiser_paths, weight_places

    everywhere = weight_places(base.shapes, family)
    paths = sorted(filter(_is_learned, denoiser_paths(base.shapes, family)), key=family.order)
    text = [name for name in everywhere if name.startswith("lora_te") and _is_text_module(name)]
    names = [*text, *map(family.lora_key, paths)]
    return {name: everywhere[name] for name in names if _can_learn(everywhere[name].tensor, base, tuned)}


def _is_learned(path: str) -> bool:
    return module_kind(path) not in {None, "stem", "time"}


def _is_text_module(name: str) -> bool:
    return any(part.replace(".", "_") in name for part in TEXT_MODULES)


def _can_learn(tensor: str, base: TensorFile, tuned: TensorFile) -> bool:
    shape = base.shapes[tensor]
    return len(shape) in {2, 4} and tuned.shapes.get(tensor) == shape


def _change(place: WeightPlace, files: tuple[TensorFile, TensorFile]) -> Tensor:
    before, after = (file.read(place.tensor).float() for file in files)
    rows = place.rows(len(before))
    return after[rows] - before[rows]


def _same_text(
    places: dict[str, WeightPlace], files: tuple[TensorFile, TensorFile], least: float, report: Progress
) -> bool:
    for name, place in places.items():
        report(0, len(places))
        if name.startswith("lora_te") and float(_change(place, files).abs().max()) > least:
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
