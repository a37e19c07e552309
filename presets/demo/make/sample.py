"""Pictures out of the model, and the share of them that show what the prompt says."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from . import draw, measure
from .shapes import FIGURES
from .vae import SIDE

STEPS = 20
GUIDANCE = 4.0


def sample(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seed: int = 0,
    guidance: float = GUIDANCE,
    steps: int = STEPS,
) -> list[np.ndarray]:
    """A picture a prompt, uint8 (SIDE, SIDE, 3), by DPM-Solver++ (Lu et al. 2022); number i has seed + i."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pictures = []
    for first in range(0, len(prompts), 16):
        part = list(prompts[first : first + 16])
        generators = [torch.Generator().manual_seed(seed + first + i) for i in range(len(part))]
        made = pipeline(
            part,
            height=SIDE,
            width=SIDE,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
        )
        pictures += [np.asarray(picture) for picture in made.images]  # pyright: ignore[reportAttributeAccessIssue]
    return pictures


def trial_scenes(per_figure: int = 10, seed: int = 5) -> list[draw.Scene]:
    """Every figure equally often, in random colours on random grounds."""
    rng = random.Random(seed)
    scenes = []
    for figure in FIGURES:
        for _ in range(per_figure):
            ground = "white" if rng.random() < 0.5 else rng.choice(list(draw.GROUNDS))
            color = rng.choice([color for color in draw.COLORS if draw.COLORS[color] != draw.GROUNDS[ground]])
            scenes.append(draw.Scene(figure, color, ground))
    return scenes


def prompt_for(scene: draw.Scene) -> str:
    return f"{draw.with_article(scene.color)} {scene.figure} on a {scene.ground} background"


def accuracy(pictures: Sequence[np.ndarray], scenes: Sequence[draw.Scene]) -> dict[str, float]:
    """Share of pictures with the right figure, colour and ground; mean overlap with the right outline."""
    rows = []
    for picture, scene in zip(pictures, scenes, strict=True):
        scores = measure.shape_scores(picture)
        figure = max(scores, key=lambda name: scores[name]) == scene.figure
        color = measure.main_color(picture) == scene.color
        ground = measure.ground_of(picture) == scene.ground
        rows.append((figure, color, ground, figure and color, scores[scene.figure]))
    names = ("figure", "color", "ground", "figure and color", "overlap")
    return dict(zip(names, np.mean(np.array(rows, dtype=float), axis=0).round(3).tolist(), strict=True))
