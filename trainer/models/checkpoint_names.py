"""Where in a checkpoint the weight lies that a LoRA file's module changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trainer.families.family import Family, TextEncoder
from trainer.families.layers import LAST_OF_SD2
from trainer.models.single_file import unet_names

WEIGHT = ".weight"
STACKED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_weight")
OPEN_CLIP_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.weight")
OPEN_CLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""OpenCLIP's names of a layer's modules, and transformers'."""


class WeightPlace(NamedTuple):
    """A tensor of the checkpoint, or one third of its rows where query, key and value are stacked."""

    tensor: str
    third: int | None = None

    def rows(self, height: int) -> slice:
        """Its rows in a tensor of so many."""
        if self.third is None:
            return slice(0, height)
        return slice(self.third * height // 3, (self.third + 1) * height // 3)


def weight_places(names: Iterable[str], family: Family) -> dict[str, WeightPlace]:
    """LoRA module -> place, for a one-file checkpoint's tensor names.

    SDXL's UNet is found under both namings in use: the original layout's and diffusers'.
    """
    known = list(names)
    places_of: dict[str, WeightPlace] = {}
    for path, name in denoiser_paths(known, family).items():
        # diffusers' name first: where both are one, the family's own stands.
        for key in (f"lora_unet_{path.replace('.', '_')}", family.lora_key(path)):
            places_of[key] = WeightPlace(name)
    for index, encoder in enumerate(family.text_encoders):
        places_of |= {family.text_key(index, path): place for path, place in _text_paths(known, encoder)}
    return places_of


def denoiser_paths(names: Iterable[str], family: Family) -> dict[str, str]:
    """diffusers' path of a module -> the checkpoint's name of its weight."""
    return {
        path.removesuffix(WEIGHT): name
        for path, name in unet_names(names, family).items()
        if path.endswith(WEIGHT)
    }


def _text_paths(names: Iterable[str], encoder: TextEncoder) -> Iterator[tuple[str, WeightPlace]]:
    """transformers' path and its place for each module of a text encoder that is used."""
    for name in names:
        # SD2's last layer is in the file and never used; transformers' model has none such.
        if not name.startswith(encoder.checkpoint) or LAST_OF_SD2.match(name):
            continue
        path = name.removeprefix(encoder.checkpoint)
        if encoder.layout == "clip":
            yield path.removesuffix(WEIGHT), WeightPlace(name)
        elif stacked := STACKED.fullmatch(path):
            for third, part in enumerate("qkv"):
                yield f"encoder.layers.{stacked[1]}.self_attn.{part}_proj", WeightPlace(name, third)
        elif (layer := OPEN_CLIP_LAYER.fullmatch(path)) and layer[2] in OPEN_CLIP:
            yield f"encoder.layers.{layer[1]}.{OPEN_CLIP[layer[2]]}", WeightPlace(name)


def folder_places(names: Iterable[str], part: str, family: Family) -> dict[str, WeightPlace]:
    """The same for one file of a diffusers folder; `part` is the folder's name inside it."""
    paths = [name.removesuffix(WEIGHT) for name in names if name.endswith(WEIGHT)]
    if part == "unet":
        return {family.lora_key(path): WeightPlace(path + WEIGHT) for path in paths} | {
            f"lora_unet_{path.replace('.', '_')}": WeightPlace(path + WEIGHT) for path in paths
        }
    index = next((i for i, encoder in enumerate(family.text_encoders) if encoder.part == part), None)
    return (
        {} if index is None else {family.text_key(index, path): WeightPlace(path + WEIGHT) for path in paths}
    )
