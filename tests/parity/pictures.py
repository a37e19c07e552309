"""Latents of recorded batches, made by our picture pipeline and VAE from the picture files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.parity.drawn import Drawn
from trainer.data.buckets import BucketRule
from trainer.data.picture_files import read_picture_header
from trainer.data.pixels import Pixels, fitted, to_input
from trainer.models.base import BaseModel


def latents_of(model: BaseModel, rule: BucketRule, drawn: Sequence[Drawn], root: Path) -> Tensor:
    """(B, 4, h, w) of a recorded micro-batch; torch's generator must stand where it stood then."""
    pixels = [torch.from_numpy(to_input(picture(rule, one, root))) for one in drawn]
    return model.encode_latents(torch.stack(pixels))


def picture(rule: BucketRule, drawn: Drawn, root: Path) -> Pixels:
    """A picture as it was learned that time."""
    path = root / drawn.key
    header = read_picture_header(path)
    fit = rule.fit(header.width, header.height)
    pixels = fitted(path, fit, corner=drawn.corner, flip=drawn.flipped, hue=drawn.hue)
    return pixels if drawn.gamma is None else np.clip(pixels**drawn.gamma, 0, 255).astype(np.uint8)


def same_pictures(rule: BucketRule, drawn: Sequence[Drawn], root: Path, recorded: Tensor | None) -> bool:
    """Whether they are the recorded ones (B, 3, H, W), 8 bits; where none were recorded they may be."""
    return recorded is None or all(
        np.abs(picture(rule, one, root).astype(np.int32) - theirs.permute(1, 2, 0).numpy()).max() <= 2
        for one, theirs in zip(drawn, recorded, strict=True)
    )
