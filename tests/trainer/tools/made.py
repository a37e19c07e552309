"""Small LoRA files for the tools' tests."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from trainer.network.lora_file import save_lora

MODULES = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (64, 768, 0),
    "lora_unet_down_blocks_0_resnets_0_conv1": (32, 40, 3),
    "lora_unet_down_blocks_0_attentions_0_proj_in": (32, 40, 1),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": (20, 30, 0),
}
"""Name -> (out, in, kernel; 0: linear)."""


def tensors(rank: int, alpha: float, seed: int = 0, modules: dict[str, tuple[int, int, int]] = MODULES):
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    for name, (out, inner, kernel) in modules.items():
        sides = ([kernel] * 2, [1, 1]) if kernel else ([], [])
        made[f"{name}.lora_down.weight"] = torch.randn(rank, inner, *sides[0], generator=generator)
        made[f"{name}.lora_up.weight"] = torch.randn(out, rank, *sides[1], generator=generator)
        made[f"{name}.alpha"] = torch.tensor(float(alpha))
    return made


def lora(path: Path, made: dict[str, Tensor], **metadata: str) -> Path:
    save_lora(path, made, metadata)
    return path


def change(made: dict[str, Tensor], name: str) -> Tensor:
    """ΔW by the formula, flat: (out, in · k · k)."""
    up, down = (made[f"{name}.lora_{side}.weight"].double().flatten(1) for side in ("up", "down"))
    return up @ down * float(made[f"{name}.alpha"]) / len(down)


def closest(matrix: Tensor, rank: int) -> Tensor:
    """The closest matrix of a rank, by the whole decomposition."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]
