"""The change of a weight built whole, as each LoRA type defines it: for tools on files, and to compare with.

Training never builds it (factored).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.direct import IA3
from trainer.network.adapters.low_rank import DyLoRA
from trainer.network.adapters.rotations import BOFT, DiagOFT

EntryTensors = Mapping[str, Tensor]


def whole_change(
    adapter: WeightChange, entries: EntryTensors | None = None, rows: Tensor | None = None
) -> Tensor:
    """ΔW (out, in) or (out, in, k, k) with scalar, rank dropout (`rows`) and DoRA.

    `entries`: other weights than the adapter's own.
    """
    entries = adapter.entries if entries is None else entries
    weight = adapter.layer.weight.detach().float().reshape(adapter.shape)
    # Formulas straight from the papers, each built whole: the factored ways are held against them.
    change = _delta(adapter, entries, weight).reshape(adapter.shape)
    if "scalar" in entries:
        change = change * entries["scalar"]
    if rows is not None:
        change = change * rows.view(-1, *[1] * (change.dim() - 1))
    if "dora_scale" not in entries:
        return change
    merged = weight + change
    lengths = merged.flatten(1).norm(dim=1).reshape(entries["dora_scale"].shape)
    return merged * (entries["dora_scale"] / (lengths + torch.finfo(merged.dtype).eps)) - weight


def _delta(adapter: WeightChange, entries: EntryTensors, weight: Tensor) -> Tensor:
    """(out, in) or (out, in, k, k), without scalar, dropout and DoRA, of W in that shape."""
    if isinstance(adapter, (DiagOFT, BOFT)):
        turned = adapter.turned(adapter.rotations(entries["oft_blocks"]), weight.flatten(1))
        turned = turned.reshape(weight.shape)
        return (turned * entries["rescale"] if "rescale" in entries else turned) - weight
    if isinstance(adapter, IA3):
        view = [1] * weight.dim()
        view[1 if adapter.options.on_input else 0] = -1
        return weight * entries["weight"].reshape(view)
    if isinstance(adapter, DyLoRA):
        # Joined, its ranks are those of any LoRA.
        entries = adapter.to_file(dict(entries))
    if "diff" in entries:
        return entries["diff"]
    return _product(entries, weight) * adapter.scale


def _product(entries: EntryTensors, weight: Tensor) -> Tensor:
    """ΔW without alpha / rank: (out, in), (out, in·k·k) or (out, in, k, k)."""
    if "hada_w1_a" in entries:
        return _half(entries, "hada", "1") * _half(entries, "hada", "2")
    if "lokr_w1" in entries or "lokr_w1_a" in entries:
        small, large = _half(entries, "lokr", "1"), _half(entries, "lokr", "2")
        return torch.kron(small, large.flatten(1).contiguous())
    if "a1.weight" in entries:
        a1, a2 = entries["a1.weight"].flatten(1), entries["a2.weight"].flatten(1)
        # Not factored's way: W·a₁·a₂ is built, so that a mistake there cannot hide here.
        added = entries["b1.weight"].flatten(1) @ entries["b2.weight"].flatten(1)
        return torch.einsum("oi...,ij->oj...", weight, a1 @ a2) + added.reshape(weight.shape)
    up, down = entries["lora_up.weight"].flatten(1), entries["lora_down.weight"].flatten(1)
    if "lora_mid.weight" in entries:
        return _tucker(entries["lora_mid.weight"], up.T, down)
    return up @ down


def _half(entries: EntryTensors, kind: str, side: str) -> Tensor:
    """One factor (out, in, …): whole, (out, r) · (r, in), or through a core (r, r, k, k)."""
    whole, core = entries.get(f"{kind}_w{side}"), entries.get(f"{kind}_t{side}")
    if whole is not None:
        return whole
    left, right = entries[f"{kind}_w{side}_a"], entries[f"{kind}_w{side}_b"]
    return left @ right if core is None else _tucker(core, left, right)


def _tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(out, in, k, k) from a core (r, r, k, k), (r, out) and (r, in)."""
    return torch.einsum("ijhw,io,jn->onhw", core, left, right)
