"""LoRA files as tools write them: a free name, and numbers that the format can hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trainer.errors import StopRequested, UserError
from trainer.tools.lora_files import LoraFile, LoraWriter, counted, free_path

MODULE = "lora_unet_a"


def entries(largest: float) -> dict[str, torch.Tensor]:
    down, up = torch.zeros(2, 3), torch.ones(4, 2)
    down[0, 0] = largest
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}


@pytest.mark.parametrize(
    ("there", "free"),
    [
        ((), "a.safetensors"),
        (("a.safetensors",), "a-2.safetensors"),
        (("A.SAFETENSORS", "a-2.safetensors"), "a-3.safetensors"),
        (("a-2.safetensors",), "a.safetensors"),
    ],
)
def test_a_name_is_free_whatever_its_capitals(there: tuple[str, ...], free: str, tmp_path: Path):
    for name in there:
        (tmp_path / name).touch()
    assert free_path(tmp_path / "a.safetensors").name == free
    assert free_path(tmp_path / "new" / "a.safetensors").name == "a.safetensors"


def test_what_fp16_cannot_hold_is_written_longer(tmp_path: Path):
    with LoraWriter(tmp_path / "a.safetensors", "fp16") as made:
        made.add(MODULE, entries(70000.0))
        made.write({"ss_network_dim": "2"})
        assert (made.ranks, made.alphas) == ({2}, {2.0})
    written = load_file(tmp_path / "a.safetensors")
    assert float(written[f"{MODULE}.lora_down.weight"].max()) == 70000.0
    assert written[f"{MODULE}.lora_down.weight"].dtype == torch.float32
    assert written[f"{MODULE}.lora_up.weight"].dtype == torch.float16


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_never_written(number: float, tmp_path: Path):
    with LoraWriter(tmp_path / "a.safetensors", "bf16") as made, pytest.raises(UserError) as refused:
        made.add(MODULE, entries(number))
    assert refused.value.message.code == "tools.not_finite"
    assert not list(tmp_path.iterdir())


def test_stopped_while_the_file_is_written_nothing_stands_there(tmp_path: Path):
    def stop(done: int, total: int) -> None:
        assert done == total == 3
        raise StopRequested

    with LoraWriter(tmp_path / "a.safetensors", "float", stop) as made:
        made.add(MODULE, entries(1.0))
        with pytest.raises(StopRequested):
            made.write({})
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_lora_is_told_at_its_setting(tmp_path: Path):
    with LoraWriter(tmp_path / "a.safetensors", "float") as made:
        made.add("other", entries(1.0))
        made.write({})
    with pytest.raises(UserError) as refused:
        LoraFile(tmp_path / "a.safetensors", "loras")
    assert (refused.value.message.code, refused.value.setting) == ("tools.no_kohya_lora", "loras")


def test_each_module_is_told_before_it_is_given():
    told: list[tuple[int, int]] = []
    names = list(counted({"a": 0, "b": 0}, lambda done, total: told.append((done, total))))
    assert (names, told) == (["a", "b"], [(0, 2), (1, 2), (2, 2)])
