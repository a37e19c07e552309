"""Rough estimates: how large a LoRA gets and how much memory training takes.

Measured on Stable Diffusion 1.5 at 512 × 512, batch 1 (CPU, whole process): 6.6 GB in float32, 3.7 GB in
bf16; with gradient checkpointing 5.3 and 2.9 GB. For SDXL what the UNet keeps for the way back was added
up tensor by tensor (full size without weights, attention that saves memory): at 512 × 512 in float32 3.4 GB,
in bf16 2.6 GB, with gradient checkpointing 0.3 and 0.2 GB. The same sum gives 1.8, 1.4, 0.3 and 0.2 GB for
Stable Diffusion 1.5. The rest is scaled from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from trainer.errors import UserError
from trainer.families.facts import FULL_SIZE, ModelFacts
from trainer.families.family import Blocks
from trainer.families.layers import LayerKind
from trainer.families.table import FAMILIES, SD1
from trainer.lora.blocks import sizes_of
from trainer.lora.types import (
    ALGORITHMS,
    PRESETS,
    algorithm_of,
    conv_size,
    entry_shapes,
    is_lycoris,
    options_of,
)
from trainer.plan.rates import trains_denoiser, trains_text_encoder
from trainer.settings import EightBitFormat, FamilyKey, Machine, Network, Optimizer, Settings

GB = 1_000_000_000
PROGRAM_BYTES = int(0.6 * GB)
"""Python, torch, and the graphics card's own share."""
SD_PICTURE = {(False, False): 2.5, (False, True): 1.2, (True, False): 1.4, (True, True): 0.6}
"""GB of intermediate values for one 512 × 512 picture: (half precision, gradient checkpointing)."""
PER_PICTURE: Mapping[FamilyKey, Mapping[tuple[bool, bool], float]] = {
    "sd1": SD_PICTURE,
    "sd2": SD_PICTURE,
    "sdxl": {(False, False): 4.6, (False, True): 1.1, (True, False): 2.7, (True, True): 0.55},
}
VAE_PER_PICTURE = 1.1
"""GB while a full-size VAE encodes or decodes one 512 × 512 picture in float32."""
OPTIMIZER_BYTES = {
    "AdamW8bit": 2, "PagedAdamW8bit": 2, "Lion8bit": 1, "PagedLion8bit": 1, "SGDNesterov8bit": 1,
    "Lion": 4, "SGDNesterov": 4, "SGDScheduleFree": 4, "Adafactor": 1,
}  # fmt: skip
"""Bytes an optimizer keeps per weight; 8 for those not named, 16 where it finds its own rate."""
SELF_TUNING = ("Prodigy", "DAdapt")


def mean_rank(network: Network, blocks: Blocks) -> float:
    """Rank of the UNet's layers, over its blocks with attention where "Block dims" gives each its own."""
    try:
        sizes = sizes_of(network, blocks, conv=False) if network.block_dims else None
    except UserError:
        sizes = None
    if not sizes:
        return network.network_dim
    dims = [sizes[place][0] for place in blocks.attention]
    return sum(dims) / len(dims)


def lora_weights(network: Network, optimizer: Optimizer, model: ModelFacts) -> int:
    """Number of weights in the LoRA, of any type."""
    algorithm, options = algorithm_of(network), options_of(network)
    blocks = (FAMILIES[model.family] if model.family else SD1).blocks
    total = 0
    for (kind, shape), count in model.layers:
        in_text = kind in ("text_attention", "text_mlp")
        trained = trains_text_encoder(optimizer) if in_text else trains_denoiser(optimizer)
        rank = _rank(network, blocks, kind, wide=shape[2:] == (3, 3)) if trained else 0
        whole = max(1, round(rank))
        try:
            entries = entry_shapes(algorithm, shape, whole, replace(options, unit=1), bias=False)
        except ValueError:  # BOFT: told by the checks
            continue
        if rank > 0:
            one = sum(math.prod(size) for size in entries.values())
            total += int(count * one * (rank / whole if ALGORITHMS[algorithm].has_up else 1))
    return total


