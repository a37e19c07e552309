"""Latents of recorded batches, made by our picture pipeline and VAE from the picture files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from trainer.buckets import Fit
from trainer.latents import encode
from trainer.picture_files import read_header
from trainer.pictures import HUE_STEPS, Pixels, crop, load_pixels, resize, to_input, turn_hue
from trainer.plan import bucket_rule
from trainer.settings import Settings


def latents_of(
    vae: AutoencoderKL,
    settings: Settings,
    batch: Mapping[str, Any],
    root: Path,
    recorded: Tensor | None = None,
) -> Tensor:
    """(B, 4, h, w) of a recorded micro-batch; torch's generator must stand where it stood then.

    Flips are recorded; where a picture was cropped or its colours were changed at random is not, so it is
    looked up in the `recorded` pictures (B, 3, H, W, 8 bits) where the settings ask for such changes.
    """
    pixels: list[Tensor] = []
    for number, (key, flipped) in enumerate(zip(batch["image_keys"], batch["flippeds"], strict=True)):
        header = read_header(root / key)
        fit = bucket_rule(settings.images).fit(header.width, header.height)
        assert list(fit.bucket) == list(batch["bucket_reso"])
        whole = resize(load_pixels(root / key), fit.resized)
        theirs = None if recorded is None else recorded[number].permute(1, 2, 0).numpy()
        plain = _closest(
            [whole_crop[:, ::-1] if flipped else whole_crop for whole_crop in _crops(settings, fit, whole)],
            theirs,
        )
        changed = (
            [plain, *_colours(plain, theirs)] if settings.images.color_aug and theirs is not None else [plain]
        )
        pixels.append(torch.from_numpy(to_input(_closest(changed, theirs))))
    return encode(vae, torch.stack(pixels))


def _crops(settings: Settings, fit: Fit, whole: Pixels) -> list[Pixels]:
    """What the settings may cut out of a picture."""
    corners = [fit.center]
    if settings.images.random_crop:
        corners = [(left, top) for left in range(fit.spare[0] + 1) for top in range(fit.spare[1] + 1)]
    return [crop(whole, fit.bucket, left, top) for left, top in corners]


def _colours(plain: Pixels, theirs: Pixels) -> Iterator[Pixels]:
    """The changes of colour that may have been made: any turn of the hue, and the best fitting gamma."""
    yield from (turn_hue(plain, steps) for steps in range(-HUE_STEPS, HUE_STEPS + 1))
    levels, first = np.unique(plain, return_index=True)
    wanted = theirs.reshape(-1)[first].astype(np.int32)
    yield min(gamma_tables(), key=lambda table: int(np.abs(table[levels] - wanted).sum()))[plain]


@cache
def gamma_tables() -> list[NDArray[np.uint8]]:
    """The reference's second change of colour, which the guide does not know and we do not make.

    Every brightness to the power of 0.95 … 1.05; as tables, of which only so many differ.
    """
    levels = np.arange(256, dtype=np.float64)
    tables = (np.clip(levels ** (0.95 + step / 50_000), 0, 255).astype(np.uint8) for step in range(5001))
    return list({table.tobytes(): table for table in tables}.values())


def _closest(choices: list[Pixels], theirs: Pixels | None) -> Pixels:
    if theirs is None or len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda choice: int(np.abs(choice.astype(np.int32) - theirs).sum()))
