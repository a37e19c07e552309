"""Several LoRAs as one: it does what they do together, or the closest to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.trainer.tools.made import MODULES, change, closest, lora, tensors
from trainer.errors import StopRequested, UserError
from trainer.messages import LANGUAGES, say
from trainer.network.weights import RankLimits
from trainer.tools.merge import Method, Portion, merge

ONLY = dict(list(MODULES.items())[:3])


@pytest.fixture
def shares(tmp_path: Path) -> list[Portion]:
    """Two LoRAs of different rank and alpha; the second has fewer modules and a negative strength."""
    first = lora(tmp_path / "a.safetensors", tensors(8, 4), ss_base_model_version="sd_v1")
    second = lora(tmp_path / "b.safetensors", tensors(4, 1, 1, ONLY))
    return [Portion(first, 0.7), Portion(second, -0.5)]


def wanted(name: str) -> torch.Tensor:
    total = 0.7 * change(tensors(8, 4), name)
    return total - 0.5 * change(tensors(4, 1, 1, ONLY), name) if name in ONLY else total


def test_exact_is_the_sum_of_the_changes(shares: list[Portion], tmp_path: Path) -> None:
    made = load_file(merge(shares, tmp_path / "m.safetensors"))
    for name in MODULES:
        assert (change(made, name) - wanted(name)).abs().max() < 1e-4
        assert len(made[f"{name}.lora_down.weight"]) == (12 if name in ONLY else 8)


def test_svd_is_the_closest_of_the_wanted_rank(shares: list[Portion], tmp_path: Path) -> None:
    made = load_file(merge(shares, tmp_path / "m.safetensors", "svd", RankLimits(6, 3)))
    for name, (_, _, kernel) in MODULES.items():
        rank = 3 if kernel == 3 else 6
        assert len(made[f"{name}.lora_down.weight"]) == rank
        assert (change(made, name) - closest(wanted(name), rank)).abs().max() < 1e-4


def test_a_rank_above_what_is_there_is_filled_with_zeros(shares: list[Portion], tmp_path: Path) -> None:
    made = load_file(merge(shares[:1], tmp_path / "m.safetensors", "svd", RankLimits(16)))
    name = next(iter(MODULES))
    assert len(made[f"{name}.lora_down.weight"]) == 16
    assert (change(made, name) - 0.7 * change(tensors(8, 4), name)).abs().max() < 1e-4


def test_factors_are_mixed_as_kohyas_tool_mixes_them(tmp_path: Path) -> None:
    files = [tensors(4, 4), tensors(4, 1, 1)]
    shares = [Portion(lora(tmp_path / f"{i}.safetensors", made), 0.5) for i, made in enumerate(files)]
    made = load_file(merge(shares, tmp_path / "m.safetensors", "factors"))
    name = next(iter(MODULES))
    for side in ("up", "down"):
        first, second = (file[f"{name}.lora_{side}.weight"] for file in files)
        assert torch.allclose(made[f"{name}.lora_{side}.weight"], 0.5 * first + 0.25 * second)
    assert float(made[f"{name}.alpha"]) == 4


def told(error: UserError) -> tuple[str, str, list[str]]:
    return error.message.code, error.setting, error.message.values["name"]


def test_factors_of_other_ranks_are_refused(shares: list[Portion], tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        merge(shares, tmp_path / "m.safetensors", "factors")
    assert told(refused.value) == ("tools.other_ranks", "loras", ["a.safetensors", "b.safetensors"])
    assert not (tmp_path / "m.safetensors").exists()


def test_loras_for_other_models_are_refused(shares: list[Portion], tmp_path: Path) -> None:
    name = next(iter(MODULES))
    other = lora(tmp_path / "c.safetensors", tensors(4, 4, 2, {name: (64, 1024, 0)}))
    with pytest.raises(UserError) as refused:
        merge([*shares, Portion(other)], tmp_path / "m.safetensors")
    files = ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert told(refused.value) == ("tools.sizes", "loras", files)
    values = refused.value.message.values
    assert (values["module"], values["names"]) == (name, ["64x768", "64x768", "64x1024"])
    for language in LANGUAGES:
        sentence = str(say(refused.value.message, language))
        assert all(part in sentence for part in (*files, name, "64x1024")), sentence


def test_a_file_that_cannot_be_added_is_named(shares: list[Portion], tmp_path: Path) -> None:
    name = next(iter(MODULES))
    ia3 = {f"{name}.weight": torch.ones(64), f"{name}.on_input": torch.tensor(data=False)}
    other = lora(tmp_path / "c.safetensors", ia3)
    refusals: dict[Method, str] = {"exact": "tools.needs_model", "factors": "tools.only_plain"}
    for method, code in refusals.items():
        with pytest.raises(UserError) as refused:
            merge([*shares[:1], Portion(other)], tmp_path / "m.safetensors", method)
        assert told(refused.value) == (code, "loras", ["c.safetensors"])


def test_stopped_or_without_numbers_nothing_is_written(tmp_path: Path) -> None:
    def stop(done: int, _total: int) -> None:
        if done:
            raise StopRequested

    whole = lora(tmp_path / "a.safetensors", tensors(4, 4))
    with pytest.raises(StopRequested):
        merge([Portion(whole)], tmp_path / "m.safetensors", report=stop)
    broken = tensors(4, 4)
    broken[f"{next(iter(MODULES))}.lora_up.weight"][0, 0] = float("nan")
    save_file(broken, tmp_path / "n.safetensors")
    with pytest.raises(UserError) as refused:
        merge([Portion(tmp_path / "n.safetensors")], tmp_path / "m.safetensors")
    assert refused.value.message.code == "tools.weights_damaged"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "n.safetensors"]


def test_what_fp16_cannot_hold_is_written_in_float32(tmp_path: Path) -> None:
    large = {name: tensor * 300 for name, tensor in tensors(2, 2).items()}
    shares = [Portion(lora(tmp_path / "a.safetensors", large), 1000)]
    made = load_file(merge(shares, tmp_path / "m.safetensors", precision="fp16"))
    kinds = {tensor.dtype for tensor in made.values()}
    assert kinds == {torch.float16, torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in made.values())


def test_the_file_tells_its_base_model_rank_and_parts(shares: list[Portion], tmp_path: Path) -> None:
    with safe_open(merge(shares, tmp_path / "m.safetensors", "svd", RankLimits(6)), "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_network_dim"] == "6"
    assert metadata["ss_training_comment"] == "merged: a x 0.7, b x -0.5"
    assert len(metadata["sshs_model_hash"]) == 64
