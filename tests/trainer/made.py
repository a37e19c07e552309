"""Small real things that tests need: pictures, Image folders, model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.settings import Settings

SD1 = {
    "model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.0.in_layers.2.weight": (32, 32, 3, 3),
    "model.diffusion_model.input_blocks.1.0.emb_layers.1.weight": (32, 128),
    "model.diffusion_model.input_blocks.1.1.proj_in.weight": (32, 32, 1, 1),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": (32, 32),
    "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
    "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": (48, 48),
}
"""A few tensors of a Stable Diffusion 1.x file, by which it is told."""
SD2 = {
    **{name: shape for name, shape in SD1.items() if not name.startswith("cond_")},
    "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": (192, 64),
}
SDXL = {
    **{name: shape for name, shape in SD1.items() if not name.startswith("cond_")},
    "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": (48, 48),
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (192, 64),
}


def model_file(path: Path, shapes: Mapping[str, tuple[int, ...]] = SD1, **metadata: str) -> Path:
    """A .safetensors file with tensors of these shapes, all zero."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def picture(path: Path, size: tuple[int, int] = (64, 64), mode: str = "RGB", **save: Any) -> Path:
    """A picture file with soft stripes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    Image.fromarray(wave).convert(mode).save(path, **save)
    return path


def image_folder(
    root: Path, count: int = 4, name: str = "10_sks cat", size: tuple[int, int] = (64, 64)
) -> Path:
    """An Image folder with one folder of pictures, each with a .txt caption."""
    for number in range(count):
        picture(root / name / f"{number}.png", size)
        (root / name / f"{number}.txt").write_text(f"sks cat, picture {number}", encoding="utf-8")
    return root


def sound_values(folder: Path) -> dict[str, Any]:
    """Settings in which the checks find nothing; pictures, model and folders are made."""
    return {
        "pretrained_model_name_or_path": str(model_file(folder / "model.safetensors")),
        "train_data_dir": str(image_folder(folder / "img")),
        "output_dir": str(folder / "out"),
        "output_name": "cat",
        "caption_extension": ".txt",
        "max_resolution": "64,64",
        "optimizer": "AdamW",
    }


def sound_settings(folder: Path, **values: Any) -> Settings:
    """`sound_values` as settings, some of them changed."""
    return Settings.from_flat({**sound_values(folder), **values})
