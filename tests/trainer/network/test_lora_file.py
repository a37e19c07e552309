"""LoRA files: hashes, formats, and that a file is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from tests.trainer.references import PARITY, reference
from trainer.errors import UserError
from trainer.files.file_hashes import file_hash, legacy_file_hash
from trainer.network.lora_file import alphas, load_lora, save_lora, with_hashes

TENSORS = {
    "lora_unet_x.lora_down.weight": torch.arange(8.0).reshape(2, 4),
    "lora_unet_x.lora_up.weight": torch.ones(4, 2) / 3,
    "lora_unet_x.alpha": torch.tensor(2.0),
}


def test_hashes_equal_the_reference() -> None:
    recorded = reference("hashes")["small"]
    path = PARITY / "hash_small.safetensors"
    entries = with_hashes(safetensors.torch.load_file(path), recorded["metadata_given"])
    assert entries["sshs_model_hash"] == recorded["sshs_model_hash"]
    assert entries["sshs_legacy_hash"] == recorded["sshs_legacy_hash"]
    assert entries["other"] == "ignored"
    assert file_hash(path) == recorded["calculate_sha256(new, ss_new_sd_model_hash)"]
    assert legacy_file_hash(path) == recorded["model_hash(old webui, ss_sd_model_hash)"]


@pytest.mark.parity
def test_hashes_of_whole_models_equal_the_reference() -> None:
    """Files of the recordings: too large to be shipped, compared where they are at hand."""
    root = Path(os.environ.get("LORA_ATELIER_PARITY", "../shared/parity"))
    if not root.is_dir():
        pytest.skip("no recordings at hand")
    recorded = reference("hashes")
    model = recorded["models/tiny_sd1.safetensors"]
    path = root / "models/tiny_sd1.safetensors"
    assert file_hash(path) == model["ss_new_sd_model_hash"]
    assert legacy_file_hash(path) == model["ss_sd_model_hash"]
    big, path = recorded["big"], root / recorded["big"]["file"]
    assert file_hash(path) == big["calculate_sha256(new, ss_new_sd_model_hash)"]
    assert legacy_file_hash(path) == big["model_hash(old webui, ss_sd_model_hash)"]
    entries = with_hashes(safetensors.torch.load_file(path), big["metadata_given"])
    assert entries["sshs_model_hash"] == big["sshs_model_hash"]
    assert entries["sshs_legacy_hash"] == big["sshs_legacy_hash"]


def test_hashes_of_a_large_file_cover_what_the_old_web_ui_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(400_000)}
    path = tmp_path / "big.safetensors"
    save_lora(path, tensors, {"ss_a": "1", "other": "2"})
    with safe_open(path, "pt") as file:
        entries = file.metadata()
    content = safetensors.torch.save(tensors, {"ss_a": "1"})
    assert entries["sshs_legacy_hash"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    assert entries["sshs_model_hash"] == hashlib.sha256(whole[start:]).hexdigest()
    assert legacy_file_hash(path) == hashlib.sha256(whole[0x100000:0x110000]).hexdigest()[:8]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_every_format_and_precision_is_written_and_read(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    save_lora(tmp_path / name, TENSORS, {"ss_a": "b"}, dtype)
    tensors, metadata = load_lora(tmp_path / name)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert all(torch.equal(tensors[key], tensor.to(dtype)) for key, tensor in TENSORS.items())
    assert metadata.get("ss_a") == ("b" if name.endswith("safetensors") else None)
    assert alphas(tensors) == {"lora_unet_x": 2.0}


def test_a_ckpt_holds_plain_tensors_only(tmp_path: Path) -> None:
    save_lora(tmp_path / "x.ckpt", TENSORS, {})
    assert torch.load(tmp_path / "x.ckpt", weights_only=True).keys() == TENSORS.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_everyone_may_read_the_file(tmp_path: Path) -> None:
    save_lora(tmp_path / "x.safetensors", TENSORS, {})
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == 0o644


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_lora(path, TENSORS, {"ss_a": "old"})
    old = path.read_bytes()
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever safetensors raises for metadata that is no text
        save_lora(path, TENSORS, {"ss_a": 1})  # pyright: ignore[reportArgumentType]  # wrong on purpose
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(safetensors.torch.save(TENSORS)[:-4])
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(print))
    for name in ("model.safetensors", "cut.safetensors", "evil.ckpt", "missing.safetensors"):
        with pytest.raises(UserError) as error:
            load_lora(tmp_path / name)
        assert error.value.setting == "network_weights"
        assert str(error.value)


BEYOND_HALF = {
    "a large alpha": {"lora_unet_x.alpha": torch.tensor(65_520.0)},
    "the largest alpha": {"lora_unet_x.alpha": torch.tensor(100_000.0)},
    "an alpha near nothing": {"lora_unet_x.alpha": torch.tensor(1e-9)},
    "one large weight": {"lora_unet_x.lora_up.weight": torch.tensor([[1.0, -70_000.0]] * 4)},
    "weights near nothing": {"lora_unet_x.lora_up.weight": torch.full((4, 2), 1e-9)},
}


@pytest.mark.parametrize("case", BEYOND_HALF)
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_what_half_precision_cannot_hold_is_kept_in_full(tmp_path: Path, case: str, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    tensors = {**TENSORS, **BEYOND_HALF[case]}
    save_lora(path, tensors, {}, torch.float16)
    read, _ = load_lora(path)
    for key, tensor in tensors.items():
        if key in BEYOND_HALF[case]:
            assert torch.equal(read[key], tensor), key
        else:
            assert torch.equal(read[key], tensor.half()), key


def test_bf16_holds_large_alphas_and_zeros_stay_small(tmp_path: Path) -> None:
    tensors = {**TENSORS, **BEYOND_HALF["the largest alpha"], "lora_unet_x.lora_up.weight": torch.zeros(4, 2)}
    save_lora(tmp_path / "x.safetensors", tensors, {}, torch.bfloat16)
    assert {tensor.dtype for tensor in load_lora(tmp_path / "x.safetensors")[0].values()} == {torch.bfloat16}


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_what_is_no_number_is_not_saved_and_the_last_file_stays(
    tmp_path: Path, number: float, ending: str
) -> None:
    path = tmp_path / f"x{ending}"
    save_lora(path, TENSORS, {})
    before = path.read_bytes()
    spoiled = {**TENSORS, "lora_unet_x.lora_up.weight": torch.tensor([[1.0, number]] * 4)}
    with pytest.raises(UserError) as caught:
        save_lora(path, spoiled, {}, torch.float16)
    assert caught.value.message.code == "training.weights_not_finite"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
