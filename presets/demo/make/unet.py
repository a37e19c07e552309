"""The UNet: learns which noise was put on latents, given a caption (Ho et al. 2020; Rombach et al. 2022)."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from . import draw, loop
from .text_encoder import HIDDEN_SIZE, Captions
from .vae import SIDE, encode, to_tensor
from .vae_start import bias_of

STEPS, BATCH = 3400, 16  # the batch is each worker's
GALLERY_SIZE = 6000  # pictures each worker draws and encodes beforehand
EMPTY_SHARE = 0.1  # captions left out, for classifier-free guidance (Ho & Salimans 2022)
STRANGER_SHARE = 0.1
MIN_SNR_GAMMA = 5.0  # Hang et al. 2023


@dataclass(frozen=True)
class Gallery:
    """Encoded pictures and what they show."""

    latents: Tensor  # (N, 4, SIDE/8, SIDE/8), scaled
    scenes: list[draw.Scene]


def build_unet(seed: int = 0) -> UNet2DConditionModel:
    """SD1.5's topology, narrow: 4 levels of 2 resnets, cross-attention in the first three and the middle.

    diffusers reads `attention_head_dim` as the number of heads, as in SD1.5's own config.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(32, 64, 80, 64),
        layers_per_block=2,
        cross_attention_dim=HIDDEN_SIZE,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(bias_of(unet.conv_out))
    return unet


def build_noise_scheduler() -> DDPMScheduler:
    """SD1.5's noise schedule."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


def open_gallery(vae: AutoencoderKL, count: int, seed: int, cache: Path) -> Gallery:
    """Draw and encode `count` random pictures; a later call with the same seed finds them in `cache`."""
    rng = random.Random(seed)
    scenes = [draw.pick_scene(rng) for _ in range(count)]
    if cache.exists():
        return Gallery(torch.load(cache, weights_only=True), scenes)
    latents = []
    for first in range(0, count, 16):
        pictures = [draw.draw_scene(scene, rng, SIDE) for scene in scenes[first : first + 16]]
        latents.append(encode(vae, torch.stack([to_tensor(np.asarray(picture)) for picture in pictures])))
    torch.save(torch.cat(latents), cache)
    return Gallery(torch.cat(latents), scenes)


def train_unet(
    worker: int, work: Path, parts: tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer], seed: int
) -> None:
    """Train on the worker's own gallery, with captions worded anew each time."""
    vae, text_encoder, tokenizer = parts
    text_encoder.requires_grad_(False)
    gallery = open_gallery(vae, GALLERY_SIZE, 1000 * seed + worker, work / f"gallery_{worker}.pt")
    rng = random.Random(f"{seed} {worker} captions")
    captions = Captions(tokenizer, rng)
    unet, noise_scheduler = build_unet(seed), build_noise_scheduler()
    torch.manual_seed(1000 * seed + worker)

    def batch_loss() -> Tensor:
        rows = [rng.randrange(GALLERY_SIZE) for _ in range(BATCH)]
        texts = [word_scene(gallery.scenes[row], captions, rng) for row in rows]
        with torch.no_grad():
            text_embeds = text_encoder(captions.ids(texts)).last_hidden_state  # (B, 77, D)
        return noise_loss(unet, noise_scheduler, gallery.latents[rows], text_embeds)

    loop.train(unet, batch_loss, loop.Plan(STEPS, 2e-3, work / "unet.pt", ema_decay=0.998))


def word_scene(scene: draw.Scene, captions: Captions, rng: random.Random) -> str:
    """A caption for `scene`, now and then with a stranger in it, now and then empty."""
    if rng.random() < EMPTY_SHARE:
        return ""
    return draw.describe(scene, rng, captions.pick_stranger(STRANGER_SHARE))


def noise_loss(
    unet: UNet2DConditionModel, noise_scheduler: DDPMScheduler, latents: Tensor, text_embeds: Tensor
) -> Tensor:
    """Squared error of the predicted noise, weighted by min-SNR; latents (B, 4, h, w)."""
    timesteps = spread_timesteps(len(latents))
    noise = torch.randn_like(latents)
    noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]  # LongTensor
    noise_pred = unet(noisy_latents, timesteps, text_embeds).sample
    alphas_cumprod = noise_scheduler.alphas_cumprod[timesteps]  # (B,)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    weight = snr.clamp(max=MIN_SNR_GAMMA) / snr
    return ((noise_pred - noise).pow(2).mean((1, 2, 3)) * weight).mean()


def spread_timesteps(count: int) -> Tensor:
    """One random timestep out of each of `count` equal stretches of 0..999, shuffled."""
    return ((torch.randperm(count) + torch.rand(count)) * (1000 / count)).long()
