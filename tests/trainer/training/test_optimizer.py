"""Optimizers: each in the list works, takes its own arguments, and refuses others."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, get_args

import pytest
import torch
from torch import nn

from trainer.errors import UserError
from trainer.plan.key_values import Unset
from trainer.plan.optimizer_args import KNOWN_ARGUMENTS, ONE_RATE_ONLY, uses_relative_step
from trainer.settings import Optimizer, OptimizerName
from trainer.training.optimizer import (
    MAKERS,
    adapted_rate,
    build_optimizer,
    name_with_arguments,
    set_training,
)

CPU = torch.device("cpu")
NAMES = get_args(OptimizerName)
RATES = {"Lion": 1e-2, "Lion8bit": 1e-2, "SGDScheduleFree": 1e-1} | dict.fromkeys(ONE_RATE_ONLY, 1.0)


def kind_of(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(__import__(MAKERS[name].module, fromlist=["x"]), MAKERS[name].kind)


def build(name: str, *weights: nn.Parameter, lr: float = 1e-2, **values: Any) -> torch.optim.Optimizer:
    chosen = Optimizer(optimizer=name, learning_rate=lr, **values)  # pyright: ignore[reportArgumentType]  # any name
    return build_optimizer(chosen, [{"params": list(weights), "lr": lr, "name": "unet"}], CPU)[0]


@pytest.mark.parametrize("name", NAMES)
def test_known_arguments_are_those_of_the_optimizer_itself(name: str) -> None:
    signature = inspect.signature(kind_of(name)).parameters
    for argument, default in KNOWN_ARGUMENTS[name].items():
        assert argument in signature, argument
        own = MAKERS[name].fixed.get(argument, signature[argument].default)
        if not isinstance(default, Unset):
            assert own == default, argument
    left_out = {"params", "lr", "args", "fsdp_in_use", "use_triton", "kwargs"}
    assert set(signature) - set(KNOWN_ARGUMENTS[name]) <= left_out


@pytest.mark.filterwarnings("ignore")  # the libraries' own deprecations
@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns(name: str) -> None:
    torch.manual_seed(0)
    weight, goal = nn.Parameter(torch.ones(64, 80)), torch.randn(64, 80)
    optimizer = build(name, weight, lr=RATES.get(name, 1e-2))
    set_training(optimizer, True)
    losses = []
    for _ in range(60):
        loss = ((weight - goal) ** 2).mean() * 30
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    set_training(optimizer, False)
    assert ((weight - goal) ** 2).mean().item() * 30 < losses[0]


def test_extra_arguments_reach_the_optimizer() -> None:
    weight = nn.Parameter(torch.ones(2))
    group = build("AdamW", weight, optimizer_args="weight_decay=0.3 betas=0.8,0.9").param_groups[0]
    assert group["weight_decay"] == 0.3
    assert group["betas"] == (0.8, 0.9)
    assert build("SGDNesterov", weight).param_groups[0]["momentum"] == 0.9
    assert build("SGDNesterov", weight, optimizer_args="momentum=0.5").param_groups[0]["momentum"] == 0.5


def test_a_misspelt_argument_offers_the_right_one() -> None:
    with pytest.raises(UserError) as error:
        build("Prodigy", nn.Parameter(torch.ones(1)), lr=1.0, optimizer_args="d_coeff=2")
    assert "d_coef?" in str(error.value)
    assert error.value.setting == "optimizer_args"


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam", "DAdaptation"])
def test_different_rates_are_refused_where_one_is_found(name: str) -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in (1.0, 0.5)]
    with pytest.raises(UserError) as error:
        build_optimizer(Optimizer(optimizer=name), groups, CPU)  # pyright: ignore[reportArgumentType]  # any name
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "device", "used"),
    [
        ("AdamW8bit", "mps", "AdamW"),
        ("PagedAdamW8bit", "cpu", "AdamW"),
        ("PagedLion8bit", "cpu", "Lion"),
        ("SGDNesterov8bit", "mps", "SGD"),
    ],
)
def test_where_8_bit_cannot_run_the_32_bit_one_is_used_and_said(name: str, device: str, used: str) -> None:
    chosen = Optimizer(optimizer=name, optimizer_args="weight_decay=0.1 min_8bit_size=1")  # pyright: ignore[reportArgumentType]  # any name
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": 1.0}]
    optimizer, notice = build_optimizer(chosen, groups, torch.device(device))
    assert type(optimizer).__name__ == used
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    assert notice is not None
    assert notice.values["name"] == name


def test_adafactor_with_relative_step_ignores_the_rates() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    relative = build("Adafactor", weight)
    assert relative.param_groups[0]["lr"] is None
    assert relative.defaults["relative_step"]
    fixed = build("Adafactor", weight, optimizer_args="relative_step=False scale_parameter=False")
    assert fixed.param_groups[0]["lr"] == 1e-2
    warm = Optimizer(optimizer="Adafactor", optimizer_args="relative_step=False warmup_init=True")
    assert uses_relative_step(warm)
    assert not uses_relative_step(Optimizer(optimizer="AdamW"))


def test_schedule_free_weights_differ_between_training_and_saving() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = build("AdamWScheduleFree", weight, lr=0.1)
    set_training(optimizer, True)
    for _ in range(3):
        weight.sum().backward()
        optimizer.step()
    trained = weight.detach().clone()
    set_training(optimizer, False)
    assert not torch.equal(weight, trained)
    set_training(optimizer, True)
    assert torch.allclose(weight, trained)
    set_training(torch.optim.SGD([weight]), False)


def test_reported_rate_includes_what_the_optimizer_found() -> None:
    assert adapted_rate({"lr": 1.0, "d": 1e-4}) == 1e-4
    assert adapted_rate({"lr": 1e-3}) == 1e-3
    assert adapted_rate({"lr": None}) == 0.0


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("AdamW", "", "torch.optim.adamw.AdamW"),
        ("Lion", "weight_decay=0.01", "lion_pytorch.lion_pytorch.Lion(weight_decay=0.01)"),
        ("SGDNesterov", "", "torch.optim.sgd.SGD(momentum=0.9)"),
    ],
)
def test_description_equals_the_references(name: str, arguments: str, text: str) -> None:
    chosen = Optimizer(optimizer=name, optimizer_args=arguments)  # pyright: ignore[reportArgumentType]  # any name
    weight = nn.Parameter(torch.ones(1))
    assert name_with_arguments(build(name, weight, optimizer_args=arguments), chosen) == text
