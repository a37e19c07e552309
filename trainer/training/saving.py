"""Writes a run's LoRA files: what the plan says, when it says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainer.events import Event, Notice, Phase, Removed, Saved
from trainer.files.hub import Uploader
from trainer.files.own_files import OwnFiles
from trainer.network.lora_file import save_lora
from trainer.network.network import LoraNetwork
from trainer.plan.run import Plan
from trainer.plan.saves import step_name
from trainer.training.keeper import StateKeeper
from trainer.training.optimizer import finished_weights
from trainer.training.position import Position


@dataclass(frozen=True)
class Saver:
    """Saves the network under the names of the plan. Every file is written whole or not at all."""

    network: LoraNetwork
    plan: Plan
    output_dir: Path
    extension: str
    """".safetensors" or ".ckpt" ("Save trained model as")."""
    dtype: torch.dtype
    """"Save precision"."""
    metadata: Callable[[Position], dict[str, str]]
    keeper: StateKeeper
    with_state: bool
    """"Save training state": a state beside every LoRA file."""
    state_at_end: bool
    """"Save training state at end of training"."""
    emit: Callable[[Event], None]
    uploader: Uploader
    own: OwnFiles = field(default_factory=OwnFiles)

    def save_due(self, position: Position, *, missing: bool = False) -> None:
        """Save what the plan wants saved after this step (not the final file).

        `missing`: only what is not there. A run that continues where a full disk or a power cut has ended it
        may stand behind a step whose files were never written.
        """
        for save in self.plan.saves:
            # The final file stands in the plan, too; it is written at the end.
            due = save.step == position.step and save.name != self.plan.final_name
            if due and not (missing and self._is_there(save.name)):
                self._save(position, save.name, state=self.with_state)
        for save in self.plan.saves:
            # Only after the new file stands: never fewer than asked for.
            if save.gone_at == position.step:
                self._remove(self.output_dir / save.name)
            if save.state_gone_at == position.step and self.with_state:
                self._remove(self._state_of(save.name))

    def _is_there(self, name: str) -> bool:
        """Whether a planned file stands where this job has put it, with its state."""
        planned = [self.output_dir / name, *([self._state_of(name)] if self.with_state else [])]
        return all((path := self.own.placed(place)) and path.exists() for place in planned)

    def _state_of(self, name: str) -> Path:
        """Where the state beside a LoRA file is meant to be."""
        return self.output_dir / f"{name.removesuffix(self.extension)}-state"

    def _begin(self, planned: Path) -> Path:
        """Where to write: a file of others that stands there by now stays. Told before it is written."""
        # Decided when it is written: a file may have come since the plan was made.
        path = self.own.place_for(planned)
        if path != planned:
            values = {"name": planned.name, "used": path.name}
            self.emit(Notice("training.name_taken", values, "warning"))
        # Noted before it is written: a process killed in the middle still knows it for its own.
        self.own.add(path)
        self.emit(Phase("save", path=str(path)))
        return path

    def save_final(self, position: Position) -> Path:
        """Save the finished LoRA."""
        # Uploads of the file run on beside the state's; the process must not end before them.
        path = self._save(position, self.plan.final_name, state=self.state_at_end, final=True)
        self.uploader.wait()
        return path

    def save_now(self, position: Position) -> Path:
        """Save what was learned up to here, because the person asks for it."""
        return self._save(position, self._name_at(position), state=self.with_state)

    def save_stopped(self, position: Position) -> Path:
        """Save what was learned when the person pressed Stop, and a state to continue from."""
        try:
            self.keeper.save(self.keeper.safety_folder, position, "safety")
        except OSError as error:
            self.emit(Notice("training.safety_failed", {"error": str(error)}, "warning"))
        # State first: without it the run could not be continued, without the file it can.
        path = self._save(position, self._name_at(position), final=True)
        self.uploader.wait()
        return path

    def _name_at(self, position: Position) -> str:
        """The name of a file that no plan has foreseen."""
        stem = self.plan.final_name.removesuffix(self.extension)
        return f"{step_name(stem, position.step)}{self.extension}"

    def _remove(self, planned: Path) -> None:
        """Remove an older file or state of this run ("Save last N …")."""
        self.uploader.wait()
        path = self.own.placed(planned)
        if not path or not path.exists():
            return
        try:
            # It may be on its way to the hub: waited for above.
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:  # e.g. another program has it open on Windows
            values = {"name": path.name, "error": error.strerror or str(error)}
            self.emit(Notice("training.not_removed", values, "warning"))
            return
        self.own.discard(path)
        self.emit(Removed(str(path)))

    def _save(self, position: Position, name: str, *, state: bool = False, final: bool = False) -> Path:
        path = self._begin(self.output_dir / name)
        with finished_weights(self.keeper.optimizer):
            # Copies on the CPU: taken while schedule-free optimizers show their finished weights.
            weights = self.network.state_dict()
        save_lora(path, weights, self.metadata(position), self.dtype)
        self.emit(Saved(position.step, position.last_epoch, str(path), path.stat().st_size, final=final))
        # Behind the event: the page shows the file, whatever becomes of the upload.
        self.uploader.send(path)
        if state:
            folder = self._begin(self._state_of(name))
            self.keeper.save(folder, position, "state")
            self.uploader.send_state(folder)
        self.emit(Phase("train", position.step, self.plan.total_steps))
        return path
