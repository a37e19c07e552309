"""A LoRA at another rank: the closest change, by the rules that kohya's tool has."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.tools.made import MODULES, change, closest, lora, tensors
from trainer.network.spectra import RankRule
from trainer.tools.merge import Portion, merge
from trainer.tools.resize import resize


def test_fixed_ranks_keep_what_is_largest(tmp_path: Path) -> None:
    made = tensors(8, 4)
    told = resize(lora(tmp_path / "a.safetensors", made), tmp_path / "r.safetensors", 4, 2)
    smaller = load_file(tmp_path / "r.safetensors")
    assert {one.module: (one.old_rank, one.rank) for one in told} == {
        name: (8, 2 if kernel else 4) for name, (_, _, kernel) in MODULES.items()
    }
    for one in told:
        matrix = change(made, one.module)
        best = closest(matrix, one.rank)
        assert (change(smaller, one.module) - best).abs().max() < 1e-4
        assert one.kept == pytest.approx(float(best.norm() / matrix.norm()), abs=1e-5)


def reference_rank(values: torch.Tensor, rule: RankRule, target: float) -> int:
    """kohya's rules, told by counting: one more than reaches the target."""
    if rule == "sv_ratio":
        return sum(float(value) > float(values[0]) / target for value in values) + 1
    weights = values if rule == "sv_cumulative" else values**2
    share = target if rule == "sv_cumulative" else target**2
    total, count = 0.0, 0
    while total / float(weights.sum()) < share:
        total, count = total + float(weights[count]), count + 1
    return count + 1


@pytest.mark.parametrize(
    ("rule", "target"), [("sv_ratio", 1.5), ("sv_ratio", 4.0), ("sv_cumulative", 0.7), ("sv_fro", 0.9)]
)
def test_rules_choose_kohyas_ranks(rule: RankRule, target: float, tmp_path: Path) -> None:
    made = tensors(8, 4)
    for one in resize(lora(tmp_path / "a.safetensors", made), tmp_path / "r.safetensors", 8, 0, rule, target):
        values = torch.linalg.svdvals(change(made, one.module))[:8]
        assert one.rank == min(reference_rank(values, rule, target), 8)


def test_a_module_without_a_change_gets_rank_1(tmp_path: Path) -> None:
    made = {name: tensor * (0 if "lora_up" in name else 1) for name, tensor in tensors(8, 4).items()}
    told = resize(lora(tmp_path / "a.safetensors", made), tmp_path / "r.safetensors", 8, 0, "sv_fro", 0.9)
    assert {(one.rank, one.kept) for one in told} == {(1, 1.0)}


def test_a_loha_becomes_a_plain_lora(tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    torch.manual_seed(0)
    shapes = {"hada_w1_a": (16, 2), "hada_w1_b": (2, 24), "hada_w2_a": (16, 2), "hada_w2_b": (2, 24)}
    parts = {entry: torch.randn(shape) for entry, shape in shapes.items()}
    made = {f"{name}.{entry}": part for entry, part in parts.items()} | {f"{name}.alpha": torch.tensor(1.0)}
    resize(lora(tmp_path / "a.safetensors", made), tmp_path / "r.safetensors", 4)
    halves = [parts[f"hada_w{side}_a"] @ parts[f"hada_w{side}_b"] for side in (1, 2)]
    wanted = halves[0] * halves[1] / 2
    assert (change(load_file(tmp_path / "r.safetensors"), name) - wanted).abs().max() < 1e-4


FLAT = {
    "lora_unet_down_blocks_0_resnets_0_conv1": (3, 3),
    "lora_unet_down_blocks_0_attentions_0_proj_in": (1, 1),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (),
    "lora_unet_input_blocks_4_0_in_layers_2": (3, 3),  # SDXL's names
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": (),
}
"""Modules, and the kernels that their weights have in the model."""


def flat_file(path: Path, kind: str, names: Iterable[str]) -> tuple[Path, dict[str, torch.Tensor]]:
    """A LoHa or LoKr whose factors hold a kernel's numbers side by side; (its path, module -> ΔW, flat)."""
    made: dict[str, torch.Tensor] = {}
    changes: dict[str, torch.Tensor] = {}
    for name in names:
        width = 8 * math.prod(FLAT[name])
        if kind == "loha":
            shapes = {
                "hada_w1_a": (16, 2),
                "hada_w1_b": (2, width),
                "hada_w2_a": (16, 2),
                "hada_w2_b": (2, width),
            }
            parts = {entry: torch.randn(shape) for entry, shape in shapes.items()}
            halves = [parts[f"hada_w{side}_a"] @ parts[f"hada_w{side}_b"] for side in (1, 2)]
            changes[name] = halves[0] * halves[1] / 2
        else:
            shapes = {"lokr_w1": (4, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, width // 2)}
            parts = {entry: torch.randn(shape) for entry, shape in shapes.items()}
            changes[name] = torch.kron(parts["lokr_w1"], parts["lokr_w2_a"] @ parts["lokr_w2_b"]) / 2
        made |= {f"{name}.{entry}": part for entry, part in parts.items()}
        made[f"{name}.alpha"] = torch.tensor(1.0)
    return lora(path, made), changes


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_convolution_keeps_its_kernel_where_its_factors_do_not_show_it(kind: str, tmp_path: Path) -> None:
    for number, names in enumerate((list(FLAT)[:3], list(FLAT)[3:])):
        file, changes = flat_file(tmp_path / f"{number}.safetensors", kind, names)
        output = tmp_path / f"{number}-plain.safetensors"
        resize(file, output, 8)
        made = load_file(output)
        for name in names:
            assert made[f"{name}.lora_down.weight"].shape[1:] == (8, *FLAT[name])
            assert made[f"{name}.lora_up.weight"].shape[2:] == (1,) * len(FLAT[name])
            assert (change(made, name) - changes[name]).abs().max() < 1e-4


def test_convolutions_of_two_types_are_merged(tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_resnets_0_conv1"
    flat, changes = flat_file(tmp_path / "a.safetensors", "loha", [name])
    plain = tensors(2, 1, 0, {name: (16, 8, 3)})
    shares = [Portion(flat, 0.5), Portion(lora(tmp_path / "b.safetensors", plain))]
    made = load_file(merge(shares, tmp_path / "m.safetensors"))
    assert made[f"{name}.lora_down.weight"].shape[1:] == (8, 3, 3)
    wanted = 0.5 * changes[name] + change(plain, name)
    assert (change(made, name) - wanted).abs().max() < 1e-4
