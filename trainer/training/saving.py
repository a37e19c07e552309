"""Writes a run's LoRA files: what the plan says, when it says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.events import Event, Notice, Phase, Removed, Saved
from trainer.files.hub import Uploader
from trainer.network.lora_file import save_lora
from trainer.network.network import Network
from trainer.plan.run import Plan
from trainer.training.keeper import StateKeeper
from trainer.training.position import Position

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Saver:
    """Saves the network under the names of the plan. Every file is written whole or not at all."""

    network: Network
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

    def save_due(self, position: Position) -> None:
        """Save what the plan wants saved after this step (not the final file)."""
        for save in self.plan.saves:
            if save.step == position.step and save.name != self.plan.final_name:
                self._save(position, save.name, state=self.with_state)
        for save in self.plan.saves:
            if save.gone_at == position.step:
                self._remove(self.output_dir / save.name)
            if save.state_gone_at == position.step and self.with_state:
                self._remove(self._state_of(save.name))

    def _state_of(self, name: str) -> Path:
        return self.output_dir / f"{name.removesuffix(self.extension)}-state"

    def save_final(self, position: Position) -> Path:
        """Save the finished LoRA."""
        path = self._save(position, self.plan.final_name, state=self.state_at_end, final=True)
        self.uploader.wait()
        return path

    def save_stopped(self, position: Position) -> Path:
        """Save what was learned when the person pressed Stop, and a state to continue from."""
        try:
            self.keeper.save(self.keeper.safety_folder, position, "safety")
        except OSError as error:
            self.emit(Notice("training.safety_failed", {"error": str(error)}, "warning"))
        stem = self.plan.final_name.removesuffix(self.extension)
        path = self._save(position, f"{stem}-step{position.step:08d}{self.extension}", final=True)
        self.uploader.wait()
        return path

    def _remove(self, path: Path) -> None:
        """Remove an older file or state of this run ("Save last N …")."""
        self.uploader.wait()
        if not path.exists():
            return
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:  # e.g. another program has it open on Windows
            values = {"name": path.name, "error": error.strerror or str(error)}
            self.emit(Notice("training.not_removed", values, "warning"))
            return
        self.emit(Removed(str(path)))

    def _save(self, position: Position, name: str, *, state: bool = False, final: bool = False) -> Path:
        path = self.output_dir / name
        self.emit(Phase("save"))
        save_lora(path, self.network.state_dict(), self.metadata(position), self.dtype)
        self.emit(Saved(position.step, position.epoch, str(path), path.stat().st_size, final=final))
        self.uploader.send(path)
        if state:
            self.keeper.save(self._state_of(name), position, "state")
            self.uploader.send_state(self._state_of(name))
        self.emit(Phase("train", position.step, self.plan.total_steps))
        return path
