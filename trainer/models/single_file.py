"""Stable Diffusion checkpoints in the original one-file layout: what is inside, under diffusers' names.

Sizes come from the tensors themselves, so that fine-tuned oddities and tiny test models load as well;
what tensors do not tell (number of heads, activation) stands in trainer/models/configs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.families.detect import VAE
from trainer.families.family import Family
from trainer.families.table import SD1, SDXL
from trainer.families.unet import UNET, transformer_depths
from trainer.models.tensor_file import TensorFile

Weights = dict[str, Tensor]
CONFIGS = Path(__file__).parent / "configs"

HEAD_SIZE = 64  # of SD2 and SDXL; SD1 has 8 heads at every level instead


def shipped_config(family: Family, part: str) -> dict[str, Any]:
    """Configuration of the full-size model, e.g. its "unet"."""
    return json.loads((CONFIGS / family.key / f"{part}.json").read_text(encoding="utf-8"))


def unet_config(file: TensorFile, family: Family) -> dict[str, Any]:
    """UNet configuration; sizes from the tensors."""
    return {**shipped_config(family, "unet"), **_unet_sizes(file.shapes, family)}


def read_unet(file: TensorFile, family: Family, dtype: torch.dtype) -> tuple[dict[str, Any], Weights]:
    """UNet configuration and weights under diffusers' names."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = unet_config(file, family)
    return config, convert_ldm_unet_checkpoint(_read(file, UNET, dtype, keep_prefix=True), config)


def unet_names(names: Iterable[str], family: Family) -> dict[str, str]:
    """diffusers' name -> the checkpoint's, of the UNet's tensors: each is converted as its own mark."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    # Empty tensors take diffusers' converter's place for the real ones: only names come out.
    marked = {name: torch.empty(0) for name in names if name.startswith(UNET)}
    owner = {id(mark): name for name, mark in marked.items()}
    converted = convert_ldm_unet_checkpoint(dict(marked), shipped_config(family, "unet"))
    return {path: owner[id(mark)] for path, mark in converted.items() if id(mark) in owner}


def read_vae(file: TensorFile, family: Family, dtype: torch.dtype) -> tuple[dict[str, Any], Weights]:
    """VAE configuration and weights under diffusers' names, from a checkpoint or a file of its own."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    # A VAE in a file of its own has no prefix, in either layout.
    prefix = VAE if any(name.startswith(VAE) for name in file.shapes) else ""
    weights = _read(file, prefix, dtype)
    diffusers_names = "encoder.down_blocks.0.resnets.0.conv1.weight" in weights
    pattern = (
        r"encoder\.down_blocks\.(\d+)\.resnets\.0" if diffusers_names else r"encoder\.down\.(\d+)\.block\.0"
    )
    levels = {
        int(found[1]): len(tensor)
        for name, tensor in weights.items()
        if (found := re.fullmatch(pattern + r"\.conv1\.weight", name))
    }
    config = {**shipped_config(family, "vae"), "block_out_channels": [levels[i] for i in sorted(levels)]}
    return config, weights if diffusers_names else convert_ldm_vae_checkpoint(weights, config)


def read_text_encoders(
    file: TensorFile, family: Family, dtype: torch.dtype
) -> list[tuple[dict[str, Any], Weights]]:
    """Configuration and weights of each text encoder, names without a leading `text_model.`."""
    readers = {"clip": _read_clip, "open_clip": _read_open_clip}
    return [
        readers[encoder.layout](file, encoder.checkpoint, shipped_config(family, encoder.part), dtype)
        for encoder in family.text_encoders
    ]


def _read(file: TensorFile, prefix: str, dtype: torch.dtype, *, keep_prefix: bool = False) -> Weights:
    """All tensors whose name begins with `prefix`."""
    # diffusers' converter of the UNet wants the names whole.
    start = 0 if keep_prefix else len(prefix)
    return {name[start:]: tensor for name, tensor in _tensors(file, prefix, dtype)}


