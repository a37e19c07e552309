"""Curves for TensorBoard and Weights & Biases ("Logging folder", "Logging").

A tracker that fails (full disk, no network) is told once and left out; training goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.events import Event, Notice, Sampled, Step
from trainer.files.reading import read_toml
from trainer.files.secrets import read_secret
from trainer.preflight.saving import safe_output_name
from trainer.settings import TRAINING, Records, Settings

DEFAULT_PROJECT = "network_train"
"""Name of the group of runs where "Log tracker name" is blank, as in the reference."""
WANDB_KEY = "WANDB_API_KEY"
PRIVATE = ("model", "file", "folder", "secret")
"""Widgets whose values "Log config" leaves out."""


def build_tracking(settings: Settings, job: Path, emit: Callable[[Event], None]) -> Tracking:
    """What records this run elsewhere: TensorBoard with a Logging folder, Weights & Biases where asked for.

    TensorBoard's files lie in <Logging folder>/<date-time>/, those of Weights & Biases beside it, or in the
    job's folder.
    """
    records, logging_dir = settings.records, settings.folders.logging_dir
    makers: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
    if logging_dir and records.log_with in {"", "tensorboard", "all"}:
        makers["tensorboard"] = lambda more: _tensorboard(Path(logging_dir), records, more)
    if records.log_with in {"wandb", "all"}:
        name = records.wandb_run_name or settings.folders.output_name
        makers["wandb"] = lambda more: _wandb(Path(logging_dir or job), records, name, more, emit)
    trackers: list[Any] = []
    for kind, make in makers.items():
        try:
            tracker = make(_more(records.log_tracker_config, kind))
            if records.log_config:
                tracker.store_init_configuration(public_settings(settings))
            trackers.append(tracker)
        except Exception as error:  # noqa: BLE001, PERF203  # a curve elsewhere is never worth a run
            values = {"name": kind, "error": f"{type(error).__name__}: {error}"}
            emit(Notice("training.tracker_failed", values, "warning"))
    return Tracking(trackers, emit, job)


def _more(config: str, kind: str) -> Mapping[str, Any]:
    """ "Log tracker config": a TOML file with a table for each tracker's own options."""
    if not config:
        return {}
    return dict(read_toml(Path(config)).get(kind, {}))


def public_settings(settings: Settings) -> dict[str, str | int | float | bool]:
    """Settings for "Log config": no key, no place on this machine."""
    shown = {key: value for key, value in settings.flat().items() if TRAINING[key].spec.widget not in PRIVATE}
    return {key: "" if value is None else value for key, value in shown.items()}


def _tensorboard(logging_dir: Path, records: Records, more: Mapping[str, Any]) -> Any:
    from accelerate.tracking import TensorBoardTracker

    folder = logging_dir / time.strftime("%Y%m%d%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    tracker = TensorBoardTracker(
        safe_output_name(records.log_tracker_name or DEFAULT_PROJECT), folder, **more
    )
    tracker.start()
    return tracker


def _wandb(
    folder: Path, records: Records, name: str, more: Mapping[str, Any], emit: Callable[[Event], None]
) -> Any:
    """Without a key the run is recorded on this machine only, to be sent later with `wandb sync`."""
    from accelerate.tracking import WandBTracker

    with _key_in_environment(read_secret("wandb_api_key")):
        import wandb

        # Its own capture of what is printed would go past our removal of keys; git tells of private folders.
        private = wandb.Settings(console="off", disable_git=True, save_code=False, silent=True)
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"name": name, "dir": str(folder), "settings": private}
        if not wandb.api.api_key and "WANDB_MODE" not in os.environ:
            options["mode"] = "offline"
            emit(Notice("training.wandb_offline", {"path": str(folder / "wandb")}))
        tracker = WandBTracker(records.log_tracker_name or DEFAULT_PROJECT, **{**options, **more})
        tracker.start()
    return tracker


@contextmanager
def _key_in_environment(key: str) -> Iterator[None]:
    """wandb.login would write the key to a file; here it stands in the environment while wandb begins."""
    before = os.environ.get(WANDB_KEY)
    if key:
        os.environ[WANDB_KEY] = key
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(WANDB_KEY, None)


@dataclass
class Tracking:
    """Passes each step on to the trackers."""

    trackers: Sequence[Any]
    emit: Callable[[Event], None]
    job: Path = Path()
    average: float | None = field(default=None, init=False)

    def follow(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """An `emit` that also records steps and samples."""

        def emit_and_record(event: Event) -> None:
            emit(event)
            if isinstance(event, Step):
                self.log(event)
            if isinstance(event, Sampled):
                self.show(event)

        return emit_and_record

    def log(self, step: Step) -> None:
        """Loss, its moving average, and each learning rate, under the reference's names."""
        self.average = step.loss if self.average is None else 0.98 * self.average + 0.02 * step.loss
        values = {"loss/current": step.loss, "loss/average": self.average, "norm/grad": step.grad_norm}
        values |= {f"lr/{name}": rate for name, rate in step.lr.items()}
        self._each(lambda tracker: tracker.log(values, step=step.step))

    def show(self, sample: Sampled) -> None:
        """Each line's sample pictures as a row of their own."""
        import numpy as np
        from PIL import Image

        with Image.open(self.job / sample.path) as picture:
            pixels = np.asarray(picture.convert("RGB"))[None]
        values = {f"sample_{sample.index}": pixels}
        layout = {"tensorboard": {"dataformats": "NHWC"}}
        self._each(
            lambda tracker: tracker.log_images(values, step=sample.step, **layout.get(tracker.name, {}))
        )

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
