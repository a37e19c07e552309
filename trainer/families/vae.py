"""For which latent space a VAE was made, as far as it tells."""

from __future__ import annotations

import re
from pathlib import Path

from trainer.families.detect import read_model
from trainer.families.facts import ModelUnreadableError
from trainer.families.folder import read_config
from trainer.families.table import FAMILIES

XL_NAME = re.compile(r"(sd)?xl", re.IGNORECASE)
SD_NAME = re.compile(r"vae-ft-(mse|ema)|kl-f8|sd-vae|840000|anything|orangemix", re.IGNORECASE)
"""VAEs of SD1 and SD2 that many people have; SDXL's has the same tensors, so only the name is left."""


def latent_space(path: Path) -> str:
    """Key of a family's latent space; "other" for one of another width, "" where nothing tells."""
    if path.is_dir():
        return _of_folder(path)
    try:
        facts = read_model(path)
    except (ModelUnreadableError, OSError):
        return ""
    if facts.family and facts.kind == "base":
        return FAMILIES[facts.family].latents.key
    if facts.latent_channels not in (0, *(family.latents.channels for family in FAMILIES.values())):
        return "other"
    return "sd" if SD_NAME.search(path.name) else "sdxl" if XL_NAME.search(path.name) else ""


def _of_folder(path: Path) -> str:
    """A configuration tells how its latents are scaled."""
    try:
        config = read_config(path / "config.json") or read_config(path / "vae/config.json")
    except ModelUnreadableError:
        return ""
    if config.get("latent_channels", 4) not in {family.latents.channels for family in FAMILIES.values()}:
        return "other"
    scales = {family.latents.scale: family.latents.key for family in FAMILIES.values()}
    return scales.get(config.get("scaling_factor", 0), "")
