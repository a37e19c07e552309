"""Runs a module or program and notes, at each step of its optimizer, what it has used until then.

    python -m tests.bench.noted NOTES.jsonl MODULE-OR-FILE ARGUMENT…

Each line is a Note.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import psutil


class Note(NamedTuple):
    """One line."""

    kind: str
    """ "begin", "step" or "end"."""
    passed: float
    """Seconds since the process began; on a card, when all that was asked of it is done."""
    queued: float
    """Seconds until the backward pass before it was asked of the device: what the host took."""
    cpu: float
    """Processor seconds, user + system."""
    peak: float
    """Peak memory in GB."""
    card: float
    """A card's peak memory in GB."""


class Notes:
    """The file of notes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._queued = 0.0

    def queued(self) -> None:
        """A backward pass has been asked of the device."""
        self._queued = _passed()

    def write(self, kind: str) -> None:
        """Write one line."""
        import torch

        card = 0.0
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            card = torch.cuda.max_memory_allocated() / 1e9
        note = Note(kind, _passed(), self._queued, time.process_time(), peak_memory(), card)
        self._file.write(json.dumps(note) + "\n")
        self._file.flush()


def _passed() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def peak_memory() -> float:
    """The most memory this process has held, in GB."""
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info()._asdict()["peak_wset"] / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)


def main() -> None:
    """Note and run."""
    notes, what = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path.cwd())  # as for `python -m`, not this program's own folder
    with Path(notes).open("w", encoding="utf-8") as file:
        import torch

        written = Notes(file)
        from torch.optim.optimizer import register_optimizer_step_post_hook

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

        def stepped(*_: Any) -> None:
            written.write("step")

        backward = torch.Tensor.backward

        def noted_backward(*tensors: Any, **options: Any) -> None:
            backward(*tensors, **options)
            written.queued()

        torch.Tensor.backward = noted_backward  # pyright: ignore[reportAttributeAccessIssue]  # ours and theirs call it
        register_optimizer_step_post_hook(stepped)
        written.write("begin")
        try:
            if what.endswith(".py"):
                runpy.run_path(what, run_name="__main__")
            else:
                runpy.run_module(what, run_name="__main__", alter_sys=True)
        finally:
            written.write("end")


if __name__ == "__main__":
    main()
