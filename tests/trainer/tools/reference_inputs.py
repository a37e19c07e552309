"""What the reference's own tools were given, made anew: numbers by name, the same on every machine.

Their results lie in tests/data/tools; each file's metadata says how it was made.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.checkpoints import random_model, write_checkpoint
from trainer.files.safetensors_header import read_header
from trainer.settings import FamilyKey

DATA = Path(__file__).parents[2] / "data" / "tools"
UNET = "lora_unet_down_blocks_0"
MODULES = {
    f"{UNET}_attentions_0_transformer_blocks_0_attn2_to_k": (24, 40, 0),
    f"{UNET}_attentions_0_transformer_blocks_0_ff_net_0_proj": (48, 16, 0),
    f"{UNET}_attentions_0_proj_in": (20, 28, 1),
    f"{UNET}_resnets_0_conv1": (16, 12, 3),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (30, 18, 0),
}
"""Name -> (out, in, kernel; 0: linear)."""
CHANGED: dict[FamilyKey, dict[str, tuple[int, int, int]]] = {
    "sd1": {
        f"{UNET}_attentions_0_proj_in": (32, 32, 1),
        f"{UNET}_attentions_0_transformer_blocks_0_attn2_to_k": (32, 48, 0),
        f"{UNET}_resnets_0_conv1": (32, 32, 3),
        f"{UNET}_downsamplers_0_conv": (32, 32, 3),
        "lora_te_text_model_encoder_layers_3_mlp_fc1": (64, 48, 0),
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (48, 48, 0),
    },
    "sd2": {
        f"{UNET}_attentions_0_proj_in": (64, 64, 1),
        f"{UNET}_attentions_1_proj_in": (64, 64, 0),
        f"{UNET}_attentions_0_transformer_blocks_0_attn2_to_k": (64, 48, 0),
        f"{UNET}_resnets_0_conv1": (64, 64, 3),
        "lora_te_text_model_encoder_layers_3_mlp_fc1": (64, 48, 0),
        "lora_te_text_model_encoder_layers_0_self_attn_k_proj": (48, 48, 0),
    },
    "sdxl": {
        "lora_unet_input_blocks_4_1_proj_in": (64, 64, 0),
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k": (64, 88, 0),
        "lora_unet_output_blocks_2_0_in_layers_2": (64, 128, 3),
        "lora_te1_text_model_encoder_layers_3_mlp_fc1": (64, 48, 0),
        "lora_te2_text_model_encoder_layers_3_self_attn_v_proj": (40, 40, 0),
        "lora_te2_text_model_encoder_layers_0_mlp_fc2": (40, 64, 0),
    },
}
"""Modules of the LoRA that goes into a tiny checkpoint (see tests.checkpoints)."""


def numbers(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Normal numbers that only the name decides (numpy keeps this stream as it is for ever)."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)  # see above
    return torch.as_tensor(drawn * scale).float()


def lora_tensors(
    name: str, rank: int, alpha: float | None, modules: Mapping[str, tuple[int, int, int]] = MODULES
) -> dict[str, Tensor]:
    """A LoRA, of falling strength along its rank as trained ones are; None: no alpha."""
    made: dict[str, Tensor] = {}
    fall = torch.arange(1, rank + 1).float() ** -1
    for module, (out, inner, kernel) in modules.items():
        down, up = ((kernel, kernel), (1, 1)) if kernel else ((), ())
        rows = numbers(f"{name}.{module}.down", (rank, inner, *down))
        made[f"{module}.lora_down.weight"] = rows * fall.reshape(-1, *[1] * (rows.dim() - 1))
        made[f"{module}.lora_up.weight"] = numbers(f"{name}.{module}.up", (out, rank, *up))
        if alpha is not None:
            made[f"{module}.alpha"] = torch.tensor(alpha)
    return made


def write_loras(folder: Path) -> None:
    """a, b: one rank, other alphas; c: another rank; d: no alpha."""
    for name, rank, alpha in (("a", 8, 4.0), ("b", 8, 1.0), ("c", 4, 6.0), ("d", 8, None)):
        save_file(lora_tensors(name, rank, alpha), folder / f"{name}.safetensors", {"ss_v2": "False"})


def write_models(folder: Path, family: FamilyKey) -> tuple[Path, Path, Path]:
    """A checkpoint, one that was trained on from it, and a LoRA for a few of its modules."""
    base, tuned = folder / f"{family}.safetensors", folder / f"{family}_tuned.safetensors"
    write_checkpoint(base, random_model(family))
    before = load_file(base)
    before = {
        name: numbers(name, tuple(tensor.shape), 0.1) if tensor.is_floating_point() else tensor
        for name, tensor in sorted(before.items())
    }
    after = {
        name: tensor + numbers(f"{name} tuned", tuple(tensor.shape), 0.02)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in before.items()
    }
    save_file(before, base)
    save_file(after, tuned)
    save_file(lora_tensors(family, 2, 1.5, CHANGED[family]), folder / f"{family}_lora.safetensors")
    return base, tuned, folder / f"{family}_lora.safetensors"


def result(name: str) -> dict[str, Tensor]:
    """What the reference's tool made."""
    return load_file(DATA / f"{name}.safetensors")


def told(name: str) -> Mapping[str, str]:
    """What its file says of itself."""
    return read_header(DATA / f"{name}.safetensors").metadata
