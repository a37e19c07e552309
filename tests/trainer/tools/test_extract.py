"""A smaller LoRA out of a DyLoRA: what other readers make of it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from trainer.__main__ import app
from trainer.errors import UserError
from trainer.network.lora_file import save_lora, with_hashes
from trainer.tools.extract import extract, ranks_in

DYLORA = {
    "ss_network_module": "networks.dylora",
    "ss_network_args": '{"unit": "2"}',
    "ss_network_dim": "8",
    "ss_training_comment": "cat",
    "modelspec.title": "cat",
}


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    found = {}
    for name, kernel in (("lora_unet_a", ()), ("lora_unet_b", (1, 1)), ("lora_te_c", (3, 3))):
        ones = (1,) * len(kernel)
        found[f"{name}.lora_down.weight"] = torch.randn(8, 5, *kernel)
        found[f"{name}.lora_up.weight"] = torch.randn(6, 8, *ones)
        found[f"{name}.alpha"] = torch.tensor(4.0)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_holds_the_first_ranks_and_nothing_else_changes(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    save_lora(path, tensors(), DYLORA, dtype)
    smaller = extract(path, 4)
    assert smaller == tmp_path / "cat-rank4.safetensors"
    before, after = load_file(path), load_file(smaller)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert tensor.dtype == dtype
        kept = before[name]
        kept = kept[:4] if "lora_down" in name else kept[:, :4] if "lora_up" in name else kept
        assert torch.equal(tensor, kept)


def test_its_metadata_tells_the_new_rank_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    save_lora(path, tensors(), DYLORA)
    smaller = extract(path, 2)
    with safe_open(smaller, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == "2"
    assert metadata["ss_training_comment"] == "rank 2 of a DyLoRA of rank 8; cat"
    assert metadata["modelspec.title"] == "cat"
    told = {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
    assert with_hashes(load_file(smaller), told)["sshs_model_hash"] == metadata["sshs_model_hash"]
    assert smaller.stat().st_mode & 0o777 == 0o644


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    save_lora(path, tensors(), DYLORA)
    content = path.read_bytes()
    names = [extract(path, 4).name for _ in range(3)]
    assert names == [f"cat-rank4{suffix}.safetensors" for suffix in ("", "-2", "-3")]
    with pytest.raises(UserError) as caught:
        extract(path, 4, path)
    assert caught.value.message.code == "files.extract_itself"
    assert path.read_bytes() == content


def test_only_a_dyloras_own_ranks_can_be_taken_out(tmp_path: Path) -> None:
    path, plain, none = (tmp_path / f"{name}.safetensors" for name in ("dy", "plain", "none"))
    save_lora(path, tensors(), DYLORA)
    save_lora(plain, tensors(), {"ss_network_module": "networks.lora"})
    save_lora(none, {"x.weight": torch.zeros(2)}, {})
    assert ranks_in(path).smaller == (2, 4, 6)
    refused = {
        (path, 3): "files.extract_rank",
        (path, 8): "files.extract_rank",
        (path, 0): "files.extract_rank",
    }
    refused |= {(plain, 4): "files.no_dylora", (none, 4): "files.no_lora"}
    refused |= {(tmp_path / "no.safetensors", 4): "files.missing"}
    for (file, rank), code in refused.items():
        with pytest.raises(UserError) as caught:
            extract(file, rank)
        assert caught.value.message.code == code
    path.write_bytes(b"no")
    with pytest.raises(UserError):
        extract(path, 4)


@pytest.mark.parametrize("side", ["lora_down", "lora_up"])
@pytest.mark.parametrize("shape", [(), (8,), (0, 0)])
def test_factors_that_are_no_matrices_are_no_lora(shape: tuple[int, ...], side: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_lora(path, {**tensors(), f"lora_unet_a.{side}.weight": torch.zeros(shape)}, DYLORA)
    if len(shape) == 2:  # empty, but the others hold ranks
        assert extract(path, 2).exists()
        return
    with pytest.raises(UserError) as caught:
        extract(path, 2)
    assert caught.value.message.code == "files.no_lora"
    assert [file.name for file in tmp_path.iterdir()] == ["odd.safetensors"]


@pytest.mark.parametrize("unit", ['"0"', '"-2"', '"x"', '"99999999999999999999"', "[]", "null"])
def test_odd_units_name_the_ranks_that_there_are(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_lora(path, tensors(), {**DYLORA, "ss_network_args": f'{{"unit": {unit}}}'})
    for rank in ranks_in(path).smaller:
        assert 0 < rank < 8
    with pytest.raises(UserError) as caught:
        extract(path, 100)
    assert caught.value.message.code == "files.extract_rank"


def test_the_command_prints_where_it_is(tmp_path: Path) -> None:
    path, output = tmp_path / "cat.safetensors", tmp_path / "new" / "small.safetensors"
    output.parent.mkdir()
    arguments = {**DYLORA, "ss_network_module": "lycoris.kohya"}
    arguments["ss_network_args"] = '{"algo": "dylora", "block_size": "4"}'
    save_lora(path, tensors(), arguments)
    done = CliRunner().invoke(app, ["extract", str(path), "--rank", "4", "--output", str(output)])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(output)
    assert output.exists()
