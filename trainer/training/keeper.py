"""When and where training states are written, and how a run is put back into one."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.errors import UserError
from trainer.events import Event, Notice, Saved
from trainer.files.job_folder import find_state
from trainer.files.state_folder import KEPT, damaged, kept_for, read_about
from trainer.network.lora_file import refuse_no_numbers
from trainer.network.network import LoraNetwork
from trainer.training.optimizer import class_name, set_training
from trainer.training.position import Position
from trainer.training.state import READING, load_state, restore_random_states, save_state

MOST_PER_WEIGHT = 64
"""Bytes that an optimizer's file may have for each weight; the most demanding ones need 20."""
SPARE_FOR_STATE = 50_000_000
OPTIONS = (
    "amsgrad", "betas", "capturable", "dampening", "decoupled_weight_decay", "differentiable", "eps",
    "foreach", "fused", "maximize", "momentum", "nesterov", "weight_decay",
)  # fmt: skip
"""How an optimizer works, by group: as this run's settings say, whatever a state has beside its numbers."""


@dataclass
class StateKeeper:
    """Saves and restores everything that changes while a run trains."""

    network: LoraNetwork
    optimizer: Any
    lr_scheduler: Any
    scaler: torch.amp.GradScaler | None
    facts: dict[str, Any]
    """What a state must agree with: settings, seed, names, versions (JSON)."""
    safety_folder: Path
    """The job's rolling state."""
    every_seconds: float
    """How often the rolling state is written; 0: never."""
    emit: Callable[[Event], None]
    last: float = field(default_factory=time.monotonic)
    good: Position | None = None
    """Where the weights stand as they are; None while they change."""
    first: int = 0
    """Step at which this process began."""
    saved: int = 0
    """Step of the rolling state that it wrote last."""

    def mark(self, position: Position) -> None:
        """A step is complete: what comes next may fail without loss."""
        self.good = position

    def unmark(self) -> None:
        """The weights change now, or are no longer worth keeping."""
        self.good = None

    def save_good(self) -> None:
        """The run fails: keep what was learned up to the last complete step, if that is possible."""
        # Not where nothing was learned since the last state: an old good one is not written over.
        if self.good and self.every_seconds and self.good.step > max(self.saved, self.first):
            # The run's own failure is what must be told; that it could not be kept as well is no news.
            with suppress(OSError, MemoryError, RuntimeError, UserError):
                self.save(self.safety_folder, self.good, "safety")

    def save(self, folder: Path, position: Position, kind: str) -> None:
        """Write a state folder. `kind`: "state" (the person asked for it) or "safety" (rolling).

        Raises UserError for weights that are no numbers: an older state stays.
        """
        weights = self.network.state()
        # Before the old state is touched.
        refuse_no_numbers(weights)
        kept = self.optimizer.state_dict()
        save_state(
            folder,
            position,
            network=weights,
            optimizer={
                "optimizer": kept,
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "scaler": self.scaler.state_dict() if self.scaler else {},
            },
            facts={**self.facts, "made_for": self._made_for(), KEPT: kept_for(kept["state"])},
        )
        if kind == "safety":
            self.saved = position.step
        size = sum(file.stat().st_size for file in folder.iterdir())
        self.emit(Saved(position.step, position.last_epoch, str(folder), size, kind))

    def save_in_time(self, position: Position) -> None:
        """Write the rolling state if the last one is old enough. A full disk is told, not fatal."""
        if self.every_seconds and time.monotonic() - self.last >= self.every_seconds:
            self.save_last(position)

    def save_last(self, position: Position) -> None:
        """Write the rolling state, unless none is wanted. From that of its end a job can be extended."""
        if not self.every_seconds:
            return
        # Also where it fails: a full disk is tried again in some minutes, not at every step.
        self.last = time.monotonic()
        try:
            self.save(self.safety_folder, position, "safety")
        except OSError as error:
            self.emit(Notice("training.safety_failed", {"error": str(error)}, "warning"))

    def restore(self, place: Path) -> Position:
        """Put network, optimizer, schedule and random states back.

        Rates and schedule are those of the settings, at the state's place in them. Raises UserError for a
        state that is damaged or does not fit these settings.
        """
        folder = find_state(place)
        if folder is None:
            raise UserError("training.no_state", "resume", path=str(place))
        # A bound from our own side: what a foreign file says of its size is not believed.
        weights = sum(weight.numel() for weight in self.network.parameters())
        position, network, kept, states = load_state(folder, weights * MOST_PER_WEIGHT + SPARE_FOR_STATE)
        # Before anything is taken over: a state that does not fit leaves the run as it was.
        if reason := self._misfit(network, kept["optimizer"]["param_groups"]):
            if read_about(folder).facts.get("made_for") == self._made_for():
                raise damaged(folder)  # it says that it fits, and does not
            raise UserError("training.state_misfit", "resume", path=str(folder), reason=reason)
        options = [_options(group) for group in self.optimizer.param_groups]
        try:
            # Twice: a step shows whether the optimizer can use it, and the second time undoes that step.
            self._take_over(network, copy.deepcopy(kept), options)
            self._try_a_step()
            self._take_over(network, kept, options)
            # Last: the step above may have drawn.
            restore_random_states(states)
        except READING as error:
            raise damaged(folder) from error
        # What this process has learned counts from here.
        self.first = position.step
        return position

    def _made_for(self) -> dict[str, str]:
        """What a state must fit, in short: the optimizer's class, and the sizes of all weights by group."""
        sizes = {name: [*tensor.shape] for name, tensor in self.network.state().items()}
        groups = [[group["name"], len(group["params"])] for group in self.optimizer.param_groups]
        digest = hashlib.sha256(json.dumps([sizes, groups]).encode()).hexdigest()
        return {"optimizer": class_name(self.optimizer), "sizes": digest}

    def _misfit(self, network: Mapping[str, Tensor], groups: Sequence[Mapping[str, Any]]) -> str:
        """What of a state (weights in our shapes) is not as in this run; "" where all is."""
        own = self.network.state()
        for name in sorted(own.keys() ^ network.keys()):
            return name
        for name, tensor in own.items():
            if tensor.shape != network[name].shape:
                return f"{name}: {tuple(network[name].shape)}, {tuple(tensor.shape)}"
        theirs = [(group.get("name"), len(group["params"])) for group in groups]
        ours = [(group["name"], len(group["params"])) for group in self.optimizer.param_groups]
        return "" if theirs == ours else f"{theirs}, {ours}"

    def _take_over(
        self,
        network: Mapping[str, Tensor],
        kept: Mapping[str, Any],
        options: Sequence[Mapping[str, Any]],
    ) -> None:
        """Weights (of our shapes), optimizer, schedule and scaler, with rates and `options` of this run."""
        schedule = self.lr_scheduler
        # The settings' rates, before the state's stand over them: Continue may have changed them.
        base_rates = [group.get("initial_lr") for group in self.optimizer.param_groups]
        self.network.restore(network)
        self.optimizer.load_state_dict(kept["optimizer"])
        schedule.last_epoch = kept["lr_scheduler"]["last_epoch"]
        schedule._step_count = schedule.last_epoch + 1  # noqa: SLF001  # as its own load_state_dict does
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)
        for group, rate, factor in zip(
            self.optimizer.param_groups, base_rates, schedule.lr_lambdas, strict=True
        ):
            if rate is not None:  # Adafactor may find its own
                group["initial_lr"] = rate
                group["lr"] = rate * factor(schedule.last_epoch)
        if self.scaler and kept["scaler"]:
            self.scaler.load_state_dict(kept["scaler"])

    def _try_a_step(self) -> None:
        """Have the optimizer use what it was given, with gradients of 0: what it cannot use shows here.

        Raises whatever it raises, and ValueError for weights that are no numbers (any more).
        """
        set_training(self.optimizer, True)
        for weight in self.network.parameters():
            # 0: the step changes as little as a step can.
            weight.grad = torch.zeros_like(weight)
        fused = [group for group in self.optimizer.param_groups if group.get("fused")]
        for group in fused:  # that way torch reads beyond tensors of another shape and raises nothing
            group["fused"] = False
        getattr(self.optimizer, "optimizer", self.optimizer).step()  # accelerate wraps it
        for group in fused:  # a run that continues rounds as one that was never stopped
            group["fused"] = True
        self.optimizer.zero_grad(set_to_none=True)
        if not all(bool(weight.isfinite().all()) for weight in self.network.state().values()):
            raise ValueError("no numbers")


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: group[key] for key in OPTIONS if key in group}
