"""Checks that depend on the family of the base model: sizes, VAE, noise that the model was made with."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.data.buckets import resolution
from trainer.data.datasets import Dataset
from trainer.families.facts import FULL_SIZE, ModelFacts
from trainer.families.family import Family
from trainer.families.layers import text_layers
from trainer.families.table import named_by
from trainer.families.vae import latent_space
from trainer.preflight.dataset_file import of_file
from trainer.preflight.pictures import USUAL_STEP
from trainer.problems import Problem, block, hint
from trainer.settings import Images, Settings

FIXED_VAE = re.compile("fp16", re.IGNORECASE)
"""In the name of a VAE that was made to work in half precision."""


def check(settings: Settings, datasets: Sequence[Dataset], facts: ModelFacts | None) -> Iterator[Problem]:
    """Problems of settings that do not suit the family; nothing where the model is of another one."""
    family = named_by(settings.model)
    if facts and (facts.kind != "base" or (facts.family and facts.family != family.key)):
        return  # told by the checks of the base model, and mended first
    for dataset in datasets:
        yield from (of_file(problem, dataset) for problem in _check_sizes(dataset.images, family))
    yield from _check_clip_skip(settings.captions.clip_skip, family, facts)
    if settings.model.vae:
        yield from _check_vae(Path(settings.model.vae), family)
    if facts and facts.zero_terminal_snr and not settings.noise.zero_terminal_snr:
        fix = {"zero_terminal_snr": True, "v_parameterization": True}
        yield hint("zero_terminal_snr", "preflight.model_zero_snr", fix)
    half_vae = settings.machine.mixed_precision == "fp16" and not settings.model.sdxl_no_half_vae
    if family.half_vae_fails and half_vae and not FIXED_VAE.search(settings.model.vae):
        fix = {"sdxl_no_half_vae": True}
        yield hint("sdxl_no_half_vae", "preflight.half_vae", fix, family=family.title)


def _check_sizes(images: Images, family: Family) -> Iterator[Problem]:
    try:
        width, height = resolution(images.max_resolution)
    except ValueError:
        return  # told by the checks of sizes
    if math.sqrt(width * height) < family.least_side:
        fix = {"max_resolution": f"{family.side},{family.side}"}
        values = {"family": family.title, "least": family.least_side, "side": family.side}
        yield hint("max_resolution", "preflight.resolution_family", fix, **values)
    step = images.bucket_reso_steps
    if images.enable_bucket and step % family.bucket_step and not step % family.latents.factor:
        values = {"family": family.title, "step": family.bucket_step, "value": step}
        yield hint("bucket_reso_steps", "preflight.steps_family", {"bucket_reso_steps": USUAL_STEP}, **values)


def _check_clip_skip(clip_skip: int, family: Family, facts: ModelFacts | None) -> Iterator[Problem]:
    """A layer that the text encoder has; SDXL always takes the last but one."""
    layers = text_layers((facts or FULL_SIZE[family.key]).layers)
    if len(family.text_encoders) == 1 and layers and clip_skip > layers:
        fix = {"clip_skip": min(2, layers)}
        yield block("clip_skip", "core.clip_skip_layers", fix, layers=layers, value=clip_skip)


def _check_vae(path: Path, family: Family) -> Iterator[Problem]:
    space = latent_space(path)
    values = {"name": path.name, "family": family.title}
    if space == "other":
        yield block("vae", "preflight.vae_other_space", {"vae": ""}, **values)
    elif space not in ("", family.latents.key):
        yield hint("vae", "preflight.vae_other_family", {"vae": ""}, **values)
