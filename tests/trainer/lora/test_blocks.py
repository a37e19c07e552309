"""The UNet's 25 blocks: names, weights, sizes."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tests.trainer.references import reference
from trainer.errors import UserError
from trainer.lora.blocks import (
    BLOCK_COUNT,
    BLOCK_NAMES,
    WITHOUT_ATTENTION,
    block_index,
    block_rates,
    block_sizes,
    sizes_of,
)
from trainer.settings import Network


def test_there_are_25_named_blocks() -> None:
    assert len(BLOCK_NAMES) == BLOCK_COUNT
    assert (BLOCK_NAMES[0], BLOCK_NAMES[12], BLOCK_NAMES[24]) == ("IN00", "MID", "OUT11")


def test_every_key_lies_in_the_references_block() -> None:
    recorded = reference("lora_keys")["block_index"]
    assert {key: block_index(key) for key in recorded} == recorded
    with_attention = {index for key, index in recorded.items() if "attentions" in key}
    assert with_attention == set(range(BLOCK_COUNT)) - set(WITHOUT_ATTENTION)
    assert block_index("lora_te_text_model_encoder_layers_0_mlp_fc1") is None


CASES = [(json.loads(given), rates) for given, rates in reference("block_rates").items()]


@pytest.mark.parametrize(("given", "rates"), CASES, ids=[str(given) for given, _ in CASES])
def test_weights_and_curves_equal_the_reference(given: dict, rates: list[float] | None) -> None:
    blank_middle = given.get("mid_lr_weight") == ""
    values: dict[str, Any] = {key: value or "" for key, value in given.items()}
    network = Network(**values)
    if not isinstance(rates, list):
        with pytest.raises(UserError) as error:
            block_rates(network)
        assert str(error.value)
        return
    found = block_rates(network)
    assert found is not None
    if blank_middle:  # a blank field is "not given" on the page; the reference was handed it and took it as 0
        found[12] = 0.0
    assert found == pytest.approx(rates)


def test_without_weights_there_are_no_block_rates() -> None:
    assert block_rates(Network()) is None
    assert block_rates(Network(block_lr_zero_threshold="0.1")) is None


def test_the_threshold_itself_counts_as_zero() -> None:
    rates = block_rates(Network(mid_lr_weight="0.1", block_lr_zero_threshold="0.1"))
    assert rates is not None
    assert rates[12] == 0.0


def test_sizes_need_25_numbers() -> None:
    assert block_sizes("", "block_dims") is None
    assert block_sizes(",".join(["4"] * 25), "block_dims") == [4.0] * 25
    for text in ("1,2,3", ",".join(["1"] * 26), "a" + ",1" * 24):
        with pytest.raises(UserError) as error:
            block_sizes(text, "block_dims")
        assert error.value.setting == "block_dims"
        assert str(error.value)


def test_sizes_fall_back_to_rank_and_alpha() -> None:
    standard = Network(network_dim=8, network_alpha=4)
    assert sizes_of(standard, conv=False) == [(8, 4)] * 25
    assert sizes_of(standard, conv=True) is None
    locon = Network(LoRA_type="Kohya LoCon", conv_dim=3, conv_alpha=2)
    assert sizes_of(locon, conv=True) == [(3, 2)] * 25
    blocks = Network(conv_block_dims=",".join(["5"] * 25))
    assert sizes_of(blocks, conv=True) == [(5, 1.0)] * 25


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "200000", "1e5x"])
@pytest.mark.parametrize("setting", ["down_lr_weight", "block_dims", "conv_block_dims", "block_alphas"])
def test_what_is_no_number_for_a_block_is_told(setting: str, number: str) -> None:
    count = 12 if setting == "down_lr_weight" else BLOCK_COUNT
    network = Network(LoRA_type="Kohya LoCon", **{setting: ",".join([number] * count)})  # pyright: ignore[reportArgumentType]
    read = {"down_lr_weight": block_rates, "conv_block_dims": partial(sizes_of, conv=True)}
    with pytest.raises(UserError) as error:
        read.get(setting, partial(sizes_of, conv=False))(network)
    assert error.value.setting == setting
