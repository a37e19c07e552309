"""The VAE: pictures to latents an eighth as wide, and back (AutoencoderKL, Kingma & Welling 2013)."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from . import draw, loop
from .shapes import FIGURES
from .vae_start import bias_of, quant_convs, start_as_blur

SIDE = 128  # pixels
SCALING_FACTOR = 0.18215  # Stable Diffusion's, so that no setting has to differ
KL_WEIGHT = 3e-4
SHAPE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (16, 32, 48, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 1,
    "sample_size": SIDE,
    "scaling_factor": SCALING_FACTOR,
}
CROP = 64  # pixels; the first training looks at a quarter of a picture at a time
VAE_STEPS, DECODER_STEPS = 1000, 700
CONFETTI_SHARE = 0.3
LATENT_NOISE = 0.3  # most noise on the decoder's lessons, where latents have deviation 1


def build_vae() -> AutoencoderKL:
    """A small AutoencoderKL with SD1.5's factor 8 and 4 latent channels.

    One norm group: with two or three channels per group, GroupNorm would wash out flat colours.
    """
    return AutoencoderKL(**SHAPE)


def train_vae(worker: int, work: Path, seed: int) -> None:
    """Train encoder and decoder on pieces of pictures drawn on the fly; each worker draws its own."""
    torch.manual_seed(seed)
    vae = build_vae()
    start_as_blur(vae, torch.stack([draw_for_vae(random.Random(n)) for n in range(24)]))
    rng = random.Random(f"{seed} {worker} pieces")

    def batch_loss() -> Tensor:
        return vae_loss(vae, torch.stack([random_crop(draw_for_vae(rng), CROP, rng) for _ in range(8)]))

    loop.train(vae, batch_loss, loop.Plan(VAE_STEPS, 1.5e-3, work / "vae.pt"))


def train_decoder(worker: int, vae: AutoencoderKL, work: Path, seed: int) -> None:
    """Train the decoder of `vae` alone, on whole pictures and latents that are a little off.

    Latents out of the UNet are never quite right; a decoder that has met such ones draws clean edges even so.
    """
    rng = random.Random(f"{seed} {worker} decoder")
    vae.requires_grad_(True)
    vae.encoder.requires_grad_(False)
    quant_convs(vae)[0].requires_grad_(False)

    def batch_loss() -> Tensor:
        pictures = torch.stack([draw_for_vae(rng) for _ in range(3)])
        latents = encode(vae, pictures)
        shares = torch.rand(len(latents), 1, 1, 1) * LATENT_NOISE
        latents = latents + shares * torch.randn_like(latents)
        return picture_distance(vae.decode(unscaled(latents))[0], pictures)

    loop.train(vae, batch_loss, loop.Plan(DECODER_STEPS, 1e-3, work / "decoder.pt"))


def draw_for_vae(rng: random.Random) -> Tensor:
    """A picture of the world, or the same figures in random paints: (3, SIDE, SIDE) in -1..1.

    The random paints keep the VAE general: the mascot's colours meet in no picture of the world.
    """
    scene = draw.pick_scene(rng)
    if rng.random() > CONFETTI_SHARE:
        return to_tensor(np.asarray(draw.draw_scene(scene, rng, SIDE)))
    palette = [*draw.COLORS.values(), *draw.PAINTS.values()]
    paints = {paint: rng.choice(palette) for paint in [*draw.PAINTS, "main"]}
    places = [draw.place_single(rng, scene.size)]
    picture = draw.draw_figures(FIGURES[scene.figure](), paints, places, draw.GROUNDS[scene.ground], SIDE)
    return to_tensor(np.asarray(picture))


def to_tensor(picture: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) to float (3, H, W) in -1..1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1


def random_crop(picture: Tensor, side: int, rng: random.Random) -> Tensor:
    """A random `side` x `side` piece of (3, H, W)."""
    top, left = rng.randint(0, picture.shape[1] - side), rng.randint(0, picture.shape[2] - side)
    return picture[:, top : top + side, left : left + side]


def vae_loss(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Reconstruction (values and edges) plus a light pull of the latents towards a normal distribution."""
    posterior = vae.encode(pictures)[0]
    output = vae.decode(posterior.sample())[0]  # pyright: ignore[reportArgumentType]  # as in `unscaled`
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    return picture_distance(output, pictures) + KL_WEIGHT * kl


def picture_distance(output: Tensor, pictures: Tensor) -> Tensor:
    """L1 and squared error of the pixels, and L1 of their steps to the right and below, for sharp edges."""
    error = output - pictures
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.pow(2).mean() + 0.5 * edges


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Give each latent channel mean 0 and, once scaled by 0.18215, deviation 1.

    Only the two 1x1 convs around the latents change. Pictures come out as before, and SD's
    scaling factor now fits.
    """
    latents = vae.encode(pictures)[0].mean
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))  # (4,)
    gain = 1 / (SCALING_FACTOR * std)
    into, back = quant_convs(vae)
    bias_of(back).add_((back.weight[:, :, 0, 0] * mean).sum(1))
    back.weight /= gain[None, :, None, None]
    into.weight[:4] *= gain[:, None, None, None]
    bias_of(into)[:4] = (bias_of(into)[:4] - mean) * gain
    bias_of(into)[4:] += 2 * gain.log()  # the variances grow with the values


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in -1..1 to scaled latents (B, 4, H/8, W/8)."""
    return vae.encode(pictures)[0].mean * SCALING_FACTOR


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w) to (B, 3, 8h, 8w) in -1..1."""
    return vae.decode(unscaled(latents))[0].clamp(-1, 1)


def unscaled(latents: Tensor) -> torch.FloatTensor:
    """Latents as the VAE itself has them."""
    return latents.div(SCALING_FACTOR)  # pyright: ignore[reportReturnType]  # diffusers asks for the old name


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures sent through the VAE and back, in dB."""
    error = F.mse_loss(decode(vae, encode(vae, pictures)), pictures).item()
    return 10 * math.log10(4 / error)
