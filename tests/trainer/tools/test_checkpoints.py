"""LoRAs into a base model and out of the difference of two: the model in between does what the LoRA did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import random_model, write_checkpoint
from trainer.errors import UserError
from trainer.families.table import FAMILIES
from trainer.models.checkpoint_names import weight_places
from trainer.network.lora_file import save_lora
from trainer.network.network import build_network
from trainer.network.weights import change_of
from trainer.settings import FamilyKey, Network
from trainer.tools.difference import ExtractOptions, extract_difference
from trainer.tools.into_checkpoint import merge_into
from trainer.tools.merge import Portion

Made = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """(checkpoint, LoRA) of a family, the LoRA as our own network writes it for that model."""
    folder = tmp_path_factory.mktemp("made")

    def make(family: FamilyKey, **values: object) -> tuple[Path, Path]:
        torch.manual_seed(0)
        model = random_model(family)
        base = folder / f"{family}.safetensors"
        if not base.exists():
            write_checkpoint(base, model)
        network = build_network(model, Network(**{"network_dim": 2, "network_alpha": 1, **values}))  # pyright: ignore[reportArgumentType]  # settings by their names
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        path = folder / f"{family}-{len(list(folder.iterdir()))}.safetensors"
        save_lora(path, network.state_dict(), {"ss_base_model_version": FAMILIES[family].version})
        return base, path

    return make


def entries(tensors: dict[str, torch.Tensor], module: str) -> dict[str, torch.Tensor]:
    return {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{module}.")}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_weight_gets_its_change_and_no_other_is_touched(
    family: FamilyKey, made: Made, tmp_path: Path
) -> None:
    base, lora = made(family)
    merged = merge_into(base, [Portion(lora, 0.5), Portion(lora, 0.25)], tmp_path / "m.safetensors")
    before, after, tensors = load_file(base), load_file(merged.path), load_file(lora)
    modules = {key.partition(".")[0] for key in tensors}
    assert (merged.changed, merged.left_out) == (len(modules), ())
    found = weight_places(before, FAMILIES[family])
    for module in modules:
        rows = found[module].rows(len(before[found[module].tensor]))
        weight = before[found[module].tensor][rows]
        wanted = weight + 0.75 * change_of(entries(tensors, module)).reshape(weight.shape)
        assert torch.allclose(after[found[module].tensor][rows], wanted, atol=1e-6)
    touched = {found[module].tensor for module in modules}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - touched)


@pytest.mark.parametrize(
    "kind",
    [
        "LyCORIS/LoHa",
        "LyCORIS/LoKr",
        "LyCORIS/GLoRA",
        "LyCORIS/iA3",
        "LyCORIS/Diag-OFT",
        "LyCORIS/Native Fine-Tuning",
    ],
)
def test_other_types_change_the_model_as_in_training(kind: str, made: Made, tmp_path: Path) -> None:
    base, lora = made("sd1", LoRA_type=kind, LyCORIS_preset="attn-only")
    merged = merge_into(base, [Portion(lora)], tmp_path / "m.safetensors")
    assert not merged.left_out
    before, after, tensors = load_file(base), load_file(merged.path), load_file(lora)
    module = next(key.partition(".")[0] for key in tensors if key.startswith("lora_unet_"))
    name = weight_places(before, FAMILIES["sd1"])[module].tensor
    wanted = before[name] + change_of(entries(tensors, module), before[name])
    assert (after[name] - before[name]).abs().max() > 1e-4
    assert torch.allclose(after[name], wanted, atol=1e-6)


@pytest.mark.parametrize("how", ["other size", "the other way round", "bias"])
def test_what_does_not_fit_a_weight_is_named(how: str, made: Made, tmp_path: Path) -> None:
    base, lora = made("sd1")
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = load_file(lora)
    up, down = (tensors[f"{module}.lora_{side}.weight"] for side in ("up", "down"))
    if how == "other size":
        tensors[f"{module}.lora_up.weight"] = torch.ones(len(up) + 1, up.shape[1])
    elif how == "the other way round":  # as many numbers
        tensors[f"{module}.lora_up.weight"], tensors[f"{module}.lora_down.weight"] = down.T, up.T
    else:
        module = module.replace("attn2_to_k", "attn1_to_out_0")
        tensors[f"{module}.diff_b"] = torch.ones(3)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    with pytest.raises(UserError) as refused:
        merge_into(base, [Portion(tmp_path / "a.safetensors")], tmp_path / "m.safetensors")
    told = refused.value.message
    assert (told.code, refused.value.setting) == ("tools.sizes", "loras")
    assert (told.values["name"], told.values["module"]) == (["a.safetensors"], module)
    assert not (tmp_path / "m.safetensors").exists()


def test_each_tensor_keeps_its_precision_or_takes_the_wanted_one(made: Made, tmp_path: Path) -> None:
    base, lora = made("sd1")
    save_file({name: tensor.half() for name, tensor in load_file(base).items()}, tmp_path / "h.safetensors")
    kept = merge_into(tmp_path / "h.safetensors", [Portion(lora)], tmp_path / "k.safetensors")
    wider = merge_into(tmp_path / "h.safetensors", [Portion(lora)], tmp_path / "w.safetensors", "bf16")
    assert {tensor.dtype for tensor in load_file(kept.path).values()} == {torch.float16}
    assert {tensor.dtype for tensor in load_file(wider.path).values()} == {torch.bfloat16}


def test_a_lora_of_another_family_is_refused_and_nothing_written(made: Made, tmp_path: Path) -> None:
    base, lora = made("sdxl")[0], made("sd1")[1]
    with pytest.raises(UserError) as refused:
        merge_into(base, [Portion(lora)], tmp_path / "m.safetensors")
    assert refused.value.message.code == "tools.other_family"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_what_was_merged_in_comes_out_again(family: FamilyKey, made: Made, tmp_path: Path) -> None:
    base, lora = made(family, LoRA_type="Kohya LoCon", conv_dim=2, conv_alpha=1)
    merge_into(base, [Portion(lora, 3)], tmp_path / "m.safetensors")
    options = ExtractOptions(rank=2, conv_rank=2, clamp_quantile=1, least=0)
    out = load_file(
        extract_difference(base, tmp_path / "m.safetensors", tmp_path / "x.safetensors", options, "float")
    )
    tensors, found = load_file(lora), weight_places(load_file(base), FAMILIES[family])
    ours, theirs = (
        {found[module]: module for module in {key.partition(".")[0] for key in file}}
        for file in (out, tensors)
    )
    assert ours.keys() == theirs.keys()
    for place, module in theirs.items():
        wanted = 3 * change_of(entries(tensors, module)).flatten(1)
        assert torch.allclose(change_of(entries(out, ours[place])).flatten(1), wanted, atol=1e-4)


def test_equal_text_encoders_are_left_out(made: Made, tmp_path: Path) -> None:
    base, lora = made("sd1")
    unet = {key: tensor for key, tensor in load_file(lora).items() if key.startswith("lora_unet_")}
    save_lora(tmp_path / "u.safetensors", unet, {})
    merge_into(base, [Portion(tmp_path / "u.safetensors")], tmp_path / "m.safetensors")
    out = load_file(extract_difference(base, tmp_path / "m.safetensors", tmp_path / "x.safetensors"))
    assert all(key.startswith("lora_unet_") for key in out)


def test_models_of_two_families_are_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        extract_difference(made("sd1")[0], made("sdxl")[0], tmp_path / "x.safetensors")
    assert refused.value.message.code == "tools.two_families"


def harmed(tensors: dict[str, torch.Tensor], harm: str) -> dict[str, torch.Tensor]:
    """A LoRA's (or a model's) tensors with one of them damaged."""
    up = next(key for key in tensors if key.endswith(("to_q.lora_up.weight", "to_q.weight")))
    odd = {"not a number": float("nan"), "endless": float("inf")}
    if harm in odd:
        return {**tensors, up: torch.full_like(tensors[up], odd[harm])}
    if harm == "half missing":
        return {key: tensor for key, tensor in tensors.items() if key != up}
    shapes = {
        "too wide": torch.zeros(7, 5),
        "other rank": torch.zeros(len(tensors[up]), 9),
        "a number": torch.zeros(()),
    }
    return {**tensors, up: shapes[harm]}


@pytest.mark.parametrize(
    "harm", ["not a number", "endless", "half missing", "too wide", "other rank", "a number", "cut off"]
)
def test_a_damaged_lora_is_named_and_no_model_written(harm: str, made: Made, tmp_path: Path) -> None:
    base, lora = made("sd1")
    before = base.read_bytes()
    bad = tmp_path / "bad.safetensors"
    if harm == "cut off":
        bad.write_bytes(lora.read_bytes()[:-100])
    else:
        save_file(harmed(load_file(lora), harm), bad)
    with pytest.raises(UserError) as refused:
        merge_into(base, [Portion(lora), Portion(bad)], tmp_path / "m.safetensors")
    assert refused.value.setting in {"loras", ""}
    assert str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]
    assert base.read_bytes() == before


@pytest.mark.parametrize("setting", ["base", "tuned"])
@pytest.mark.parametrize("harm", ["not a number", "endless", "cut off"])
def test_a_damaged_model_is_named_and_no_lora_written(
    harm: str, setting: str, made: Made, tmp_path: Path
) -> None:
    base, _ = made("sd1")
    bad = tmp_path / "bad.safetensors"
    if harm == "cut off":
        bad.write_bytes(base.read_bytes()[:-100])
    else:
        save_file(harmed(load_file(base), harm), bad)
    files = {"base": base, "tuned": base, setting: bad}
    with pytest.raises(UserError) as refused:
        extract_difference(files["base"], files["tuned"], tmp_path / "x.safetensors")
    assert refused.value.setting == setting
    assert refused.value.message.values["name"] == "bad.safetensors"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]


@pytest.mark.parametrize(
    ("harm", "code"), [("equal", "tools.no_difference"), ("sizes", "tools.nothing_shared")]
)
def test_models_without_a_difference_make_no_lora(harm: str, code: str, made: Made, tmp_path: Path) -> None:
    base, _ = made("sd1")
    tensors = load_file(base)
    if harm == "sizes":
        tensors = {
            name: tensor[..., :-1].contiguous() if tensor.dim() > 1 else tensor
            for name, tensor in tensors.items()
        }
    save_file(tensors, tmp_path / "t.safetensors")
    with pytest.raises(UserError) as refused:
        extract_difference(base, tmp_path / "t.safetensors", tmp_path / "x.safetensors")
    assert refused.value.message.code in {code, "tools.model_unknown", "tools.two_families"}
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
