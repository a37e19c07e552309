"""A LoRA at another rank: the closest change, by the rules that kohya's tool has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.tools.made import MODULES, change, closest, lora, tensors
from trainer.network.weights import RankRule
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
