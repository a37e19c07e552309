"""Files that are damaged, torn or of another kind are told at their setting, and nothing is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.trainer.tools.made import MODULES, lora, tensors
from trainer.errors import UserError
from trainer.lora.torn import is_torn
from trainer.network.weights import mixed
from trainer.tools.checks import check_values
from trainer.tools.extract import extract
from trainer.tools.lora_files import LoraFile, whole_entries
from trainer.tools.merge import Portion, merge
from trainer.tools.resize import resize
from trainer.tools.table import TOOLS
from trainer.tools.verify import verify

NAME = next(iter(MODULES))
TOOLS_OF_ONE = ("resize", "convert", "split", "metadata", "verify")
DYLORA = {"ss_network_module": "networks.dylora"}


def told(name: str, path: Path) -> list[tuple[str, str]]:
    """(setting, code) of what stops a tool on a file, before it runs."""
    values: dict[str, Any] = {"output": str(path.with_name("new.safetensors"))}
    if name == "merge":
        values["loras"] = f"{path}:0.5"
    else:
        values["lora"] = str(path)
    if name == "verify":
        del values["output"]
    problems = check_values(TOOLS[name], values)[1]
    return [(problem.setting, problem.code) for problem in problems if problem.blocks]


def broken(path: Path, how: str) -> Path:
    made = tensors(4, 2)
    content = lora(path, made).read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "header cut":
        path.write_bytes(content[:100])
    elif how == "kind of number":
        path.write_bytes(content.replace(b'"F32"', b'"F99"'))
    return path


@pytest.mark.parametrize("name", ["merge", *TOOLS_OF_ONE])
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("empty", "files.is_empty"),
        ("cut", "core.file_truncated"),
        ("header cut", "core.file_truncated"),
        ("kind of number", "core.file_damaged"),
    ],
)
def test_a_file_that_is_not_whole_is_told_before_the_job(name: str, how: str, code: str, tmp_path: Path):
    path = broken(tmp_path / "a.safetensors", how)
    assert told(name, path) == [("loras" if name == "merge" else "lora", code)]


def torn(how: str) -> dict[str, Tensor]:
    made = tensors(4, 2)
    up = made[f"{NAME}.lora_up.weight"]
    if how == "half":
        del made[f"{NAME}.lora_up.weight"]
    elif how == "other rank":
        made[f"{NAME}.lora_up.weight"] = torch.ones(len(up), 3)
    elif how == "vector":
        made[f"{NAME}.lora_up.weight"] = torch.ones(4)
    elif how == "vector below":
        made[f"{NAME}.lora_down.weight"] = torch.ones(4)
    elif how == "two alphas":
        made[f"{NAME}.alpha"] = torch.ones(2)
    return made


TORN = ("half", "other rank", "vector", "vector below", "two alphas")


@pytest.mark.parametrize("name", ["merge", "resize", "convert"])
@pytest.mark.parametrize("how", TORN)
def test_a_torn_module_is_told_before_the_job(name: str, how: str, tmp_path: Path):
    save_file(torn(how), tmp_path / "a.safetensors")
    assert [code for _, code in told(name, tmp_path / "a.safetensors")] == ["tools.weights_torn"]


@pytest.mark.parametrize("how", TORN)
def test_of_a_torn_pickle_nothing_is_made(how: str, tmp_path: Path):
    torch.save(torn(how), tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        resize(tmp_path / "a.pt", tmp_path / "new.safetensors", 2)
    assert caught.value.message.code == "tools.weights_torn"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_whole_modules_are_not_torn():
    shapes = {"lora_up.weight": (8, 2, 1, 1), "lora_down.weight": (2, 5, 3, 3), "alpha": ()}
    assert not is_torn(shapes)
    assert is_torn({**shapes, "lora_up.weight": (8, 3, 1, 1)})


def test_numbers_of_eight_bits_are_read(tmp_path: Path):
    made = tensors(4, 2)
    eight = {
        name: tensor.to(torch.float8_e4m3fn) if tensor.dim() else tensor for name, tensor in made.items()
    }
    save_file(eight, tmp_path / "a.safetensors")
    assert verify(tmp_path / "a.safetensors") == []
    merge([Portion(tmp_path / "a.safetensors")], tmp_path / "new.safetensors")
    joined = load_file(tmp_path / "new.safetensors")
    assert torch.equal(joined[f"{NAME}.lora_down.weight"], eight[f"{NAME}.lora_down.weight"].float())
    eight[f"{NAME}.lora_down.weight"] = torch.full((4, 768), float("nan")).to(torch.float8_e4m3fn)
    save_file(eight, tmp_path / "b.safetensors")
    with pytest.raises(UserError) as caught:
        whole_entries(LoraFile(tmp_path / "b.safetensors"), NAME)
    assert caught.value.message.code == "tools.weights_damaged"


@pytest.mark.parametrize(("alphas", "base", "factor"), [((0, 4), 4, 1), ((0, 0), 1, 0), ((4, -4), 4, 0)])
def test_alphas_of_zero_and_below_are_mixed(alphas: tuple[float, float], base: float, factor: float):
    """The sum of two equal files: one of alpha 0 adds nothing, one of -4 takes away."""
    down, up = torch.ones(2, 3), torch.ones(5, 2)
    parts = [
        ({"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(float(alpha))}, 1.0)
        for alpha in alphas
    ]
    made = mixed(parts)
    assert float(made["alpha"]) == base
    assert torch.equal(made["lora_down.weight"], down * factor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_out_of_a_damaged_dylora_nothing_is_taken(dtype: torch.dtype, tmp_path: Path):
    made = {name: tensor.to(dtype) for name, tensor in tensors(4, 2).items()}
    made[f"{NAME}.lora_up.weight"][0] = float("inf")
    save_file(made, tmp_path / "a.safetensors", DYLORA)
    with pytest.raises(UserError) as caught:
        extract(tmp_path / "a.safetensors", 2, tmp_path / "new.safetensors")
    assert caught.value.message.code == "tools.weights_damaged"
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
@pytest.mark.parametrize("name", ["merge_into", "extract", "regularisation", "resize", "tag"])
def test_a_pipe_is_told_and_not_waited_for(name: str, tmp_path: Path):
    os.mkfifo(tmp_path / "a.safetensors")
    key = {"extract": "base", "resize": "lora"}.get(name, "model")
    problems = check_values(TOOLS[name], {key: str(tmp_path / "a.safetensors")})[1]
    assert "tools.no_kind" in {problem.code for problem in problems if problem.setting == key}
