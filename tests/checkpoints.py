"""Stable Diffusion models with random weights, tiny or full-size, and checkpoints in the original layout.

    python -m tests.checkpoints FILE.safetensors [--family sd1|sd2|sdxl] [--full]

writes one; `--full` makes the real sizes (SD1: 2 GB in half precision).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from trainer.families.table import FAMILIES, SD1, SD2
from trainer.models.load import open_model
from trainer.models.opening import Opening
from trainer.models.parts import CPU, Readers
from trainer.models.schedule import Ddpm, Prediction
from trainer.models.sd import StableDiffusion
from trainer.models.sd_files import load_tokenizer
from trainer.models.sdxl import StableDiffusionXL
from trainer.models.single_file import shipped_config
from trainer.settings import Captions, FamilyKey, Model

TINY_UNET: dict[FamilyKey, dict[str, Any]] = {
    "sd1": {"block_out_channels": [32, 64, 64, 64], "cross_attention_dim": 48},
    "sd2": {
        "block_out_channels": [64, 64, 64, 64],
        "cross_attention_dim": 48,
        "attention_head_dim": [1, 1, 1, 1],
    },
    "sdxl": {
        "block_out_channels": [64, 64, 64],
        "cross_attention_dim": 88,
        "attention_head_dim": [1, 1, 1],
        "projection_class_embeddings_input_dim": 40 + 6 * 256,
    },
}
TINY_VAE = {"block_out_channels": [32, 32, 32, 32]}
TINY_TEXT = {
    "text_encoder": {"hidden_size": 48, "intermediate_size": 64, "projection_dim": 48},
    "text_encoder_2": {"hidden_size": 40, "intermediate_size": 64, "projection_dim": 40},
}


def random_model(
    key: FamilyKey = "sd1", *, full: bool = False, v_prediction: bool = False
) -> StableDiffusion:
    """A model of random weights, as `load_model` would give it. Draws from torch's global generator."""
    family = FAMILIES[key]
    with torch.device("meta" if full else "cpu"):
        unet: Any = UNet2DConditionModel.from_config(
            {**shipped_config(family, "unet"), **({} if full else TINY_UNET[key])}
        )
        vae: Any = AutoencoderKL.from_config({**shipped_config(family, "vae"), **({} if full else TINY_VAE)})
        texts = []
        for encoder in family.text_encoders:
            kind = CLIPTextModelWithProjection if encoder.projected else CLIPTextModel
            config = {**shipped_config(family, encoder.part), **({} if full else TINY_TEXT[encoder.part])}
            texts.append(kind(CLIPTextConfig(**config)))
    for part in (unet, vae, *texts) if full else ():
        _fill_quickly(part)
    prediction: Prediction = "v_prediction" if v_prediction else "epsilon"
    return model_of(unet, vae, texts, key, prediction)


def _fill_quickly(module: nn.Module) -> None:
    """The same million random numbers again and again: billions of their own take minutes."""
    some = torch.randn(1_000_003) * 0.02
    for name, weight in module.named_parameters():
        path, _, last = name.rpartition(".")
        norm = weight.dim() == 1 and last == "weight"
        times = -(-weight.numel() // len(some))
        values = torch.ones(weight.shape) if norm else some.repeat(times)[: weight.numel()].view(weight.shape)
        setattr(module.get_submodule(path), last, nn.Parameter(values, requires_grad=False))
    for name, places in module.named_buffers():
        path, _, last = name.rpartition(".")
        count = torch.arange(places.shape[-1]).expand(places.shape)
        module.get_submodule(path).register_buffer(last, count, persistent=False)


def model_of(
    unet: Any,
    vae: Any,
    texts: list[Any],
    key: FamilyKey = "sd1",
    prediction: Prediction = "epsilon",
    device: torch.device = CPU,
) -> StableDiffusion:
    """A model of these parts."""
    family = FAMILIES[key]
    tokenizers = [load_tokenizer(encoder) for encoder in family.text_encoders]
    readers = Readers(lambda: texts, lambda: vae, lambda: unet)
    kind = StableDiffusionXL if key == "sdxl" else StableDiffusion
    return kind(readers, family, Ddpm(prediction), tokenizers, Captions(), "random", device=device)


def load_model(source: str, *, dtype: torch.dtype = torch.float32, **model: Any) -> StableDiffusion:
    """A base model with all its parts in memory. `model`: more values of the section. Raises UserError."""
    opened = open_model(Opening(Model(pretrained_model_name_or_path=source, **model), dtype=dtype))
    assert isinstance(opened, StableDiffusion)
    _ = opened.text_encoders, opened.vae, opened.denoiser
    return opened


def write_checkpoint(path: Path, model: StableDiffusion, dtype: torch.dtype = torch.float32) -> Path:
    """Write a model as one file in the original layout: .safetensors, or .ckpt as torch saves it."""
    tensors = {
        f"model.diffusion_model.{_unet_name(name, model.denoiser)}": tensor
        for name, tensor in model.denoiser.state_dict().items()
    }
    for name, tensor in model.vae.state_dict().items():
        key = f"first_stage_model.{_renamed(name, VAE_NAMES)}"
        square = "mid_block.attentions" in name and tensor.dim() == 2
        tensors[key] = tensor[:, :, None, None] if square else tensor
    tensors |= _text_tensors(model)
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path)
    return path


