"""The LoRA in the model: kohya's names and sizes, dropouts, groups, and files that others read alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from tests.trainer.full_size import full_size
from tests.trainer.references import reference
from tests.trainer.tiny import STEPS, answer, fresh_model, gap, predict
from trainer.errors import UserError
from trainer.models.checkpointing import enable_gradient_checkpointing
from trainer.models.sd import StableDiffusion
from trainer.network.lora_file import load_lora, save_lora
from trainer.network.network import LoraNetwork, build_network
from trainer.network.peft_layer import Dropouts, LoraPair, drop_ranks
from trainer.network.targets import plan_targets, reader_notices
from trainer.settings import FamilyKey
from trainer.settings import Network as Settings


def settings(**values: Any) -> Settings:
    return Settings(**{"network_dim": 4, "network_alpha": 2, **values})


def pairs(network: LoraNetwork) -> list[LoraPair]:
    """Plain LoRA's adapters are pairs of two small layers."""
    return [adapter for adapter in network.adapters if isinstance(adapter, LoraPair)]


@pytest.fixture
def model() -> StableDiffusion:
    return fresh_model()


def shake(network: LoraNetwork, seed: int = 3) -> None:
    """Random weights, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.1


@pytest.mark.parametrize(
    ("family", "values", "recorded"),
    [
        ("sd1", {}, "lora_dim4"),
        ("sd1", {"LoRA_type": "Kohya LoCon", "conv_dim": 2, "conv_alpha": 1}, "lora_dim4_conv2"),
        ("sd2", {}, "sd2_lora_dim4"),
    ],
)
def test_full_size_keys_and_shapes_equal_the_reference(
    family: FamilyKey, values: dict[str, Any], recorded: str
) -> None:
    model = full_size(family)
    network = build_network(model, settings(**values))
    shapes = {}
    for pair in pairs(network):
        extra = (1, 1) if pair.target.as_convolution else ()
        shapes[f"{pair.target.name}.lora_down.weight"] = [*pair.down.shape, *extra]
        shapes[f"{pair.target.name}.lora_up.weight"] = [*pair.up.shape, *extra]
        shapes[f"{pair.target.name}.alpha"] = []
    assert shapes == reference("lora_keys")["keys"][recorded]


@pytest.mark.parametrize(
    ("values", "recorded"),
    [({}, "lora_dim4"), ({"LoRA_type": "Kohya LoCon", "conv_dim": 2, "conv_alpha": 1}, "lora_dim4_conv2")],
)
def test_sdxls_keys_shapes_order_and_blocks_equal_the_reference(
    values: dict[str, Any], recorded: str
) -> None:
    keys = reference("sdxl_lora_keys")
    network = build_network(full_size("sdxl"), settings(**values))
    shapes = {pair.target.name: [[], [*pair.down.shape], [*pair.up.shape]] for pair in pairs(network)}
    assert list(shapes.items()) == list(keys[recorded].items())
    blocks = {target.name: target.block for target in network.targets if target.part == "unet"}
    assert blocks == {name: keys["block_index"][name] for name in blocks}


def test_lycoris_changes_the_modules_of_sdxl_that_the_reference_changes() -> None:
    targets = plan_targets(full_size("sdxl"), settings(LoRA_type="LyCORIS/LoCon", conv_dim=0))
    names = [target.name for target in targets]
    assert names == list(reference("sdxl_lycoris_keys")["modules"])
    assert {target.dim for target in targets} == {4}


def test_order_and_blocks_equal_the_reference() -> None:
    recorded = reference("lora_keys")
    values = {"LoRA_type": "Kohya LoCon", "conv_dim": 2}
    targets = plan_targets(full_size("sd1"), settings(**values))
    names = [target.name for target in targets]
    assert names == recorded["order"]["text_encoder_order"] + recorded["order"]["unet_order_conv"]
    blocks = {target.name: target.block for target in targets if target.part == "unet"}
    assert blocks == recorded["block_index"]


def test_it_starts_as_the_base_model_with_random_downs_and_zero_ups(model: StableDiffusion) -> None:
    before = answer(model)
    torch.manual_seed(7)
    network = build_network(model, settings())
    assert gap(answer(model), before) == 0.0
    assert all(pair.up.abs().sum() == 0 for pair in pairs(network))
    first = pairs(network)[0].down
    assert 0 < first.abs().max() <= 1 / first.shape[1] ** 0.5
    torch.manual_seed(7)
    again = build_network(fresh_model(), settings())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_only_the_lora_learns_and_stays_float32_on_a_bf16_model(model: StableDiffusion) -> None:
    unet: Any = model.denoiser
    unet.to(torch.bfloat16)
    network = build_network(model, settings())
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    learning = [weight for weight in model.denoiser.parameters() if weight.requires_grad]
    assert len(learning) == len(network.parameters("unet")) == 2 * 192
    assert len(network.parameters("text_encoder")) == 2 * 72


@pytest.mark.parametrize(("unet", "text_encoder"), [(True, False), (False, True)])
def test_a_part_that_is_not_trained_gets_no_lora(
    unet: bool, text_encoder: bool, model: StableDiffusion
) -> None:
    network = build_network(model, settings(), train_denoiser=unet, train_text_encoder=text_encoder)
    prefix = "lora_unet_" if unet else "lora_te_"
    assert all(key.startswith(prefix) for key in network.state_dict())


def test_nothing_to_train_is_told(model: StableDiffusion) -> None:
    with pytest.raises(UserError) as error:
        build_network(model, settings(), train_denoiser=False, train_text_encoder=False)
    assert str(error.value)


def loaded_in_diffusers(path: Path) -> tuple[Tensor, Tensor]:
    """What a fresh copy of the model answers with the file in diffusers' own loader."""
    fresh = fresh_model()
    text_encoder: Any = fresh.text_encoders[0]
    pipeline = StableDiffusionPipeline(
        vae=fresh.vae, text_encoder=text_encoder, tokenizer=fresh.tokenizers[0], unet=fresh.denoiser,
        scheduler=fresh.schedule.scheduler, safety_checker=None, feature_extractor=None,  # pyright: ignore[reportArgumentType]  # None is none
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.load_lora_weights(str(path))
    return answer(fresh)


@pytest.mark.filterwarnings("ignore")  # transformers' and PEFT's own
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "values", [{}, {"LoRA_type": "Kohya LoCon", "conv_dim": 4, "conv_alpha": 2}], ids=["LoRA", "LoCon"]
)
def test_diffusers_reads_the_file_and_gives_the_live_models_output(
    values: dict[str, Any], precision: torch.dtype, model: StableDiffusion, tmp_path: Path
) -> None:
    before = answer(model)
    network = build_network(model, settings(**values))
    shake(network)
    live = answer(model)
    save_lora(tmp_path / "x.safetensors", network.state_dict(), {}, precision)
    tolerance = 1e-4 if precision == torch.float32 else 2e-3
    assert gap(live, before) > 0.1
    assert gap(loaded_in_diffusers(tmp_path / "x.safetensors"), live) < tolerance


