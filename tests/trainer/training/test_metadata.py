"""Metadata of LoRA files: complete, true, and without secrets or private paths."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.trainer.made import image_folder, sound_settings
from trainer.data.folders import scan_folder
from trainer.files.file_hashes import file_hash, legacy_file_hash
from trainer.plan.run import build_plan
from trainer.training.metadata import RunFacts, build_metadata
from trainer.training.position import Position

EXPECTED = (Path(__file__).parents[2] / "data" / "parity" / "metadata_keys.txt").read_text().split()


def facts(folder: Path, *, targets: tuple[Any, ...] = (), **values: Any) -> RunFacts:
    settings = sound_settings(folder, **values)
    images = scan_folder(Path(settings.folders.train_data_dir), ".txt").images
    chosen = settings.model
    model: Any = SimpleNamespace(
        source=chosen.pretrained_model_name_or_path,
        vae_source=chosen.vae,
    )
    return RunFacts(settings, build_plan(settings, images), images, model, 42, targets, "torch.AdamW")


def written(folder: Path, **values: Any) -> dict[str, str]:
    run = facts(folder, **values)
    return build_metadata(run, Position(run.plan.total_steps, run.plan.epochs + 1, 0))


def test_all_entries_of_the_reference_are_there_as_text(tmp_path: Path) -> None:
    entries = written(tmp_path)
    assert set(EXPECTED) - {"sshs_model_hash", "sshs_legacy_hash"} == set(entries)
    assert all(isinstance(value, str) for value in entries.values())


def test_the_run_is_told(tmp_path: Path) -> None:
    run = facts(
        tmp_path, max_train_steps=30, train_batch_size=2, gradient_accumulation_steps=3, network_dim=6
    )
    entries = build_metadata(run, Position(30, run.plan.epochs + 1, 0))
    assert entries["ss_steps"] == entries["ss_max_train_steps"] == "30"
    assert entries["ss_epoch"] == entries["ss_num_epochs"] == str(run.plan.epochs)
    assert entries["ss_total_batch_size"] == "6"
    assert entries["ss_seed"] == "42"
    assert entries["ss_network_dim"] == "6"
    assert entries["ss_output_name"] == entries["modelspec.title"] == "cat"
    early = build_metadata(run, Position(7, 1, 21))
    assert (early["ss_steps"], early["ss_epoch"]) == ("7", "1")


def test_pictures_are_told_by_folder_bucket_and_tag(tmp_path: Path) -> None:
    image_folder(tmp_path / "img", 3, "2_blob", (128, 64))
    entries = written(tmp_path, min_bucket_reso=64, max_resolution="64,64")
    assert json.loads(entries["ss_dataset_dirs"]) == {
        "10_sks cat": {"n_repeats": 10, "img_count": 4},
        "2_blob": {"n_repeats": 2, "img_count": 3},
    }
    assert entries["ss_num_train_images"] == "46"
    tags = json.loads(entries["ss_tag_frequency"])
    assert tags["10_sks cat"] == {"sks cat": 4, **{f"picture {i}": 1 for i in range(4)}}
    buckets = json.loads(entries["ss_bucket_info"])["buckets"].values()
    assert sum(bucket["count"] for bucket in buckets) == 46
    assert entries["ss_resolution"] == "(64, 64)"


def test_the_base_model_is_told_by_name_and_hash(tmp_path: Path) -> None:
    entries = written(tmp_path)
    path = tmp_path / "model.safetensors"
    assert entries["ss_sd_model_name"] == "model.safetensors"
    assert entries["ss_new_sd_model_hash"] == file_hash(path)
    assert entries["ss_sd_model_hash"] == legacy_file_hash(path)
    assert entries["ss_base_model_version"] == "sd_v1"


@pytest.mark.parametrize(
    ("values", "version", "architecture", "prediction"),
    [
        ({}, "sd_v1", "stable-diffusion-v1/lora", "epsilon"),
        ({"v2": True}, "sd_v2", "stable-diffusion-v2-512/lora", "epsilon"),
        ({"v2": True, "v_parameterization": True}, "sd_v2_v", "stable-diffusion-v2-768-v/lora", "v"),
        ({"sdxl": True}, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "epsilon"),
        (
            {"sdxl": True, "v_parameterization": True},
            "sdxl_base_v1-0",
            "stable-diffusion-xl-v1-base/lora",
            "v",
        ),
    ],
)
def test_the_family_is_told(
    values: dict[str, Any], version: str, architecture: str, prediction: str, tmp_path: Path
) -> None:
    entries = written(tmp_path, **values)
    assert entries["ss_base_model_version"] == version
    assert entries["modelspec.architecture"] == architecture
    assert entries["modelspec.prediction_type"] == prediction
    own = "https://github.com/Stability-AI/generative-models" if values.get("sdxl") else "diffusers"
    assert entries["modelspec.implementation"] == own


def test_what_the_person_wrote_is_in_it(tmp_path: Path) -> None:
    entries = written(
        tmp_path, training_comment="my cat", metadata_title="Cat", metadata_author="A", metadata_tags="x,y",
        metadata_description="of my cat", metadata_license="mine",
    )  # fmt: skip
    assert entries["ss_training_comment"] == "my cat"
    assert entries["modelspec.title"] == "Cat"
    assert entries["modelspec.author"] == "A"
    assert entries["modelspec.tags"] == "x,y"
    assert entries["modelspec.description"] == "of my cat"
    assert entries["modelspec.license"] == "mine"
    plain = written(tmp_path)
    assert plain["ss_training_comment"] == "None"
    assert "modelspec.license" not in plain


def test_options_that_are_not_used_are_none(tmp_path: Path) -> None:
    plain = written(tmp_path)
    assert plain["ss_noise_offset"] == plain["ss_min_snr_gamma"] == plain["ss_network_dropout"] == "None"
    used = written(tmp_path, noise_offset=0.1, min_snr_gamma=5, clip_skip=2, min_timestep=100)
    assert (used["ss_noise_offset"], used["ss_min_snr_gamma"]) == ("0.1", "5.0")
    assert used["modelspec.encoder_layer"] == "2"
    assert used["modelspec.timestep_range"] == "100,1000"


def test_sizes_that_come_from_a_file_are_the_true_ones(tmp_path: Path) -> None:
    targets = tuple(SimpleNamespace(dim=dim, alpha=alpha) for dim, alpha in [(4, 2.0), (4, 2.0), (8, 1.0)])
    values = {"network_weights": "x.safetensors", "dim_from_weights": True, "network_dim": 99}
    entries = written(tmp_path, targets=targets, **values)
    assert (entries["ss_network_dim"], entries["ss_network_alpha"]) == ("4", "2.0")


def test_our_name_stands_for_the_program(tmp_path: Path) -> None:
    entries = written(tmp_path)
    assert "LoRA Atelier" in entries["modelspec.implementation_version"]


def test_no_secret_and_no_private_path_gets_in(tmp_path: Path) -> None:
    secrets = {
        "wandb_api_key": "SECRET-A",
        "huggingface_token": "SECRET-B",
        "logging_dir": str(tmp_path / "private" / "logs"),
        "vae": str(tmp_path / "private" / "vae.safetensors"),
        "network_weights": str(tmp_path / "private" / "old.safetensors"),
    }
    text = json.dumps(written(tmp_path, **secrets))
    assert "SECRET" not in text
    assert str(tmp_path) not in text
