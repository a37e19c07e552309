"""The folder of one job: everything there is to know about a run stands in it."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trainer.errors import UserError
from trainer.events import EventLog
from trainer.files.whole_file import write_whole
from trainer.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]


def default_workspace() -> Path:
    """Where jobs live: $LORA_ATELIER_WORKSPACE, else `workspace` beside the program."""
    return Path(os.environ.get("LORA_ATELIER_WORKSPACE") or PROJECT / "workspace").expanduser().resolve()


def find_state(place: Path) -> Path | None:
    """The state folder at `place`, or the older one if a crash came in the middle of replacing it."""
    return next((folder for folder in state_places(place) if (folder / "state.json").is_file()), None)


def state_places(place: Path) -> tuple[Path, Path]:
    """Where a training state may stand that belongs at `place`: there, or moved aside for the next one."""
    return place, place.with_name(f".{place.name}.old")


@dataclass(frozen=True)
class JobFolder:
    """Names inside a job's folder, and how its small files are read and written."""

    path: Path

    @classmethod
    def create(cls, workspace: Path, settings: Settings) -> JobFolder:
        """Make a new folder below <workspace>/jobs, named by time and output name."""
        name = re.sub(r"[^\w.-]+", "_", settings.folders.output_name)[:60] or "lora"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(1000):
            path = workspace / "jobs" / (f"{stamp}-{name}" + (f"-{attempt + 1}" if attempt else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            folder = cls(path)
            folder.write_settings(settings)
            return folder
        raise UserError("training.no_job_folder", path=str(workspace))

    @property
    def settings_file(self) -> Path:
        """Complete settings of the run, flat, under kohya_ss's keys."""
        return self.path / "settings.json"

    @property
    def events_file(self) -> Path:
        """One event per line (trainer.events)."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """What the trainer's process printed."""
        return self.path / "log.txt"

    @property
    def process_file(self) -> Path:
        """Which process works on this job: {"pid", "started"}."""
        return self.path / "process.json"

    @property
    def samples(self) -> Path:
        """Folder of sample pictures."""
        return self.path / "samples"

    @property
    def safety_state(self) -> Path:
        """The rolling state from which an interrupted run continues."""
        return self.path / "state"

    @property
    def stop_file(self) -> Path:
        """Exists when the person has pressed Stop."""
        return self.path / "stop"

    def stop_requested(self) -> bool:
        """Whether Stop was pressed."""
        return self.stop_file.exists()

    def settings(self) -> Settings:
        """The run's settings. Raises UserError where the file is missing or is none."""
        try:
            return Settings.from_flat(json.loads(self.settings_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise UserError("training.no_settings", path=str(self.settings_file)) from error

    def write_settings(self, settings: Settings) -> None:
        """Write settings.json, complete and without secrets."""
        self.write_json(self.settings_file, settings.flat())

    def write_own_process(self) -> None:
        """Say that this process works on the job."""
        me = psutil.Process()
        self.write_json(self.process_file, {"pid": me.pid, "started": me.create_time()})

    def write_json(self, path: Path, data: Any) -> None:
        """Write a small JSON file whole."""
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1).encode())

    def event_log(self) -> EventLog:
        """Open events.jsonl for appending."""
        return EventLog(self.events_file)