def test_a_file_gives_back_the_network(model: StableDiffusion, tmp_path: Path) -> None:
    network = build_network(model, settings())
    shake(network)
    live = answer(model)
    save_lora(tmp_path / "x.safetensors", network.state_dict(), {"ss_a": "b"})
    tensors, metadata = load_lora(tmp_path / "x.safetensors")
    shake(network, 4)
    assert network.load(tensors) == 264
    assert gap(answer(model), live) == 0.0
    assert metadata["ss_a"] == "b"


def test_network_weights_are_the_start_and_stay_untouched(model: StableDiffusion, tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    network = build_network(model, settings())
    shake(network)
    save_lora(path, network.state_dict(), {})
    content = path.read_bytes()
    other = build_network(fresh_model(), settings(network_weights=str(path)))
    start, taken = network.state_dict(), other.state_dict()
    assert all(torch.equal(taken[key], tensor) for key, tensor in start.items())
    assert path.read_bytes() == content


def test_another_rank_is_told_and_dim_from_weights_takes_it(model: StableDiffusion, tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    dims = ",".join(["2"] * 6 + ["6"] * 19)
    save_lora(path, build_network(model, settings(block_dims=dims, network_alpha=3)).state_dict(), {})
    with pytest.raises(UserError) as error:
        build_network(fresh_model(), settings(network_weights=str(path)))
    assert "rank 2" in str(error.value) or "rank 6" in str(error.value)
    network = build_network(
        fresh_model(), settings(network_weights=str(path), dim_from_weights=True, network_dim=99)
    )
    assert {target.dim for target in network.targets if target.part == "unet"} == {2, 6}
    assert {target.alpha for target in network.targets} == {3.0}
    assert network.state_dict().keys() == load_lora(path)[0].keys()


def test_a_file_for_another_model_is_told(model: StableDiffusion, tmp_path: Path) -> None:
    save_lora(tmp_path / "x.safetensors", {"lora_other.lora_down.weight": torch.zeros(1)}, {})
    for dim_from_weights in (False, True):
        chosen = settings(network_weights=str(tmp_path / "x.safetensors"), dim_from_weights=dim_from_weights)
        with pytest.raises(UserError) as error:
            build_network(fresh_model(), chosen)
        assert error.value.message.code == "core.weights_fit_nothing"


def test_block_dims_and_alphas_size_each_block(model: StableDiffusion) -> None:
    dims = [str(1 + i % 3) for i in range(25)]
    alphas = [str(0.5 + i) for i in range(25)]
    chosen = settings(block_dims=",".join(dims), block_alphas=",".join(alphas))
    network = build_network(model, chosen)
    for pair in pairs(network):
        if pair.target.block is not None:
            assert pair.down.shape[0] == int(dims[pair.target.block])
            scale = pair.layer.scaling["default"]
            assert scale == pytest.approx(float(alphas[pair.target.block]) / int(dims[pair.target.block]))


def test_block_dim_0_and_block_rate_0_leave_the_block_out(model: StableDiffusion) -> None:
    no_mid = build_network(model, settings(block_dims=",".join(["2"] * 12 + ["0"] + ["2"] * 12)))
    assert not any("mid_block" in target.name for target in no_mid.targets)
    rates = settings(down_lr_weight="0,0.1,0.1,0.1,0.2,1,1,1,1,1,1,1", block_lr_zero_threshold="0.1")
    network = build_network(fresh_model(), rates)
    blocks = {target.block for target in network.targets}
    assert 1 not in blocks
    assert 2 not in blocks
    assert {4, 12, 24} <= blocks


def test_block_weights_give_each_block_its_rate(model: StableDiffusion) -> None:
    network = build_network(model, settings(down_lr_weight="linear", mid_lr_weight="0.5"))
    groups = network.groups(denoiser_lr=1e-3, text_encoder_lr=1e-4)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["text_encoder"] == 1e-4
    assert rates["unet MID"] == pytest.approx(5e-4)
    assert rates["unet IN04"] == pytest.approx(1e-3 * 4 / 11)
    assert rates["unet OUT11"] == 1e-3
    assert sum(len(group["params"]) for group in groups) == len(network.parameters())


def test_what_other_programs_misread_is_said(model: StableDiffusion) -> None:
    def codes(family: FamilyKey, **values: Any) -> list[str]:
        chosen = model if family == "sd1" else full_size(family)
        network = settings(**values)
        return [notice.code for notice in reader_notices(chosen, plan_targets(chosen, network), network)]

    assert codes("sd1") == []
    assert codes("sd1", LoRA_type="Kohya LoCon", conv_dim=2, conv_alpha=1) == []
    assert codes("sd1", block_alphas=",".join(["1"] * 24 + ["2"])) == ["core.several_alphas"]
    assert codes("sd2") == ["core.sd2_shapes"]
    assert codes("sd1", LoRA_type="LyCORIS/LoHa") == ["core.type_readers"]
    assert codes("sd1", LoRA_type="LyCORIS/iA3") == ["core.ia3_readers"]
    assert codes("sd1", LoRA_type="LyCORIS/Diag-OFT") == ["core.oft_readers"]
    assert codes("sd1", LoRA_type="LyCORIS/LoCon", dora_wd=True) == ["core.dora_readers"]


def test_groups_are_text_encoder_then_unet_without_those_of_rate_0(model: StableDiffusion) -> None:
    network = build_network(model, settings())
    both = network.groups(denoiser_lr=1e-3, text_encoder_lr=1e-4)
    assert [(group["name"], group["lr"], len(group["params"])) for group in both] == [
        ("text_encoder", 1e-4, 144),
        ("unet", 1e-3, 384),
    ]
    assert [group["name"] for group in network.groups(denoiser_lr=1e-3, text_encoder_lr=0)] == ["unet"]


def test_lora_plus_lets_the_ups_learn_faster(model: StableDiffusion) -> None:
    network = build_network(model, settings())
    groups = network.groups(denoiser_lr=1e-3, text_encoder_lr=1e-4, denoiser_plus=4)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("text_encoder", 1e-4),
        ("unet", 1e-3),
        ("unet up", 4e-3),
    ]
    ups = {id(pair.up) for pair in pairs(network) if pair.target.part == "unet"}
    assert {id(weight) for weight in groups[2]["params"]} == ups


def test_disabled_network_answers_like_the_base_model(model: StableDiffusion) -> None:
    before = answer(model)
    network = build_network(model, settings())
    shake(network)
    network.freeze_text_encoder()
    live = answer(model)
    with network.disabled():
        assert gap(answer(model), before) == 0.0
    assert gap(answer(model), live) == 0.0
    assert all(weight.requires_grad for weight in network.parameters("unet"))
    assert not any(weight.requires_grad for weight in network.parameters("text_encoder"))


def train_step(model: StableDiffusion, optimizer: torch.optim.Optimizer) -> None:
    embeds = model.text_encoders[0](torch.ones(1, 77, dtype=torch.long)).last_hidden_state
    predict(model, torch.ones(1, 4, 8, 8), STEPS, embeds).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def test_a_frozen_text_encoder_no_longer_changes(model: StableDiffusion) -> None:
    network = build_network(model, settings())
    optimizer = torch.optim.AdamW(network.groups(denoiser_lr=1e-2, text_encoder_lr=1e-2))
    train_step(model, optimizer)
    network.freeze_text_encoder()
    kept = [weight.detach().clone() for weight in network.parameters("text_encoder")]
    unet = [weight.detach().clone() for weight in network.parameters("unet")]
    train_step(model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(kept, network.parameters("text_encoder"), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(unet, network.parameters("unet"), strict=True))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers renames it in version 6
def test_gradient_checkpointing_gives_the_same_gradients(model: StableDiffusion) -> None:
    network = build_network(model, settings())
    shake(network)
    gradients = []
    for _ in range(2):
        embeds = model.text_encoders[0](torch.ones(1, 77, dtype=torch.long)).last_hidden_state
        predict(model, torch.ones(1, 4, 8, 8), STEPS, embeds).pow(2).mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
        for weight in network.parameters():
            weight.grad = None
        enable_gradient_checkpointing(model)
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None
        assert checkpointed is not None
        assert torch.allclose(plain, checkpointed, rtol=1e-4, atol=1e-7)


def test_scale_weight_norms_limits_each_modules_change(model: StableDiffusion) -> None:
    network = build_network(model, settings())
    shake(network)
    pairs(network)[0].up.data.zero_()

    def norms() -> list[float]:
        found = []
        for pair in pairs(network):
            change = pair.up.detach().flatten(1) @ pair.down.detach().flatten(1)
            found.append((change * 2 / 4).norm().item())
        return found

    before = norms()
    limit = sorted(before)[len(before) // 2]
    scaled = network.scale_weight_norms(limit)
    after = norms()
    assert scaled.scaled == sum(norm > limit for norm in before)
    assert max(after) <= limit * 1.0001
    assert scaled.largest == pytest.approx(limit)
    untouched = [(a, b) for a, b in zip(before, after, strict=True) if a <= limit]
    assert all(a == b for a, b in untouched)


def test_dropouts_change_training_and_not_samples(model: StableDiffusion) -> None:
    for values in ({"network_dropout": 0.5}, {"rank_dropout": 0.5}, {"module_dropout": 0.5}):
        fresh = fresh_model()
        network = build_network(fresh, settings(**values))
        shake(network)
        network.eval()
        calm = answer(fresh)
        assert gap(answer(fresh), calm) == 0.0
        network.train()
        torch.manual_seed(1)
        assert gap(answer(fresh), calm) > 1e-3
        torch.manual_seed(2)
        first = answer(fresh)
        assert gap(answer(fresh), first) > 1e-3, values


def test_a_dropped_module_gets_no_gradient(model: StableDiffusion) -> None:
    network = build_network(model, settings(module_dropout=0.5))
    shake(network)
    torch.manual_seed(0)
    embeds = model.text_encoders[0](torch.ones(1, 77, dtype=torch.long)).last_hidden_state
    predict(model, torch.ones(1, 4, 8, 8), STEPS, embeds).sum().backward()
    dropped = sum(weight.grad is None for weight in network.parameters())
    assert 0.3 < dropped / len(network.parameters()) < 0.7


def test_rank_dropout_leaves_out_whole_ranks_and_strengthens_the_rest() -> None:
    torch.manual_seed(0)
    for shape in ((6, 10), (6, 5, 10), (6, 10, 3, 3)):
        kept = drop_ranks(torch.ones(shape), 0.25)
        assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
        flat = kept.movedim(1, -1).reshape(6, -1, 10) if len(shape) == 4 else kept.reshape(6, -1, 10)
        assert torch.equal(flat, flat[:, :1].expand_as(flat))
    many = drop_ranks(torch.ones(1000, 20), 0.25)
    assert many.mean().item() == pytest.approx(1.0, abs=0.02)


def test_network_dropout_thins_the_rank_activations_not_the_input(model: StableDiffusion) -> None:
    network = build_network(model, settings(network_dropout=0.9))
    assert any(Dropouts(network=0.9))
    pair = pairs(network)[0]
    seen: list[Tensor] = []
    pair.layer.lora_B["default"].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    answer(model)
    zeros = (seen[0] == 0).float().mean().item()
    assert 0.7 < zeros < 1.0
