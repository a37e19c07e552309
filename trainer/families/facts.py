"""What is known of a model file or folder before it is loaded, and what its readers share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.families.layers import FULL_SIZE_LAYERS, Layers
from trainer.families.others import ModelKind
from trainer.families.pickle_names import PickleError, pickle_shapes
from trainer.families.table import FAMILIES
from trainer.families.unet import Shapes, UNetFacts
from trainer.files import safetensors_header
from trainer.settings import FamilyKey

INPUTS: Mapping[int, ModelKind] = {9: "inpainting", 8: "other_model", 5: "depth", 7: "upscaler"}
"""Channels of a UNet's input beside the usual 4 -> what such a model is."""
PIX2PIX = "InstructPix2Pix"
"""What has 8."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model."""

    kind: ModelKind = "unknown"
    family: FamilyKey | None = None
    """Of a base model, or the one that a LoRA was made for."""
    title: str = ""
    """Name of a family that cannot be trained here."""
    v_prediction: bool | None = None
    """None: the file does not tell."""
    zero_terminal_snr: bool = False
    """The file says that its noise goes all the way (arXiv 2305.08891)."""
    latent_channels: int = 0
    """Of a VAE in a file of its own; 0: not known."""
    depths: tuple[int, ...] = ()
    """Transformer layers of the UNet's levels."""
    denoiser: int = 0
    """Number of weights, as `text_encoder` and `vae`; 0: not known, or not in it."""
    text_encoder: int = 0
    vae: int = 0
    layers: Layers = ()
    """The layers that a LoRA can change."""


FULL_SIZE: Mapping[FamilyKey, ModelFacts] = {
    key: replace(
        ModelFacts("base", key, layers=FULL_SIZE_LAYERS[key]),
        **dict(zip(("denoiser", "text_encoder", "vae"), family.weights, strict=True)),
    )
    for key, family in FAMILIES.items()
}
"""The published models: for estimates where a file does not tell."""


class ModelUnreadableError(Exception):
    """Not a model that can be read; the argument is "damaged", "incomplete" or "no_model"."""


def read_shapes(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Shapes of a file's tensors, and its metadata (a pickle has none). Raises ModelUnreadableError."""
    if path.suffix.lower() != ".safetensors":
        try:
            return pickle_shapes(path), {}
        except PickleError as error:
            raise ModelUnreadableError(str(error)) from error
    try:
        header = safetensors_header.read_header(path)
    except safetensors_header.HeaderError as error:
        raise ModelUnreadableError(str(error)) from error
    return {name: entry.shape for name, entry in header.entries.items()}, dict(header.metadata)


def kind_of(unet: UNetFacts, width: int, *, two: bool) -> ModelKind:
    """What a whole model is by its UNet, the width of its text embeddings (0: not known), `two` encoders."""
    if unet.inputs in INPUTS:
        return INPUTS[unet.inputs]
    if (width and unet.context and width != unet.context) or (unet.vector and not two):
        return "mixed"
    return "base"


def count(shapes: Shapes, *prefixes: str) -> int:
    """Numbers in the tensors whose names begin so."""
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefixes))
