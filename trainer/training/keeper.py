"""When and where training states are written, and how a run is put back into one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainer.errors import UserError
from trainer.events import Event, Notice, Saved
from trainer.files.job_folder import find_state, state_places
from trainer.network.network import Network
from trainer.training.position import Position
from trainer.training.state import load_state, restore_random_states, save_state


@dataclass
class StateKeeper:
    """Saves and restores everything that changes while a run trains."""

    network: Network
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
        if self.good and self.every_seconds and self.good.step > max(self.saved, self.first):
            with suppress(OSError, MemoryError, RuntimeError):
                self.save(self.safety_folder, self.good, "safety")

    def save(self, folder: Path, position: Position, kind: str) -> None:
        """Write a state folder. `kind`: "state" (the person asked for it) or "safety" (rolling)."""
        save_state(
            folder,
            position,
            network=self.network.state(),
            optimizer={
                "optimizer": self.optimizer.state_dict(),
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "scaler": self.scaler.state_dict() if self.scaler else {},
            },
            facts=self.facts,
        )
        if kind == "safety":
            self.saved = position.step
        size = sum(file.stat().st_size for file in folder.iterdir())
        self.emit(Saved(position.step, position.epoch, str(folder), size, kind))

    def save_in_time(self, position: Position) -> None:
        """Write the rolling state if the last one is old enough. A full disk is told, not fatal."""
        if not self.every_seconds or time.monotonic() - self.last < self.every_seconds:
            return
        self.last = time.monotonic()
        try:
            self.save(self.safety_folder, position, "safety")
        except OSError as error:
            self.emit(Notice("training.safety_failed", {"error": str(error)}, "warning"))

    def restore(self, place: Path) -> Position:
        """Put network, optimizer, schedule and random states back. Raises UserError where they do not fit."""
        folder = find_state(place)
        if folder is None:
            raise UserError("training.no_state", "resume", path=str(place))
        position, network, kept, states = load_state(folder)
        try:
            self.network.restore(network)
            self.optimizer.load_state_dict(kept["optimizer"])
            self.lr_scheduler.load_state_dict(kept["lr_scheduler"])
            if self.scaler and kept["scaler"]:
                self.scaler.load_state_dict(kept["scaler"])
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError("training.state_misfit", "resume", path=str(folder), reason=str(error)) from error
        restore_random_states(states)
        self.first = position.step
        return position

    def forget(self) -> None:
        """Remove the rolling state: the run is complete."""
        for folder in state_places(self.safety_folder):
            shutil.rmtree(folder, ignore_errors=True)
