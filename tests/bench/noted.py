"""Runs a module or program and notes, at each step of its optimizer, what it has used until then.

    python -m tests.bench.noted NOTES.jsonl MODULE-OR-FILE ARGUMENT…

Each line: kind ("begin", "step", "end"), seconds since the process began, processor seconds (user + system),
peak memory in GB, and on a card its peak memory in GB.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import psutil


def note(file: TextIO, kind: str) -> None:
    """Write one line."""
    import torch

    card = 0.0
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        card = torch.cuda.max_memory_allocated() / 1e9
    passed = time.time() - psutil.Process().create_time()
    line = [kind, passed, time.process_time(), peak_memory(), card]
    file.write(json.dumps(line) + "\n")
    file.flush()


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
        from torch.optim.optimizer import register_optimizer_step_post_hook

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

        def stepped(*_: Any) -> None:
            note(file, "step")

        register_optimizer_step_post_hook(stepped)
        note(file, "begin")
        try:
            if what.endswith(".py"):
                runpy.run_path(what, run_name="__main__")
            else:
                runpy.run_module(what, run_name="__main__", alter_sys=True)
        finally:
            note(file, "end")


if __name__ == "__main__":
    main()
