"""Metadata changed, names converted, files verified: the weights stay what they are."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.trainer.tools.made import MODULES, lora, tensors
from trainer.errors import UserError
from trainer.network.lora_file import with_hashes
from trainer.tools.convert import convert
from trainer.tools.metadata import change_metadata, thumbnail_text
from trainer.tools.verify import verify


def told(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) and first[key].dtype == second[key].dtype for key in first
    )


def test_metadata_changes_and_hashes_stay_right(tmp_path: Path) -> None:
    made = tensors(4, 2)
    path = lora(tmp_path / "a.safetensors", made, ss_tag_frequency='{"10_me": {"secret": 1}}', ss_v2="False")
    before = path.read_bytes()
    copy = change_metadata(path, tmp_path / "b.safetensors", {"modelspec.title": "猫", "ss_v2": ""})
    assert path.read_bytes() == before
    assert equal(load_file(copy), made)
    metadata = told(copy)
    assert (metadata["modelspec.title"], "ss_v2" in metadata) == ("猫", False)
    expected = with_hashes(made, {key: text for key, text in metadata.items() if not key.startswith("sshs_")})
    assert metadata == expected


def test_published_without_history_it_tells_nothing_of_the_pictures(tmp_path: Path) -> None:
    history = {
        "ss_tag_frequency": '{"10_me": {"secret": 1}}',
        "ss_sd_model_name": "mine.ckpt",
        "ss_v2": "False",
    }
    path = lora(tmp_path / "a.safetensors", tensors(4, 2), **history, ss_network_module="networks.lora")
    public = told(change_metadata(path, tmp_path / "b.safetensors", {}, without_history=True))
    assert set(public) == {"ss_v2", "ss_network_module", "sshs_model_hash", "sshs_legacy_hash"}
    assert "secret" not in (tmp_path / "b.safetensors").read_bytes().decode("latin-1")


def test_a_thumbnail_is_small_and_a_text_is_none(tmp_path: Path) -> None:
    Image.new("RGBA", (900, 300), "red").save(tmp_path / "p.png")
    assert thumbnail_text(tmp_path / "p.png").startswith("data:image/jpeg;base64,/9j/")
    (tmp_path / "t.png").write_text("no picture")
    with pytest.raises(UserError):
        thumbnail_text(tmp_path / "t.png")


def test_there_and_back_nothing_is_lost(tmp_path: Path) -> None:
    names = dict(list(MODULES.items())[:3])
    made = tensors(4, 2, 0, names) | tensors(8, 0.5, 1, dict([list(MODULES.items())[3]]))
    path = lora(tmp_path / "a.safetensors", made, ss_training_comment="hello")
    assert convert(path, tmp_path / "b.safetensors") == "diffusers"
    names_there = load_file(tmp_path / "b.safetensors")
    assert "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight" in names_there
    assert "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_B.weight" in names_there
    assert convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors") == "kohya"
    assert equal(load_file(tmp_path / "c.safetensors"), load_file(path))
    assert told(tmp_path / "c.safetensors") == told(path)


def test_old_diffusers_names_are_read(tmp_path: Path) -> None:
    stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    made = {
        f"{stem}.processor.to_k_lora.down.weight": torch.ones(4, 768),
        f"{stem}.processor.to_k_lora.up.weight": torch.ones(64, 4),
    }
    save_file(made, tmp_path / "a.safetensors")
    assert convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors") == "kohya"
    name = next(iter(MODULES))
    assert set(load_file(tmp_path / "b.safetensors")) == {
        f"{name}.{entry}" for entry in ("lora_down.weight", "lora_up.weight", "alpha")
    }


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError):
        convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    with pytest.raises(UserError):
        verify(tmp_path / "a.safetensors")


def damaged(how: str) -> dict[str, Tensor]:
    made = tensors(4, 2)
    name = next(iter(MODULES))
    if how == "nan":
        made[f"{name}.lora_up.weight"][0] = float("inf")
    elif how == "half":
        del made[f"{name}.lora_up.weight"]
    elif how == "ranks":
        made[f"{name}.lora_up.weight"] = torch.ones(64, 3)
    elif how == "idle":
        made[f"{name}.lora_up.weight"].zero_()
    elif how == "nothing":
        made = {key: tensor * (0 if "lora_up" in key else 1) for key, tensor in made.items()}
    elif how == "alpha":
        made[f"{name}.alpha"] = torch.tensor(0.0)
    elif how == "names":
        made[f"{name}.lora_sideways.weight"] = torch.ones(2)
    return made


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("nan", "tools.verify_not_finite"),
        ("half", "tools.verify_alone"),
        ("ranks", "tools.verify_sizes"),
        ("idle", "tools.verify_idle"),
        ("nothing", "tools.verify_nothing_learned"),
        ("alpha", "tools.verify_no_strength"),
        ("names", "tools.verify_unknown"),
    ],
)
def test_each_fault_is_found_and_only_it(how: str, code: str, tmp_path: Path) -> None:
    save_file(damaged(how), tmp_path / "a.safetensors")
    assert [finding.code for finding in verify(tmp_path / "a.safetensors")] == [code]


def test_a_sound_file_has_no_findings_and_changed_numbers_are_seen(tmp_path: Path) -> None:
    path = lora(tmp_path / "a.safetensors", tensors(4, 2))
    assert verify(path) == []
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert [finding.code for finding in verify(path)] == ["tools.verify_hash"]


def test_a_thumbnail_of_a_picture_of_16_bits_is_not_white(tmp_path: Path):
    ramp = np.tile(np.linspace(0, 65535, 64), (64, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "p.png")
    data = base64.b64decode(thumbnail_text(tmp_path / "p.png").partition(",")[2])
    with Image.open(io.BytesIO(data)) as small:
        assert np.asarray(small.convert("L")).mean() < 150
