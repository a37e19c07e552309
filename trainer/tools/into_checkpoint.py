"""LoRAs merged into a base model: a model that needs no LoRA any more.

W + strength · ΔW for every weight, tensor by tensor from file to file: the model is never in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.lora_family import lora_family
from trainer.files.safetensors_writer import Planned, write_safetensors
from trainer.files.whole_file import naming, partial_of, sweep
from trainer.tools.lora_files import (
    LoraFile,
    Progress,
    SavePrecision,
    reported,
    silent,
    told_of,
    whole_entries,
)
from trainer.tools.merge import Portion
from trainer.tools.model_files import family_of_model

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.models.checkpoint_names import WeightPlace

CHANGED_FOLDERS = ("unet", "text_encoder", "text_encoder_2")
"""Folders of a diffusers model that a LoRA changes."""
COPIED = 1 << 24
"""Bytes that are copied at a time."""


@dataclass(frozen=True)
class Merged:
    """What was done."""

    path: Path
    changed: int
    """Modules that were changed."""
    left_out: tuple[str, ...] = ()
    """Modules of the LoRAs that the model does not have."""


def merge_into(
    model: Path,
    shares: Sequence[Portion],
    output: Path,
    precision: SavePrecision | None = None,
    report: Progress = silent,
) -> Merged:
    """Write `model` (one file, or a diffusers folder) with the LoRAs in it to `output`.

    `precision` None keeps each tensor's own. Raises UserError for files that do not go together,
    StopRequested, OSError; then nothing stands under `output`.
    """
    family = family_of_model(model, "model")
    loras = [LoraFile(share.path, "loras") for share in shares]
    work = _Work(family, loras, [share.strength for share in shares], precision, report)
    if model.is_dir():
        work.folder(model, output)
    else:
        work.one_file(model, output)
    return Merged(output, len(work.met), tuple(sorted(work.wanted - work.met)))


def changed_files(model: Path) -> list[Path]:
    """The files of weights in a diffusers folder that are written anew."""
    return [path for part in CHANGED_FOLDERS for path in sorted((model / part).glob("*.safetensors"))]


def _left_out(weights: Sequence[Path]) -> Callable[[str, list[str]], set[str]]:
    """What is not copied of a folder: hidden files, and the weights that are written anew."""
    written = {str(path) for path in weights}
    hidden = shutil.ignore_patterns(".*")

    def ignore(folder: str, names: list[str]) -> set[str]:
        anew = {name for name in names if str(Path(folder) / name) in written}
        return anew | set(hidden(folder, names))

    return ignore


class _Work:
    """One merge on its way through the files of a model."""

    def __init__(
        self,
        family: Family,
        loras: Sequence[LoraFile],
        strengths: Sequence[float],
        precision: SavePrecision | None,
        report: Progress,
    ) -> None:
        self.family, self.loras, self.strengths = family, loras, strengths
        self.precision, self.report = precision, report
        self.wanted = {name for lora in loras for name in lora.modules}
        self.met: set[str] = set()

    def one_file(self, model: Path, output: Path) -> None:
        from trainer.models.checkpoint_names import weight_places
        from trainer.models.tensor_file import open_tensor_file

        places_of = weight_places(open_tensor_file(model, "model").shapes, self.family)
        self._expect(places_of)
        self._file(model, output, places_of)

    def folder(self, model: Path, output: Path) -> None:
        sweep(output.parent, output.name)
        partial = partial_of(output)
        try:
            weights = changed_files(model)
            shutil.copytree(model, partial, ignore=_left_out(weights), copy_function=self._copy)
            places_of = {path: self._folder_places(path) for path in weights}
            self._expect({name: place for names in places_of.values() for name, place in names.items()})
            for path, names in places_of.items():
                self._file(path, partial / path.relative_to(model), names)
            partial.replace(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _copy(self, source: str, target: str) -> None:
        """One file of the folder, which may be large: with a look for Stop between two blocks."""
        with naming(Path(target)), Path(source).open("rb") as old, Path(target).open("wb") as new:
            self.report(0, 1)
            while block := old.read(COPIED):
                new.write(block)
                self.report(0, 1)
        shutil.copystat(source, target)

    def _folder_places(self, weights: Path) -> dict[str, WeightPlace]:
        """LoRA module -> tensor, for one file of a diffusers folder."""
        from trainer.models.checkpoint_names import folder_places
        from trainer.models.tensor_file import open_tensor_file

        return folder_places(open_tensor_file(weights, "model").shapes, weights.parent.name, self.family)

    def _expect(self, places: Mapping[str, WeightPlace]) -> None:
        """A LoRA of another family, or one of which this model has nothing, is refused."""
        for lora in self.loras:
            family_of_file = lora_family(lora.file.shapes, lora.metadata)
            if family_of_file not in {None, self.family.key} or not places.keys() & lora.modules.keys():
                values = {"name": lora.path.name, "family": self.family.title}
                raise UserError("tools.other_family", "loras", **values)

    def _file(self, source: Path, target: Path, places: Mapping[str, WeightPlace]) -> None:
        """One file of weights with the changes in it."""
        from trainer.models.tensor_file import STORED_DTYPES, open_tensor_file, raw_bytes
        from trainer.tools.lora_files import STORED_AS

        file = open_tensor_file(source, "model")
        kinds = {dtype: kind for kind, dtype in STORED_DTYPES.items()}
        owners: dict[str, list[str]] = {}
        for module, place in places.items():
            if module in self.wanted:
                owners.setdefault(place.tensor, []).append(module)
                owners.setdefault(place.tensor.removesuffix(".weight") + ".bias", []).append(module)
        planned: dict[str, Planned] = {}
        for name, shape in file.shapes.items():
            dtype = file.dtypes[name]
            kind = STORED_AS[self.precision] if self.precision and dtype.is_floating_point else kinds[dtype]
            planned[name] = Planned(kind, shape)

        def read(name: str) -> memoryview:
            tensor = file.read(name)
            for module in owners.get(name, ()):
                tensor = self._changed(tensor, module, places[module], bias=name != places[module].tensor)
            stored = tensor.to(STORED_DTYPES[planned[name].dtype])
            if name in owners and not bool(stored.float().isfinite().all()):
                raise UserError("tools.not_finite", "loras", name=name)
            return raw_bytes(stored)

        write_safetensors(target, planned, reported(read, len(planned), self.report), file.metadata)

    def _changed(self, tensor: Tensor, module: str, place: WeightPlace, *, bias: bool) -> Tensor:
        """A weight (out, in, …), or a bias (out,), with what all LoRAs add to it; float32, same shape."""
        whole = tensor.float()
        rows = place.rows(len(whole)) if not bias else slice(None)
        for lora, strength in zip(self.loras, self.strengths, strict=True):
            if module in lora.modules:
                part = whole[rows]
                with told_of(module, lora):
                    added = _added(whole_entries(lora, module), part, bias=bias)
                if added is not None:
                    whole[rows] = part + strength * added
                    self.met.add(module)
        return whole


def _added(entries: Mapping[str, Tensor], weight: Tensor, *, bias: bool) -> Tensor | None:
    """What a module's entries add to its weight (out, in, …) or its bias (out,); None: nothing.

    Raises UserError where the sizes differ.
    """
    from trainer.network.weights import change_of, require_size

    name = next(iter({"diff_b", "b_norm"} & entries.keys()), "") if bias else "w_norm"
    if name in entries:
        require_size({name: entries[name]}, tuple(entries[name].shape), tuple(weight.shape))
        return entries[name].float().reshape(weight.shape)
    return None if bias else change_of(entries, weight)
