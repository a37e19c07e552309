"""Writes a tiny Stable Diffusion 1.x of random weights as a diffusers folder.

python -m tests.bench.small_folder FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from tests.checkpoints import random_model


def main() -> None:
    """Make it and write it."""
    torch.manual_seed(0)
    model = random_model("sd1")
    absent: Any = None  # diffusers allows it for these
    StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoders[0],
        tokenizer=model.tokenizers[0],
        unet=model.denoiser,
        scheduler=model.schedule.sampler("ddim"),
        safety_checker=absent,
        feature_extractor=absent,
        requires_safety_checker=False,
    ).save_pretrained(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
