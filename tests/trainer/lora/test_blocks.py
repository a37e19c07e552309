"""The UNet's blocks: weights, sizes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.trainer.references import reference
from trainer.errors import UserError
from trainer.families.table import SD1, SDXL
from trainer.lora.blocks import block_rates, block_sizes, sizes_of
from trainer.settings import Network


def test_there_are_25_named_blocks() -> None:
    names = SD1.blocks.names
    assert len(SD1.blocks) == 25
    assert (names[0], names[12], names[24]) == ("IN00", "MID", "OUT11")


def test_every_key_lies_in_the_references_block() -> None:
    recorded = reference("lora_keys")["block_index"]
    assert {key: SD1.blocks.index(key) for key in recorded} == recorded
    with_attention = {index for key, index in recorded.items() if "attentions" in key}
    assert with_attention == set(SD1.blocks.attention)
    assert SD1.blocks.index("lora_te_text_model_encoder_layers_0_mlp_fc1") is None


def test_sdxls_blocks_with_attention_are_the_references() -> None:
    recorded = reference("sdxl_lora_keys")
    keys = [key for key in recorded["lora_dim4"] if key.startswith("lora_unet")]
    assert {recorded["block_index"][key] for key in keys} == set(SDXL.blocks.attention)


XL_CASES = [
    (json.loads(given), rates)
    for given, rates in reference("sdxl_lora_keys")["block_rates"].items()
    if isinstance(rates, list)
]


@pytest.mark.parametrize(("given", "rates"), XL_CASES, ids=[str(given) for given, _ in XL_CASES])
def test_weights_and_curves_of_sdxl_equal_the_reference(given: dict, rates: list[float]) -> None:
    assert block_rates(Network(**given), SDXL.blocks) == pytest.approx(rates)


CASES = [(json.loads(given), rates) for given, rates in reference("block_rates").items()]


@pytest.mark.parametrize(("given", "rates"), CASES, ids=[str(given) for given, _ in CASES])
def test_weights_and_curves_equal_the_reference(given: dict, rates: list[float] | None) -> None:
    blank_middle = given.get("mid_lr_weight") == ""
    values: dict[str, Any] = {key: value or "" for key, value in given.items()}
    network = Network(**values)
    if not isinstance(rates, list):
        with pytest.raises(UserError) as error:
            block_rates(network, SD1.blocks)
        assert str(error.value)
        return
    found = block_rates(network, SD1.blocks)
    assert found is not None
    if blank_middle:  # a blank field is "not given" on the page; the reference was handed it and took it as 0
        found[12] = 0.0
    assert found == pytest.approx(rates)


def test_without_weights_there_are_no_block_rates() -> None:
    assert block_rates(Network(), SD1.blocks) is None
    assert block_rates(Network(block_lr_zero_threshold="0.1"), SD1.blocks) is None


def test_the_threshold_itself_counts_as_zero() -> None:
    rates = block_rates(Network(mid_lr_weight="0.1", block_lr_zero_threshold="0.1"), SD1.blocks)
    assert rates is not None
    assert rates[12] == 0.0


def test_sizes_of_sdxl_need_23_numbers() -> None:
    assert block_sizes(",".join(["4"] * 23), "block_dims", SDXL.blocks) == [4.0] * 23
    with pytest.raises(UserError) as error:
        block_sizes(",".join(["4"] * 25), "block_dims", SDXL.blocks)
    assert error.value.message.values == {"count": 25, "wanted": 23}


def test_sizes_need_25_numbers() -> None:
    assert block_sizes("", "block_dims", SD1.blocks) is None
    assert block_sizes(",".join(["4"] * 25), "block_dims", SD1.blocks) == [4.0] * 25
    for text in ("1,2,3", ",".join(["1"] * 26), "a" + ",1" * 24):
        with pytest.raises(UserError) as error:
            block_sizes(text, "block_dims", SD1.blocks)
        assert error.value.setting == "block_dims"
        assert str(error.value)


def test_sizes_fall_back_to_rank_and_alpha() -> None:
    standard = Network(network_dim=8, network_alpha=4)
    assert sizes_of(standard, SD1.blocks, conv=False) == [(8, 4)] * 25
    assert sizes_of(standard, SD1.blocks, conv=True) is None
    locon = Network(LoRA_type="Kohya LoCon", conv_dim=3, conv_alpha=2)
    assert sizes_of(locon, SD1.blocks, conv=True) == [(3, 2)] * 25
    blocks = Network(conv_block_dims=",".join(["5"] * 25))
    assert sizes_of(blocks, SD1.blocks, conv=True) == [(5, 1.0)] * 25


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "200000", "1e5x"])
@pytest.mark.parametrize("setting", ["down_lr_weight", "block_dims", "conv_block_dims", "block_alphas"])
def test_what_is_no_number_for_a_block_is_told(setting: str, number: str) -> None:
    count = 12 if setting == "down_lr_weight" else 25
    network = Network(LoRA_type="Kohya LoCon", **{setting: ",".join([number] * count)})  # pyright: ignore[reportArgumentType]  # a setting by its name
    conv = setting.startswith("conv")
    with pytest.raises(UserError) as error:
        _ = block_rates(network, SD1.blocks), sizes_of(network, SD1.blocks, conv=conv)
    assert error.value.setting == setting
