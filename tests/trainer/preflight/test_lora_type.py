"""Checks of the LoRA type: what it cannot have, what it does not use, and the file that it starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.found import expect
from tests.trainer.made import model_file, sound_settings
from trainer.families.facts import ModelUnreadableError
from trainer.kohya.start_file import read_start_file
from trainer.lora.types import TYPES, entry_shapes, options_of
from trainer.preflight.check import check
from trainer.settings import LORA_TYPES, Network

MADE_UP = {"preflight.weights_alpha_zero"}
"""These files hold zeros throughout."""
QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DORA_BYPASS = {"dora_wd": True, "bypass_mode": True}
RANKS: dict[str, Any] = {"network_dim": 16, "network_alpha": 8, "conv_dim": 16, "conv_alpha": 8}


@pytest.mark.parametrize(
    ("values", "code", "setting", "blocks"),
    [
        ({"LoRA_type": "LyCORIS/BOFT", "network_dim": 8}, "boft_rank", "network_dim", True),
        ({"LoRA_type": "LyCORIS/BOFT", "conv_dim": 1}, "boft_rank", "conv_dim", True),
        ({"LoRA_type": "LyCORIS/Diag-OFT", "conv_dim": 1}, "oft_rank", "conv_dim", False),
        ({"LoRA_type": "LyCORIS/DyLoRA", "unit": 5}, "dylora_unit", "unit", True),
        ({"LoRA_type": "LyCORIS/LoHa", "conv_dim": 0}, "lycoris_conv_zero", "conv_dim", False),
        (
            {"LoRA_type": "LyCORIS/LoHa", "dora_wd": True, "bypass_mode": True},
            "bypass_dora",
            "bypass_mode",
            True,
        ),
        ({"LoRA_type": "LyCORIS/GLoRA", "use_tucker": True}, "type_ignores", "use_tucker", False),
        ({"LoRA_type": "Kohya DyLoRA", "rank_dropout": 0.1}, "type_ignores", "rank_dropout", False),
        ({"LoRA_type": "LyCORIS/LoHa", "loraplus_lr_ratio": 4}, "type_ignores", "loraplus_lr_ratio", False),
    ],
)
def test_what_a_type_cannot_have_or_use_is_told_and_mended(
    values: dict[str, Any], code: str, setting: str, blocks: bool, tmp_path: Any
) -> None:
    settings = sound_settings(tmp_path, **{**RANKS, **values})
    problem = expect(settings, f"preflight.{code}", setting=setting, blocks=blocks)
    assert problem.fix is not None
    assert f"preflight.{code}" not in {
        found.code for found in check(settings.replace(**problem.fix)).problems
    }


@pytest.mark.parametrize("kind", LORA_TYPES)
def test_every_type_passes_with_ordinary_sizes(kind: str, tmp_path: Any) -> None:
    assert check(sound_settings(tmp_path, **RANKS, LoRA_type=kind)).problems == ()


def test_every_blocks_rank_is_whole_units(tmp_path: Any) -> None:
    dims = ",".join(["16"] * 24 + ["6"])
    settings = sound_settings(tmp_path, **RANKS, LoRA_type="Kohya DyLoRA", unit=4, block_dims=dims)
    expect(settings, "preflight.dylora_unit", setting="unit", blocks=True)


def lora_like(kind: str, tmp_path: Any, *, dim: int = 16, told: str = "", **values: Any) -> str:
    """A file with one attention layer as this type writes it."""
    network = Network(LoRA_type=kind, **values)  # pyright: ignore[reportArgumentType]  # one of LORA_TYPES
    algorithm, shape = TYPES[kind], (320, 320)
    if algorithm == "dylora":
        algorithm = "lora"
    entries = entry_shapes(algorithm, shape, dim, options_of(network), bias=False)
    extra = {"on_input": ()} if algorithm == "ia3" else {"alpha": ()}
    shapes = {f"{QUERY}.{name}": size for name, size in {**entries, **extra}.items()}
    metadata = {"ss_network_module": told} if told else {}
    return str(model_file(tmp_path / f"{kind.replace('/', ' ')}.safetensors", shapes, **metadata))


@pytest.mark.parametrize("kind", LORA_TYPES)
def test_a_type_is_told_from_the_tensors(kind: str, tmp_path: Any) -> None:
    found = read_start_file(tmp_path / lora_like(kind, tmp_path))
    assert found is not None
    assert found.algorithm == TYPES[kind].replace("dylora", "lora")
    assert TYPES[found.type].replace("dylora", "lora") == found.algorithm


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin", ".PTH"])
def test_a_start_in_torchs_format_is_looked_into_like_the_others(ending: str, tmp_path: Any) -> None:
    def pickled(name: str, tensors: dict[str, Any]) -> str:
        torch.save(tensors, tmp_path / f"{name}{ending}")
        return str(tmp_path / f"{name}{ending}")

    rank = {f"{QUERY}.lora_down.weight": torch.zeros(4, 320), f"{QUERY}.lora_up.weight": torch.zeros(320, 4)}
    run = sound_settings(tmp_path, **RANKS)
    code = {"setting": "network_weights", "blocks": True}
    flux = {
        f"lora_unet_double_blocks_0_img_attn_qkv.lora_{part}.weight": torch.zeros(4, 4)
        for part in ("up", "down")
    }
    expect(run.replace(network_weights=pickled("rank", rank)), "core.weights_other_dim", **code)
    expect(run.replace(network_weights=pickled("flux", flux)), "preflight.weights_family", **code)
    expect(
        run.replace(network_weights=pickled("none", {"a": torch.zeros(3)})),
        "preflight.weights_no_lora",
        **code,
    )
    Path(pickled("short", rank)).write_bytes(b"PK\x03\x04")
    expect(run.replace(network_weights=str(tmp_path / f"short{ending}")), "preflight.weights_no_lora", **code)
    assert not check(
        run.replace(network_weights=pickled("rank", rank), network_dim=4, network_alpha=4)
    ).problems


@pytest.mark.parametrize("kind", LORA_TYPES)
def test_a_file_of_the_same_type_is_a_start_and_one_of_another_is_not(kind: str, tmp_path: Any) -> None:
    own, other = lora_like(kind, tmp_path), lora_like("LyCORIS/LoHa", tmp_path)
    if TYPES[kind] == "loha":
        other = lora_like("LyCORIS/LoKr", tmp_path)
    settings = sound_settings(tmp_path, **RANKS, LoRA_type=kind, network_weights=own)
    assert {problem.code for problem in check(settings).problems} <= MADE_UP
    problem = expect(
        settings.replace(network_weights=other),
        "preflight.weights_type",
        setting="network_weights",
        blocks=True,
    )
    assert {problem.values["found"], problem.values["chosen"]} >= {kind}
    assert problem.fix == {"LoRA_type": problem.values["found"]}


def test_the_files_own_words_name_its_type(tmp_path: Any) -> None:
    told = lora_like("Kohya DyLoRA", tmp_path, told="networks.dylora")
    settings = sound_settings(tmp_path, **RANKS, LoRA_type="LyCORIS/LoHa", network_weights=told)
    problem = expect(settings, "preflight.weights_type", setting="network_weights", blocks=True)
    assert problem.values["found"] == "Kohya DyLoRA"
    algo = {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps({"algo": "loha"})}
    lying = model_file(tmp_path / "lying.safetensors", {f"{QUERY}.lora_down.weight": (4, 8)}, **algo)
    found = read_start_file(lying)
    assert found is not None
    assert found.type == "Standard"


def test_another_rank_dora_or_convolutions_are_told_before_the_run(tmp_path: Any) -> None:
    base = {**RANKS, "LoRA_type": "LyCORIS/LoCon"}
    rank = sound_settings(tmp_path, **base, network_weights=lora_like("LyCORIS/LoCon", tmp_path, dim=4))
    problem = expect(rank, "core.weights_other_dim", setting="network_weights", blocks=True)
    assert problem.fix == {"dim_from_weights": True}
    assert {found.code for found in check(rank.replace(dim_from_weights=True)).problems} <= MADE_UP
    dora = lora_like("LyCORIS/LoCon", tmp_path, dora_wd=True)
    expect(rank.replace(network_weights=dora), "preflight.weights_dora", setting="dora_wd", blocks=True)
    sound = check(rank.replace(network_weights=dora, dora_wd=True))
    assert {found.code for found in sound.problems} <= MADE_UP
    standard = rank.replace(network_weights=dora, LoRA_type="Standard", dim_from_weights=True)
    expect(standard, "preflight.weights_type", setting="network_weights", blocks=True)
    wide = {
        "lora_unet_x_resnets_0_conv1.lora_down.weight": (4, 8, 3, 3),
        f"{QUERY}.lora_down.weight": (16, 8),
    }
    file = model_file(tmp_path / "wide.safetensors", wide)
    lost = rank.replace(network_weights=str(file), LoRA_type="Standard")
    problem = expect(lost, "preflight.weights_wide", setting="network_weights", blocks=False)
    assert problem.fix == {"LoRA_type": "Kohya LoCon", "dim_from_weights": True}


def test_what_is_no_lora_is_none(tmp_path: Any) -> None:
    assert read_start_file(model_file(tmp_path / "m.safetensors")) is None
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ModelUnreadableError):
        read_start_file(tmp_path / "bad.safetensors")


def test_a_file_of_several_ranks_one_of_which_is_the_chosen_is_told(tmp_path: Any) -> None:
    """As a resize leaves it: every layer as large as it needs."""
    second = QUERY.replace("to_q", "to_k")
    tensors = {f"{QUERY}.lora_down.weight": (4, 320), f"{QUERY}.lora_up.weight": (320, 4)}
    tensors |= {f"{second}.lora_down.weight": (8, 320), f"{second}.lora_up.weight": (320, 8)}
    file = str(model_file(tmp_path / "resized.safetensors", tensors))
    settings = sound_settings(tmp_path, network_dim=4, network_weights=file)
    problem = expect(settings, "core.weights_other_dim", setting="network_weights", blocks=True)
    assert (problem.values["dim"], problem.fix) == (8, {"dim_from_weights": True})
    told = {found.code for found in check(settings.replace(dim_from_weights=True)).problems}
    assert "core.weights_other_dim" not in told


@pytest.mark.parametrize(
    ("rates", "told"), [({"text_encoder_lr": 0}, False), ({"text_encoder_lr": 1e-5}, True)]
)
def test_the_rank_of_a_part_that_does_not_learn_does_not_matter(
    tmp_path: Any, rates: Any, told: bool
) -> None:
    text = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    tensors = {f"{QUERY}.lora_down.weight": (4, 320), f"{QUERY}.lora_up.weight": (320, 4)}
    tensors |= {f"{text}.lora_down.weight": (8, 768), f"{text}.lora_up.weight": (768, 8)}
    file = str(model_file(tmp_path / "two.safetensors", tensors))
    settings = sound_settings(tmp_path, network_dim=4, network_weights=file, **rates)
    assert ("core.weights_other_dim" in {found.code for found in check(settings).problems}) == told
