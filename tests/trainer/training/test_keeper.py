"""With every optimizer a run goes on from its state as if it had never stopped, and with rates of its own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import fresh_model
from trainer.events import Event
from trainer.files.state_folder import check_files, read_about
from trainer.network.network import LoraNetwork, build_network
from trainer.plan.lr_schedule import build_lr_scheduler
from trainer.plan.optimizer_args import ONE_RATE_ONLY
from trainer.settings import Network as NetworkSettings
from trainer.settings import Optimizer
from trainer.training.keeper import OPTIONS, StateKeeper
from trainer.training.optimizer import MAKERS, build_optimizer, finished_weights, set_training
from trainer.training.position import Position

NAMES = [name for name in MAKERS if not name.startswith("Paged")]


class Learning:
    """A small LoRA with an optimizer, learning from gradients that are the same each time."""

    def __init__(self, folder: Path, chosen: Optimizer) -> None:
        model = fresh_model()
        torch.manual_seed(0)  # making the first model draws
        sizes = NetworkSettings(block_dims=",".join(["0"] * 12 + ["2"] + ["0"] * 12))
        self.network: LoraNetwork = build_network(model, sizes, train_text_encoder=False)
        rate = chosen.learning_rate if chosen.unet_lr is None else chosen.unet_lr
        groups = self.network.groups(denoiser_lr=rate, text_encoder_lr=0)
        self.optimizer, _ = build_optimizer(chosen, groups, torch.device("cpu"))
        self.schedule = build_lr_scheduler(chosen, self.optimizer, 10)
        self.keeper = StateKeeper(
            self.network, self.optimizer, self.schedule, None, {"seed": 1, "name": "x", "settings": {}},
            folder, 60.0, self._hear,
        )  # fmt: skip
        self.told: list[Event] = []

    def _hear(self, event: Event) -> None:
        self.told.append(event)

    def learn(self, steps: range) -> list[float]:
        """Make these steps; the rates they were made with."""
        set_training(self.optimizer, True)
        rates: list[float] = []
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            for weight in self.network.parameters():
                weight.grad = torch.randn(weight.shape, generator=generator)
            rates.append(float(self.optimizer.param_groups[0]["lr"] or 0))
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)
        return rates

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state().items()}


def chosen(name: str, **values: Any) -> Optimizer:
    rate = 1.0 if name in ONE_RATE_ONLY else 1e-3
    warmup = 0 if name == "DAdaptSGD" else 20  # it cannot begin with a rate of 0
    usual = {"learning_rate": rate, "unet_lr": rate, "lr_scheduler": "cosine", "lr_warmup": warmup}
    return Optimizer.model_validate({"optimizer": name, **usual, **values})


@pytest.mark.parametrize("name", [*NAMES, "Adafactor relative_step=False", "Prodigy slice_p=3"])
def test_every_optimizer_goes_on_as_if_nothing_had_been(tmp_path: Path, name: str):
    """Adafactor without a word finds its own rate."""
    optimizer, _, arguments = name.partition(" ")
    settings = chosen(optimizer, optimizer_args=arguments)
    whole = Learning(tmp_path, settings)
    whole.learn(range(3))
    whole.keeper.save(tmp_path / "state", Position(3, 1, 3), "state")
    check_files(read_about(tmp_path / "state"))
    rates = whole.learn(range(3, 6))
    again = Learning(tmp_path, settings)
    assert again.keeper.restore(tmp_path / "state") == Position(3, 1, 3)
    assert again.learn(range(3, 6)) == rates
    assert all(torch.equal(tensor, again.weights()[key]) for key, tensor in whole.weights().items())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    first = Learning(tmp_path, chosen("AdamW"))
    first.learn(range(4))
    first.keeper.save(tmp_path / "state", Position(4, 1, 4), "state")
    return tmp_path / "state"


@pytest.mark.parametrize("arguments", ["", "fused=True", "foreach=True"])
def test_a_run_that_continues_computes_in_the_same_way(tmp_path: Path, state: Path, arguments: str):
    fresh = Learning(tmp_path, chosen("AdamW", optimizer_args=arguments))
    before = [{key: group[key] for key in OPTIONS if key in group} for group in fresh.optimizer.param_groups]
    assert before[0]["fused"] or "foreach" in arguments  # all weights in one call, unless told otherwise
    fresh.keeper.restore(state)
    after = [{key: group[key] for key in OPTIONS if key in group} for group in fresh.optimizer.param_groups]
    assert after == before


@pytest.mark.parametrize(
    "values",
    [
        {"unet_lr": 1e-5},
        {"unet_lr": None, "learning_rate": 3e-5},
        {"lr_scheduler": "linear"},
        {"lr_scheduler": "constant", "unet_lr": 7e-4},
        {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0, "lr_warmup": 50},
        {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": "step_rules=1:3,0.5:5,0.25"},
        {"lr_scheduler_type": "CosineAnnealingLR"},
    ],
    ids=str,
)
def test_new_rates_and_schedules_count_from_the_first_step(
    tmp_path: Path, state: Path, values: dict[str, Any]
):
    """As a run would have them there that had begun with them."""
    settings = chosen("AdamW", **values)
    expected = Learning(tmp_path, settings).learn(range(8))[4:]
    again = Learning(tmp_path, settings)
    again.keeper.restore(state)
    assert again.learn(range(4, 8)) == expected


def test_reading_a_state_changes_nothing_in_it(tmp_path: Path, state: Path):
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    for _ in range(2):
        Learning(tmp_path, chosen("AdamW")).keeper.restore(state)
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


def test_a_restored_optimizer_shares_nothing_with_the_first(tmp_path: Path, state: Path):
    again = Learning(tmp_path, chosen("AdamW"))
    again.keeper.restore(state)
    moments = copy.deepcopy(again.optimizer.state_dict()["state"][0])
    again.learn(range(4, 5))
    assert not torch.equal(moments["exp_avg"], again.optimizer.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("name", ["AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree", "AdamW"])
def test_files_get_the_finished_weights_and_training_goes_on_undisturbed(tmp_path: Path, name: str):
    one, other = (Learning(tmp_path, chosen(name)) for _ in range(2))
    for learning in (one, other):
        learning.learn(range(7))  # RAdam moves nothing before
    with finished_weights(one.optimizer):
        finished = one.weights()
    set_training(other.optimizer, False)
    assert all(torch.equal(tensor, finished[key]) for key, tensor in other.weights().items())
    before = Learning(tmp_path, chosen(name))
    before.learn(range(7))
    assert all(torch.equal(tensor, one.weights()[key]) for key, tensor in before.weights().items())
    free = any(not torch.equal(tensor, finished[key]) for key, tensor in one.weights().items())
    assert free == ("Free" in name)
    before.learn(range(7, 9))
    one.learn(range(7, 9))
    assert all(torch.equal(tensor, one.weights()[key]) for key, tensor in before.weights().items())
