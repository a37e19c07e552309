"""What the tools make is what the reference's own tools make, within the rounding of float32.

Results of sd-scripts 48d368fa, its code unedited but for size constants (tiny models); each file in
tests/data/tools tells the command that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.trainer.tools.made import change
from tests.trainer.tools.reference_inputs import MODULES, result, told, write_loras, write_models
from trainer.network.weights import Factors, RankLimits, RankRule, clamped
from trainer.settings import FamilyKey
from trainer.tools.difference import ExtractOptions, extract_difference
from trainer.tools.into_checkpoint import merge_into
from trainer.tools.merge import Portion, merge
from trainer.tools.resize import resize

CLOSE = 2e-6
"""Of the largest number: what the order of sums changes in float32."""
CLOSE_VECTORS = 1e-4
"""The same for single vectors of a decomposition: values that lie close together turn them a little."""
families = pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
Models = dict[FamilyKey, tuple[Path, Path, Path]]


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    write_loras(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    keys: list[FamilyKey] = ["sd1", "sd2", "sdxl"]
    return {key: write_models(folder, key) for key in keys}


def shares(loras: Path, names: str) -> list[Portion]:
    strengths = (0.7, -0.5, 0.3)
    return [Portion(loras / f"{n}.safetensors", s) for n, s in zip(names, strengths, strict=True)]


def same(ours: Tensor, theirs: Tensor, close: float = CLOSE) -> None:
    assert ours.shape == theirs.shape
    distance = (ours.double() - theirs.double()).abs().max()
    assert distance <= close * max(1.0, float(theirs.abs().max())), float(distance)


def same_changes(ours: Mapping[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """The same modules of the same ranks, and what they do to the model; each rank's sign is free."""
    assert ours.keys() == theirs.keys()
    for module in {name.partition(".")[0] for name in theirs}:
        same(change(dict(ours), module), change(theirs, module))
        for part in ("lora_down.weight", "alpha"):
            assert ours[f"{module}.{part}"].shape == theirs[f"{module}.{part}"].shape
        assert float(ours[f"{module}.alpha"]) == pytest.approx(float(theirs[f"{module}.alpha"]), rel=1e-6)


def same_but_for_signs(ours: Mapping[str, Tensor], theirs: dict[str, Tensor], close: float) -> None:
    """The same factors with the largest numbers cut off as by default.

    Each rank's sign is free, and the limit hangs on it: so ours, which nothing was cut off of, are given
    their signs first.
    """
    assert ours.keys() == theirs.keys()
    for module in {name.partition(".")[0] for name in theirs}:
        up, down = (ours[f"{module}.lora_{side}.weight"].flatten(1) for side in ("up", "down"))
        wanted = Factors(*(theirs[f"{module}.lora_{side}.weight"].flatten(1) for side in ("up", "down")))
        signs = (down * wanted.down).sum(1).sign()
        cut = clamped(Factors(up * signs, down * signs[:, None]), 0.99)
        same(cut.up, wanted.up, close)
        same(cut.down, wanted.down, close)
        assert float(ours[f"{module}.alpha"]) == float(theirs[f"{module}.alpha"])


def test_mixed_factors(loras: Path, tmp_path: Path) -> None:
    """merge_lora."""
    ours = load_file(merge(shares(loras, "abd"), tmp_path / "m.safetensors", "factors"))
    theirs = result("mixed")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        same(ours[name], tensor)


@pytest.mark.parametrize("name", ["concat", "concat_xl"])
def test_side_by_side(name: str, loras: Path, tmp_path: Path) -> None:
    """merge_lora --concat, for SD1/SD2 and SDXL.

    It multiplies both factors by the ratio and divides by the sum of the ranks instead of by each file's own:
    a ratio r has the strength r · |r| · rank / all ranks. With these strengths the results are the same.
    """
    ranks = {"a": 8, "b": 8, "c": 4}
    given = shares(loras, "abc")
    meant = [
        one._replace(strength=one.strength * abs(one.strength) * ranks[one.path.stem] / sum(ranks.values()))
        for one in given
    ]
    ours, theirs = load_file(merge(meant, tmp_path / "m.safetensors")), result(name)
    for module in MODULES:
        assert len(ours[f"{module}.lora_down.weight"]) == len(theirs[f"{module}.lora_down.weight"]) == 20
        same(change(ours, module), change(theirs, module))


def test_closest_of_a_rank(loras: Path, tmp_path: Path) -> None:
    """svd_merge_lora."""
    made = merge(shares(loras, "abc"), tmp_path / "m.safetensors", "svd", RankLimits(6, 3))
    same_but_for_signs(load_file(made), result("svd"), CLOSE_VECTORS)


@pytest.mark.parametrize(
    ("rule", "target", "name"),
    [
        ("fixed", 0.0, "resize_fixed"),
        ("sv_ratio", 3.0, "resize_sv_ratio_3"),
        ("sv_ratio", 1.2, "resize_sv_ratio_1.2"),
        ("sv_cumulative", 0.7, "resize_sv_cumulative_0.7"),
        ("sv_cumulative", 0.3, "resize_sv_cumulative_0.3"),
        ("sv_fro", 0.9, "resize_sv_fro_0.9"),
        ("sv_fro", 0.5, "resize_sv_fro_0.5"),
        ("sv_fro", 0.99, "resize_sv_fro_0.99"),
    ],
)
def test_resized(rule: RankRule, target: float, name: str, loras: Path, tmp_path: Path) -> None:
    """resize_lora, by each of its rules."""
    ranks = (4, 3) if rule == "fixed" else (6, 5)
    resize(loras / "a.safetensors", tmp_path / "r.safetensors", *ranks, rule, target)
    same_changes(load_file(tmp_path / "r.safetensors"), result(name))


def test_resized_without_alpha_to_half_precision(loras: Path, tmp_path: Path) -> None:
    resize(loras / "d.safetensors", tmp_path / "r.safetensors", 3, precision="fp16")
    ours, theirs = load_file(tmp_path / "r.safetensors"), result("resize_fp16")
    assert {name: tensor.dtype for name, tensor in ours.items()} == {
        name: tensor.dtype for name, tensor in theirs.items()
    }
    for module in MODULES:
        wanted = change(theirs, module)
        assert (change(ours, module) - wanted).norm() < 2e-3 * wanted.norm()


@families
def test_into_a_checkpoint(family: FamilyKey, models: Models, tmp_path: Path) -> None:
    """merge_lora --sd_model; the reference's result: every 7th number of each weight that it changed."""
    base, _, lora = models[family]
    merge_into(base, [Portion(lora, 0.8), Portion(lora, -0.3)], tmp_path / "m.safetensors")
    before, after, theirs = load_file(base), load_file(tmp_path / "m.safetensors"), result(f"into_{family}")
    assert {name for name in before if not torch.equal(before[name], after[name])} == theirs.keys()
    for name, numbers in theirs.items():
        same(after[name].flatten()[::7], numbers)


@families
def test_out_of_two_checkpoints(family: FamilyKey, models: Models, tmp_path: Path) -> None:
    """extract_lora_from_models; kept of the reference's result: all names, and some modules."""
    base, tuned, _ = models[family]
    options = ExtractOptions(4, 2, clamp_quantile=1)
    ours = load_file(extract_difference(base, tuned, tmp_path / "x.safetensors", options, "float"))
    theirs = result(f"extract_{family}")
    modules = sorted({name.partition(".")[0] for name in ours})
    assert sha256("\n".join(modules).encode()).hexdigest() == told(f"extract_{family}")["names"]
    same_but_for_signs({name: ours[name] for name in theirs}, theirs, CLOSE_VECTORS)
