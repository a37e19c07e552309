"""Train again like this one: the settings of a LoRA file, from its header.

`lora_metadata.json`: metadata that sd-scripts wrote, with the options it had been given.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import UserError
from trainer.kohya import from_sd_scripts, read, to_kohya
from trainer.lora.shapes import AlgorithmOptions
from trainer.lora.types import ALGORITHMS, TYPES, entry_shapes
from trainer.settings import LORA_TYPES, Settings

RECORDED = json.loads(
    (Path(__file__).parents[2] / "data" / "kohya" / "lora_metadata.json").read_text("utf-8")
)
UNET_LAYER = "lora_unet_down_blocks_0_attentions_0_proj_in"
TEXT_LAYER = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def write_file(
    path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str] | None = None
) -> Path:
    """A .safetensors file of float32 zeros; every alpha is 2.0."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, shape in shapes.items():
        count = 1
        for side in shape:
            count *= side
        value = struct.pack("<f", 2.0) if name.endswith(".alpha") else bytes(4 * count)
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(value)],
        }
        data += value
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def layers(*names: str, rank: int = 4) -> dict[str, tuple[int, ...]]:
    """Shapes of LoRA layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        shapes |= {
            f"{name}.lora_down.weight": (rank, 8),
            f"{name}.lora_up.weight": (8, rank),
            f"{name}.alpha": (),
        }
    return shapes


@pytest.mark.parametrize("name", RECORDED)
def test_metadata_says_what_the_trainer_was_told(name: str, tmp_path: Path) -> None:
    names = (UNET_LAYER,) if name == "unet_only" else (UNET_LAYER, TEXT_LAYER)
    path = write_file(tmp_path / "a.safetensors", layers(*names), RECORDED[name]["metadata"])
    imported = read(path)
    told = from_sd_scripts(RECORDED[name]["args"]).settings
    named = {
        entry.setting for entry in imported.report.entries if entry.setting and entry.kind != "defaulted"
    }
    assert len(named) > 50
    assert {"unet_lr", "text_encoder_lr", "network_dim", "LoRA_type", "optimizer", "seed"} <= named
    assert {key: imported.settings.get(key) for key in named} == {key: told.get(key) for key in named}


def test_what_the_file_cannot_tell_is_pointed_out(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.safetensors", layers(UNET_LAYER, TEXT_LAYER), RECORDED["conv_dim"]["metadata"]
    )
    imported = read(path)
    assert [entry.key for entry in imported.report.attention] == ["ss_sd_model_name"]
    folders = next(entry for entry in imported.report.entries if entry.key == "ss_dataset_dirs")
    assert folders.was == "1_sks shape (5)"
    assert imported.settings.model.pretrained_model_name_or_path == ""


def test_a_hub_name_of_the_base_model_is_enough(tmp_path: Path) -> None:
    metadata = {
        "ss_network_dim": "4",
        "ss_sd_model_name": "stabilityai/sdxl-base",
        "ss_base_model_version": "sdxl_base_v1-0",
    }
    settings = read(write_file(tmp_path / "a.safetensors", layers(UNET_LAYER), metadata)).settings
    assert settings.model.pretrained_model_name_or_path == "stabilityai/sdxl-base"
    assert settings.model.sdxl


CONV_LAYER = "lora_unet_down_blocks_0_resnets_0_conv1"


@pytest.mark.parametrize("kind", LORA_TYPES)
def test_without_metadata_a_type_is_told_by_its_tensors(kind: str, tmp_path: Path) -> None:
    algorithm, options = TYPES[kind], AlgorithmOptions()
    told = "lora" if algorithm == "dylora" else algorithm
    shapes = {
        f"{name}.{entry}": size
        for name, shape, rank in ((UNET_LAYER, (320, 320), 16), (CONV_LAYER, (320, 320, 3, 3), 10))
        for entry, size in entry_shapes(told, shape, rank, options, bias=False).items()
    }
    shapes |= {f"{UNET_LAYER}.on_input": ()} if algorithm == "ia3" else {}
    network = read(write_file(tmp_path / "a.safetensors", shapes)).settings.network
    assert TYPES[network.LoRA_type] == told
    if ALGORITHMS[algorithm].has_rank and algorithm not in ("lokr", "diag-oft", "boft"):
        assert (network.network_dim, network.conv_dim) == (16, 10)


def test_without_metadata_the_tensors_tell(tmp_path: Path) -> None:
    shapes = layers(UNET_LAYER, rank=16) | {f"{CONV_LAYER}.lora_down.weight": (3, 4, 3, 3)}
    imported = read(write_file(tmp_path / "a.safetensors", shapes))
    network = imported.settings.network
    found = network.LoRA_type, network.network_dim, network.network_alpha, network.conv_dim
    assert found == ("Kohya LoCon", 16, 2.0, 3)
    assert imported.settings.optimizer.text_encoder_lr == 0
    assert [entry.why for entry in imported.report.attention] == ["kohya.no_metadata"]


def test_our_own_settings_inside_a_file_come_back_whole(tmp_path: Path) -> None:
    run = Settings().replace(network_dim=12, seed=0, sample_at_first=True)
    metadata = {"ss_network_dim": "12", "lora_atelier": json.dumps(to_kohya(run))}
    imported = read(write_file(tmp_path / "a.safetensors", layers(UNET_LAYER), metadata))
    assert imported.settings == run
    assert imported.report.source == "lora_file"


def test_strange_metadata_is_read_or_refused_in_words(tmp_path: Path) -> None:
    strange = {
        "ss_network_dim": "[" * 5000, "ss_network_args": "{", "ss_optimizer": "))((",
        "ss_dataset_dirs": "[1]",
        "ss_resolution": "(1,", "ss_unet_lr": "1e999", "ss_seed": "0x10", "ss_lr_scheduler": "os.system",
    }  # fmt: skip
    imported = read(write_file(tmp_path / "a.safetensors", layers(UNET_LAYER), strange))
    assert imported.settings.network.network_dim == Settings().network.network_dim
    assert imported.settings.optimizer.lr_scheduler == "cosine"
    assert {"ss_network_dim", "ss_lr_scheduler"} <= {entry.key for entry in imported.report.attention}


def test_damaged_and_foreign_files_are_refused_in_words(tmp_path: Path) -> None:
    whole = write_file(tmp_path / "a.safetensors", layers(UNET_LAYER)).read_bytes()
    cases = {
        "cut": (whole[:-20], "kohya.damaged_lora"), "noise": (b"\xff" * 64, "kohya.damaged_lora"),
        "deep": ((50_000).to_bytes(8, "little") + b"[" * 50_000, "kohya.damaged_lora"),
        "empty": (b"", "files.is_empty"),
    }  # fmt: skip
    for name, (data, code) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read(path)
        assert caught.value.message.code == code
    other = write_file(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": (1, 1)})
    with pytest.raises(UserError, match="no LoRA"):
        read(other)