def _rank(network: Network, blocks: Blocks, kind: LayerKind, *, wide: bool) -> float:
    """Rank of a kind of layer, a mean where blocks have their own; 0 for one that is left alone."""
    if is_lycoris(network):
        conv = conv_size(network)
        size = (conv[0] if conv else 0) if wide else network.network_dim
        return size if kind in PRESETS[network.LyCORIS_preset].kinds else 0
    if kind in ("text_attention", "text_mlp"):
        return network.network_dim
    if kind in ("attention", "transformer"):
        return mean_rank(network, blocks)
    try:
        conv_sizes = sizes_of(network, blocks, conv=True)
    except UserError:
        conv_sizes = None
    if kind != "resnet" or not conv_sizes:
        return 0
    return sum(dim for dim, _ in conv_sizes) / len(conv_sizes) if wide else mean_rank(network, blocks)


def bytes_kept(optimizer: Optimizer) -> int:
    """Bytes that the optimizer keeps per weight."""
    name = optimizer.optimizer
    return 16 if name.startswith(SELF_TUNING) else OPTIMIZER_BYTES.get(name, 8)


def state_bytes(settings: Settings, weights: int) -> int:
    """Size of a training state: the weights in float32 and what the optimizer keeps."""
    return weights * (4 + bytes_kept(settings.optimizer))


KeptBase = EightBitFormat | Literal["file"]
"""Smaller weights than those that are computed with: in 8 bits, or as they are in the file."""


def kept_base(machine: Machine) -> KeptBase | None:
    """In which form the denoiser's weights are kept, where not in the one that is computed with."""
    if machine.fp8_base:
        return machine.fp8_base_format
    return "file" if machine.base_in_16_bits and machine.mixed_precision == "no" else None


def wants_small_steps(machine: Machine) -> bool:
    """Whether these settings ask for a small run rather than a quick one."""
    kept = kept_base(machine)
    return kept == "file" or (kept is not None and machine.gradient_checkpointing)


def bytes_of_base(machine: Machine) -> int:
    """Bytes that a weight of the denoiser takes; those in a file are mostly of 16 bits."""
    if kept := kept_base(machine):
        return 2 if kept == "file" else 1
    return 4 if machine.mixed_precision == "no" else 2


def memory_parts(settings: Settings, pixels: int, model: ModelFacts, weights: int) -> dict[str, int]:
    """Estimated bytes while training, by part: program, unet, text_encoder, vae, lora, pictures.

    `pixels` is the size of the largest batch, `weights` the number of weights in the LoRA.
    """
    machine, images = settings.machine, settings.images
    half = machine.mixed_precision != "no"
    is_cached = images.cache_latents or images.cache_latents_to_disk
    area, key = pixels / 512**2, model.family or SD1.key
    width = math.sqrt(model.denoiser / FULL_SIZE[key].denoiser)
    pictures = PER_PICTURE[key][half, machine.gradient_checkpointing] * area * width * GB
    reads = trains_text_encoder(settings.optimizer) or settings.captions.no_token_padding
    return {
        "program": PROGRAM_BYTES,
        "unet": model.denoiser * bytes_of_base(machine),
        "text_encoder": model.text_encoder * (2 if half else 4) if reads else 0,  # else let go before
        "vae": 0 if is_cached else int(model.vae * 4 + VAE_PER_PICTURE * area * GB),
        "lora": weights * (8 + bytes_kept(settings.optimizer)),
        "pictures": int(pictures),
    }


def sample_bytes(parts: Mapping[str, int], pixels: int, model: ModelFacts) -> int:
    """Estimated bytes while a sample picture of so many pixels is drawn; `parts` as `memory_parts` says.

    What its VAE needs to decode it decides: measured as much as it needs to encode.
    """
    width = math.sqrt(model.vae / FULL_SIZE["sd1"].vae) if model.vae else 1.0
    resident = sum(parts.get(part, 0) for part in ("program", "unet", "text_encoder", "lora"))
    return resident + int(VAE_PER_PICTURE * pixels / 512**2 * width * GB)
