"""Curves for TensorBoard and Weights & Biases ("Logging folder", "Logging").

A tracker that fails (full disk, no network) is told once and left out; training goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.events import Event, Notice, Step
from trainer.secrets import read_secret
from trainer.settings import Records, Settings


def build_tracking(settings: Settings, emit: Callable[[Event], None]) -> Tracking:
    """What records this run elsewhere."""
    folders = settings.folders
    try:
        trackers = build_trackers(
            folders.logging_dir, settings.records, folders.output_name, read_secret("wandb_api_key")
        )
    except Exception as error:  # noqa: BLE001  # a curve elsewhere is never worth a run
        name = settings.records.log_with or "tensorboard"
        emit(Notice("training.tracker_failed", {"name": name, "error": f"{error}"}, "warning"))
        trackers = []
    return Tracking(trackers, emit)


def build_trackers(logging_dir: str, records: Records, output_name: str, secret: str = "") -> list[Any]:
    """accelerate's trackers for these settings; none without a Logging folder and "Logging" blank.

    TensorBoard's files lie in <Logging folder>/<date-time>/. `secret` is the W&B key, "" where the
    environment has it.
    """
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    trackers: list[Any] = []
    if logging_dir and records.log_with in {"", "tensorboard", "all"}:
        folder = Path(logging_dir) / time.strftime("%Y%m%d%H%M%S")
        folder.mkdir(parents=True, exist_ok=True)
        trackers.append(TensorBoardTracker(records.log_tracker_name or "network_train", folder))
    if records.log_with in {"wandb", "all"}:
        import wandb  # pyright: ignore[reportMissingImports]  # an extra

        if secret:
            wandb.login(key=secret)
        name = records.log_tracker_name or "network_train"
        trackers.append(WandBTracker(name, name=records.wandb_run_name or output_name))
    for tracker in trackers:
        getattr(tracker, "start", lambda: None)()
    return trackers


@dataclass
class Tracking:
    """Passes each step on to the trackers."""

    trackers: Sequence[Any]
    emit: Callable[[Event], None]
    average: float | None = field(default=None, init=False)

    def follow(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """An `emit` that also records steps."""

        def emit_and_record(event: Event) -> None:
            emit(event)
            if isinstance(event, Step):
                self.log(event)

        return emit_and_record

    def log(self, step: Step) -> None:
        """Loss, its moving average, and each learning rate, under the reference's names."""
        self.average = step.loss if self.average is None else 0.98 * self.average + 0.02 * step.loss
        values = {"loss/current": step.loss, "loss/average": self.average, "norm/grad": step.grad_norm}
        values |= {f"lr/{name}": rate for name, rate in step.lr.items()}
        self._each(lambda tracker: tracker.log(values, step=step.step))

    def finish(self) -> None:
        """Write out what is still held back."""
        self._each(lambda tracker: tracker.finish())

    def _each(self, act: Callable[[Any], None]) -> None:
        for tracker in list(self.trackers):
            try:
                act(tracker)
            except Exception as error:  # noqa: BLE001, PERF203  # a curve elsewhere is never worth a run
                self.trackers = [other for other in self.trackers if other is not tracker]
                values = {"name": tracker.name, "error": f"{type(error).__name__}: {error}"}
                self.emit(Notice("training.tracker_failed", values, "warning"))
