"""Write the three trained networks as a regular diffusers pipeline folder, in half precision."""

import json
import shutil
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from . import loop
from .text_encoder import Pupil, build_text_encoder
from .unet import build_unet

VAE_FOLDER = "vae"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's own vocabulary; the one part of the model that is not made here."""
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def load_text_encoder(work: Path) -> CLIPTextModel:
    """The pre-trained text encoder of a work folder, frozen."""
    pupil = Pupil(build_text_encoder())
    loop.load_average(work / "text_encoder.pt", pupil)
    return pupil.text_encoder.eval().requires_grad_(False)


def load_vae(work: Path) -> AutoencoderKL:
    """The whitened VAE of a work folder, with its decoder sharpened as far as it has been; frozen."""
    vae = AutoencoderKL.from_pretrained(work / VAE_FOLDER, local_files_only=True)
    if (work / "decoder.pt").exists():
        loop.load_average(work / "decoder.pt", vae)
    return vae.eval().requires_grad_(False)


def load_unet(work: Path) -> UNet2DConditionModel:
    """The averaged weights of the UNet's checkpoint, finished or not."""
    unet = build_unet()
    loop.load_average(work / "unet.pt", unet)
    return unet.eval().requires_grad_(False)


def build_pipeline(work: Path, tokenizer_folder: Path) -> StableDiffusionPipeline:
    """All parts of a work folder as one pipeline, float32."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=load_vae(work),
        text_encoder=load_text_encoder(work),
        tokenizer=load_tokenizer(tokenizer_folder),
        unet=load_unet(work),
        scheduler=scheduler,  # pyright: ignore[reportArgumentType]  # any scheduler will do
        safety_checker=None,  # pyright: ignore[reportArgumentType]  # optional, though not declared so
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )


def export(work: Path, tokenizer_folder: Path, model_folder: Path) -> None:
    """Write the model folder anew; the old one is replaced only when the new one is whole."""
    fresh = model_folder.with_name(model_folder.name + ".new")
    build_pipeline(work, tokenizer_folder).to(torch.float16).save_pretrained(fresh, safe_serialization=True)
    shutil.rmtree(fresh / "tokenizer")
    (fresh / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_folder / name, fresh / "tokenizer" / name)
    load_as_float32(fresh / "text_encoder" / "config.json")
    forget_place(fresh / "vae" / "config.json")
    for path in fresh.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes files that only their owner may read
    replace_folder(fresh, model_folder)


def load_as_float32(config: Path) -> None:
    """Have transformers load the half-precision weights as diffusers does with the others: in float32."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["dtype"] = "float32"
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def forget_place(config: Path) -> None:
    """Take out the folder that a part was loaded from: it is of this machine only."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def replace_folder(fresh: Path, folder: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
