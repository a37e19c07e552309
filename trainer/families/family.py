"""A family of base models: what is true of every model of one, before any is loaded.

What differs between families in checks, files, metadata and the page is a field here. So a new family is one
more value in `table`, and pyright names what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.settings import FamilyKey

TextLayout = Literal["clip", "open_clip"]
"""How a one-file checkpoint stores a text encoder: as transformers' CLIP, or as OpenCLIP."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family."""

    part: str
    """Its folder in diffusers' layout: "text_encoder", "text_encoder_2"."""
    lora: str
    """Beginning of its keys in LoRA files."""
    checkpoint: str
    """Beginning of its tensors' names in a one-file checkpoint."""
    layout: TextLayout = "clip"
    pad: str = "<|endoftext|>"
    """Token that fills up short captions: OpenAI's CLIP took its end mark, OpenCLIP "!" (id 0)."""
    pad_id: int | None = None
    """Id of a token that fills up instead and is an ordinary word all the same: sd-scripts sets no more than
    the number for SDXL, so "!" in a caption is read as it is."""
    projected: bool = False
    """Whether it gives a pooled vector beside the text embeddings."""
    root: str = "text_model"
    """Beginning of module paths in LoRA files, also where newer transformers leave it out."""


@dataclass(frozen=True)
class LatentSpace:
    """What a VAE makes of pictures. Families may share one, and with it their caches."""

    key: str
    """Names it in the keys of cached latents."""
    channels: int
    factor: int
    """Pixels per latent, along each side."""
    scale: float
    shift: float = 0.0
    """A denoiser is given (latents - shift) · scale."""


@dataclass(frozen=True)
class Blocks:
    """The denoiser's blocks, in the order of "Block dims" and the other lists of numbers per block."""

    names: tuple[str, ...]
    down: range
    """Places in `names` that "Down LR weights" covers."""
    mid: range
    up: range
    attention: tuple[int, ...]
    """Places of blocks with attention; without convolutions only these get a LoRA."""
    index: Callable[[str], int | None]
    """LoRA key of one of the denoiser's modules -> place of its block in `names`; None outside all blocks."""

    def __len__(self) -> int:
        """How many numbers such a list has."""
        return len(self.names)

    @property
    def learning(self) -> range:
        """Places of all blocks that can have a rate of their own."""
        return range(self.down.start, self.up.stop)


@dataclass(frozen=True)
class Family:
    """A family of base models."""

    key: FamilyKey
    title: str
    """Name shown to people; not translated."""
    switches: Mapping[str, bool]
    """kohya_ss's form values that name it."""
    pipeline: str
    """`_class_name` in a diffusers folder's model_index.json."""
    text_encoders: tuple[TextEncoder, ...]
    context: int
    """Width of the text embeddings that the denoiser is given; tells the family of a LoRA file too."""
    latents: LatentSpace
    side: int
    """Pixels of the square pictures that it was made for."""
    sample_side: int
    """Sides of a sample picture whose prompt names none: the reference's."""
    least_side: int
    """Smaller ones it draws badly; 0: not known for that."""
    bucket_step: int
    """What the sides of its buckets must be divisible by."""
    blocks: Blocks
    file_name: Callable[[str], str]
    """diffusers' path of one of the denoiser's modules -> its path in LoRA files."""
    order: Callable[[str], list[int]]
    """diffusers' path -> where the module stands in the order in which the reference makes LoRA modules."""
    half_vae_fails: bool
    """Whether its own VAE gives no valid numbers in float16."""
    outer_layers: bool
    """Whether LyCORIS' presets reach the UNet's first and last convolution and its time embedding; they look
    for these by diffusers' names."""
    linear_as_convolution: bool
    """Whether LoRA files hold the linear proj_in and proj_out as 1x1 convolutions."""
    script: str
    """sd-scripts' program that trains a LoRA for it."""
    architecture: str
    """modelspec.architecture of a LoRA made for it."""
    architecture_v: str
    """The same with v_parameterization."""
    implementation: str
    """modelspec.implementation."""
    version: str
    """ss_base_model_version."""
    version_v: str
    """The same with v_parameterization."""
    weights: tuple[int, int, int]
    """Numbers in denoiser, text encoders and VAE of the published model: for estimates."""

    def lora_key(self, path: str) -> str:
        """Key in LoRA files of one of the denoiser's modules, by diffusers' path."""
        return f"lora_unet_{self.file_name(path).replace('.', '_')}"

    def text_key(self, encoder: int, path: str) -> str:
        """Key in LoRA files of a module of a text encoder, by transformers' path (of any version)."""
        text_encoder = self.text_encoders[encoder]
        path = path if path.startswith(f"{text_encoder.root}.") else f"{text_encoder.root}.{path}"
        return f"{text_encoder.lora}_{path.replace('.', '_')}"
