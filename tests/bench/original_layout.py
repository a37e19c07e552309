"""A Stable Diffusion 1.x checkpoint in the original one-file layout, with random weights, of any width.

For tests of loading and of memory: names and shapes are the real ones, the numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Widths:
    """Sizes of the parts; the defaults are those of Stable Diffusion 1.5."""

    unet: tuple[int, int, int, int] = (320, 640, 1280, 1280)
    text: int = 768
    text_layers: int = 12
    vae: tuple[int, int, int, int] = (128, 256, 512, 512)


TINY = Widths((32, 64, 64, 64), 48, 2, (32, 32, 32, 32))


def write_checkpoint(path: Path, widths: Widths = Widths(), dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint (about 2 GB for the default sizes in float16)."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in (*unet_shapes(widths), *text_shapes(widths), *vae_shapes(widths)):
        if len(shape) == 1:
            tensor = torch.ones(shape) if "norm" in name or name.endswith("0.weight") else torch.zeros(shape)
        else:
            fan_in = max(1, int(torch.Size(shape[1:]).numel()))
            tensor = torch.randn(shape, generator=generator) * 0.5 / fan_in**0.5
        tensors[name] = tensor.to(dtype)
    save_file(tensors, path)


def layer(name: str, out: int, *into: int, bias: bool = True) -> Shapes:
    """A linear layer, convolution or norm."""
    yield f"{name}.weight", (out, *into)
    if bias:
        yield f"{name}.bias", (out,)


def unet_shapes(widths: Widths) -> Shapes:
    """`model.diffusion_model.…`"""
    root, c = "model.diffusion_model", widths.unet
    time = c[0] * 4
    yield from layer(f"{root}.time_embed.0", time, c[0])
    yield from layer(f"{root}.time_embed.2", time, time)
    yield from layer(f"{root}.input_blocks.0.0", c[0], 4, 3, 3)
    skips, width, number = [c[0]], c[0], 1
    for level, out in enumerate(c):
        for _ in range(2):
            yield from _residual(f"{root}.input_blocks.{number}.0", width, out, time)
            if level < 3:
                yield from _transformer(f"{root}.input_blocks.{number}.1", out, widths.text)
            width, number = out, number + 1
            skips.append(out)
        if level < 3:
            yield from layer(f"{root}.input_blocks.{number}.0.op", out, out, 3, 3)
            number += 1
            skips.append(out)
    yield from _residual(f"{root}.middle_block.0", width, width, time)
    yield from _transformer(f"{root}.middle_block.1", width, widths.text)
    yield from _residual(f"{root}.middle_block.2", width, width, time)
    for number in range(12):
        level = 3 - number // 3
        out = c[level]
        yield from _residual(f"{root}.output_blocks.{number}.0", width + skips.pop(), out, time)
        if level < 3:
            yield from _transformer(f"{root}.output_blocks.{number}.1", out, widths.text)
        if number % 3 == 2 and level:
            yield from layer(f"{root}.output_blocks.{number}.{1 if level == 3 else 2}.conv", out, out, 3, 3)
        width = out
    yield from layer(f"{root}.out.0", width, bias=True)
    yield from layer(f"{root}.out.2", 4, width, 3, 3)


def _residual(name: str, into: int, out: int, time: int) -> Shapes:
    yield from layer(f"{name}.in_layers.0", into)
    yield from layer(f"{name}.in_layers.2", out, into, 3, 3)
    yield from layer(f"{name}.emb_layers.1", out, time)
    yield from layer(f"{name}.out_layers.0", out)
    yield from layer(f"{name}.out_layers.3", out, out, 3, 3)
    if into != out:
        yield from layer(f"{name}.skip_connection", out, into, 1, 1)


def _transformer(name: str, width: int, text: int) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    yield from layer(f"{name}.norm", width)
    yield from layer(f"{name}.proj_in", width, width, 1, 1)
    for attention, context in (("attn1", width), ("attn2", text)):
        yield from layer(f"{block}.{attention}.to_q", width, width, bias=False)
        yield from layer(f"{block}.{attention}.to_k", width, context, bias=False)
        yield from layer(f"{block}.{attention}.to_v", width, context, bias=False)
        yield from layer(f"{block}.{attention}.to_out.0", width, width)
    yield from layer(f"{block}.ff.net.0.proj", width * 8, width)
    yield from layer(f"{block}.ff.net.2", width, width * 4)
    for norm in ("norm1", "norm2", "norm3"):
        yield from layer(f"{block}.{norm}", width)
    yield from layer(f"{name}.proj_out", width, width, 1, 1)


def text_shapes(widths: Widths) -> Shapes:
    """`cond_stage_model.transformer.text_model.…`"""
    root, width = "cond_stage_model.transformer.text_model", widths.text
    yield f"{root}.embeddings.token_embedding.weight", (49408, width)
    yield f"{root}.embeddings.position_embedding.weight", (77, width)
    for number in range(widths.text_layers):
        block = f"{root}.encoder.layers.{number}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from layer(f"{block}.self_attn.{projection}", width, width)
        yield from layer(f"{block}.layer_norm1", width)
        yield from layer(f"{block}.mlp.fc1", width * 4, width)
        yield from layer(f"{block}.mlp.fc2", width, width * 4)
        yield from layer(f"{block}.layer_norm2", width)
    yield from layer(f"{root}.final_layer_norm", width)


def vae_shapes(widths: Widths) -> Shapes:
    """`first_stage_model.…`"""
    root, c = "first_stage_model", widths.vae
    yield from layer(f"{root}.encoder.conv_in", c[0], 3, 3, 3)
    width = c[0]
    for level, out in enumerate(c):
        for block in range(2):
            yield from _vae_residual(f"{root}.encoder.down.{level}.block.{block}", width, out)
            width = out
        if level < 3:
            yield from layer(f"{root}.encoder.down.{level}.downsample.conv", out, out, 3, 3)
    yield from _vae_middle(f"{root}.encoder.mid", width)
    yield from layer(f"{root}.encoder.norm_out", width)
    yield from layer(f"{root}.encoder.conv_out", 8, width, 3, 3)
    yield from layer(f"{root}.quant_conv", 8, 8, 1, 1)
    yield from layer(f"{root}.post_quant_conv", 4, 4, 1, 1)
    yield from layer(f"{root}.decoder.conv_in", width, 4, 3, 3)
    yield from _vae_middle(f"{root}.decoder.mid", width)
    for level in (3, 2, 1, 0):
        for block in range(3):
            yield from _vae_residual(f"{root}.decoder.up.{level}.block.{block}", width, c[level])
            width = c[level]
        if level:
            yield from layer(f"{root}.decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from layer(f"{root}.decoder.norm_out", width)
    yield from layer(f"{root}.decoder.conv_out", 3, width, 3, 3)


def _vae_residual(name: str, into: int, out: int) -> Shapes:
    yield from layer(f"{name}.norm1", into)
    yield from layer(f"{name}.conv1", out, into, 3, 3)
    yield from layer(f"{name}.norm2", out)
    yield from layer(f"{name}.conv2", out, out, 3, 3)
    if into != out:
        yield from layer(f"{name}.nin_shortcut", out, into, 1, 1)


def _vae_middle(name: str, width: int) -> Shapes:
    yield from _vae_residual(f"{name}.block_1", width, width)
    yield from layer(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from layer(f"{name}.attn_1.{part}", width, width, 1, 1)
    yield from _vae_residual(f"{name}.block_2", width, width)