Names = list[tuple[str, "str | Callable[[re.Match[str]], str]"]]


RESNET_NAMES = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_NAMES: Names = [
    (r"^down_blocks\.(\d)\.resnets\.(\d)", lambda m: f"input_blocks.{3 * int(m[1]) + int(m[2]) + 1}.0"),
    (r"^down_blocks\.(\d)\.attentions\.(\d)", lambda m: f"input_blocks.{3 * int(m[1]) + int(m[2]) + 1}.1"),
    (r"^down_blocks\.(\d)\.downsamplers\.0\.conv", lambda m: f"input_blocks.{3 * int(m[1]) + 3}.0.op"),
    (r"^mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
    (r"^mid_block\.attentions\.0", "middle_block.1"),
    (r"^up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"output_blocks.{3 * int(m[1]) + int(m[2])}.0"),
    (r"^up_blocks\.(\d)\.attentions\.(\d)", lambda m: f"output_blocks.{3 * int(m[1]) + int(m[2])}.1"),
    (r"^conv_in", "input_blocks.0.0"),
    (r"^time_embedding\.linear_1", "time_embed.0"),
    (r"^time_embedding\.linear_2", "time_embed.2"),
    (r"^add_embedding\.linear_1", "label_emb.0.0"),
    (r"^add_embedding\.linear_2", "label_emb.0.2"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2"),
]  # fmt: skip
VAE_NAMES: Names = [
    (r"^encoder\.down_blocks\.(\d)", r"encoder.down.\1"),
    (r"^decoder\.up_blocks\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}"),
    (r"\.resnets\.(\d)", lambda m: f".block.{m[1]}"),
    (r"mid_block\.block\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"(down|up)samplers\.0", r"\1sample"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"conv_norm_out", "norm_out"),
]


def _unet_name(name: str, unet: UNet2DConditionModel) -> str:
    if found := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv", name):
        level = int(found[1])
        place = 2 if hasattr(unet.up_blocks[level], "attentions") else 1
        return name.replace(found[0], f"output_blocks.{3 * level + 2}.{place}.conv")
    if ".resnets." in name:
        *stem, layer, kind = name.split(".")
        name = ".".join([*stem, RESNET_NAMES[layer], kind])
    return _renamed(name, UNET_NAMES)


def _renamed(name: str, names: Names) -> str:
    for pattern, replacement in names:
        name = re.sub(pattern, replacement, name)
    return name


def _text_tensors(model: StableDiffusion) -> dict[str, Tensor]:
    if model.family is SD1:
        return _as_clip("cond_stage_model.transformer.", model.text_encoders[0])
    if model.family is SD2:  # real files hold a last layer that is never used
        return _as_open_clip("cond_stage_model.model.", model.text_encoders[0], spare_layer=True)
    first = _as_clip("conditioner.embedders.0.transformer.", model.text_encoders[0])
    return first | _as_open_clip("conditioner.embedders.1.model.", model.text_encoders[1])


def _as_clip(prefix: str, encoder: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}text_model.{_bare(name)}": tensor for name, tensor in encoder.state_dict().items()}


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def _as_open_clip(prefix: str, encoder: nn.Module, *, spare_layer: bool = False) -> dict[str, Tensor]:
    state = {_bare(name): tensor for name, tensor in encoder.state_dict().items()}
    layers = 1 + max(int(found[1]) for name in state if (found := re.match(r"encoder\.layers\.(\d+)", name)))
    tensors = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "logit_scale": torch.tensor(1.0),
    }
    if "text_projection.weight" in state:
        tensors["text_projection"] = state["text_projection.weight"].T
    for layer in range(layers):
        tensors |= _open_clip_layer(state, layer)
    if spare_layer:
        last = f"transformer.resblocks.{layers - 1}."
        tensors |= {
            name.replace(last, f"transformer.resblocks.{layers}."): torch.full_like(tensor, 7.0)
            for name, tensor in tensors.items()
            if name.startswith(last)
        }
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _open_clip_layer(state: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    theirs, ours = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
    tensors = {}
    for kind in ("weight", "bias"):
        stacked = [state[f"{ours}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
        tensors[f"{theirs}.attn.in_proj_{kind}"] = torch.cat(stacked)
        tensors[f"{theirs}.attn.out_proj.{kind}"] = state[f"{ours}.self_attn.out_proj.{kind}"]
        tensors[f"{theirs}.mlp.c_fc.{kind}"] = state[f"{ours}.mlp.fc1.{kind}"]
        tensors[f"{theirs}.mlp.c_proj.{kind}"] = state[f"{ours}.mlp.fc2.{kind}"]
        tensors[f"{theirs}.ln_1.{kind}"] = state[f"{ours}.layer_norm1.{kind}"]
        tensors[f"{theirs}.ln_2.{kind}"] = state[f"{ours}.layer_norm2.{kind}"]
    return tensors


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--family", choices=["sd1", "sd2", "sdxl"], default="sd1")
    parser.add_argument("--full", action="store_true", help="real sizes instead of tiny ones")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16 if chosen.full else torch.float32)
    write_checkpoint(chosen.file, random_model(chosen.family, full=chosen.full), torch.float16)


if __name__ == "__main__":
    main()