def _tensors(file: TensorFile, prefix: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The same one by one, of any shape, under their whole names."""
    return ((name, file.read(name, dtype)) for name in file.shapes if name.startswith(prefix))


def _unet_sizes(shapes: Mapping[str, tuple[int, ...]], family: Family) -> dict[str, Any]:
    """Channels of each level, of the input, and of the text embeddings."""
    channels: list[int] = []
    # Two blocks and a downsampling per level; the first block behind it tells the width.
    while (name := f"{UNET}input_blocks.{1 + 3 * len(channels)}.0.out_layers.3.weight") in shapes:
        channels.append(shapes[name][0])
    keys = [name for name in shapes if name.startswith(UNET) and name.endswith("attn2.to_k.weight")]
    sizes: dict[str, Any] = {
        "block_out_channels": channels,
        "in_channels": shapes[f"{UNET}input_blocks.0.0.weight"][1],
        "cross_attention_dim": shapes[keys[0]][1],
    }
    # SD1 has 8 heads whatever the width; the later ones have heads of one size.
    if family is not SD1:
        sizes["attention_head_dim"] = [width // HEAD_SIZE or 1 for width in channels]
    if family is SDXL:
        sizes["transformer_layers_per_block"] = _depths(shapes, len(channels))
        sizes["projection_class_embeddings_input_dim"] = shapes[f"{UNET}label_emb.0.0.weight"][1]
    return sizes


def _depths(shapes: Mapping[str, tuple[int, ...]], levels: int) -> list[int]:
    """Transformer layers of each level; 1 stands for none, too (such a level has no attention to ask)."""
    depths = transformer_depths({name.removeprefix(UNET): shape for name, shape in shapes.items()})
    return [1] * (levels - len(depths)) + list(depths)


def _read_clip(
    file: TensorFile, prefix: str, config: dict[str, Any], dtype: torch.dtype
) -> tuple[dict[str, Any], Weights]:
    """OpenAI's CLIP as transformers stores it (old files lack `text_model.`)."""
    read = _read(file, prefix, dtype)
    weights = {name.removeprefix("text_model."): tensor for name, tensor in read.items()}
    # A buffer in old files, no weight.
    weights.pop("embeddings.position_ids", None)
    return _text_config(config, weights), weights


OPEN_CLIP_NAMES = (
    ("token_embedding.", "embeddings.token_embedding."),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("ln_final.", "final_layer_norm."),
    ("transformer.resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.", ".self_attn."),
)


def _read_open_clip(
    file: TensorFile, prefix: str, config: dict[str, Any], dtype: torch.dtype
) -> tuple[dict[str, Any], Weights]:
    """OpenCLIP's text encoder under transformers' names; layers beyond the configured ones are left out.

    SD2 was trained on the output of the last layer but one, so its last layer is never used.
    """
    weights: Weights = {}
    for whole, tensor in _tensors(file, prefix, dtype):  # what is cut in three is let go at once
        name = whole.removeprefix(prefix)
        layer = re.match(r"transformer\.resblocks\.(\d+)\.", name)
        if (layer and int(layer[1]) >= config["num_hidden_layers"]) or name == "logit_scale":
            continue
        weights.update(_open_clip_tensors(name, tensor))
    if "projection" not in "".join(config["architectures"]).lower():
        # SD2 reads no pooled vector.
        weights.pop("text_projection.weight", None)
    return _text_config(config, weights), weights


def _open_clip_tensors(name: str, tensor: Tensor) -> Weights:
    """A tensor of OpenCLIP as transformers', or as three where query, key and value are stacked, (3·D, …)."""
    if name == "text_projection":
        # OpenCLIP multiplies from the other side.
        return {"text_projection.weight": tensor.T.contiguous()}
    for old, new in OPEN_CLIP_NAMES:
        name = name.replace(old, new)
    if ".in_proj_" not in name:
        return {name: tensor}
    stem, kind = name.split("in_proj_")
    return {
        f"{stem}{part}_proj.{kind}": chunk.clone() for part, chunk in zip("qkv", tensor.chunk(3), strict=True)
    }


def _text_config(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}
    width = weights["embeddings.token_embedding.weight"].shape[1]
    projection = weights.get("text_projection.weight")
    return {
        **config,
        "hidden_size": width,
        "intermediate_size": weights["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "projection_dim": width if projection is None else projection.shape[0],
    }
