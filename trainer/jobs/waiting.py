"""Waiting for a job with the libraries imported: what takes longest before a small run's first step."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import UserError
from trainer.files.job_folder import JobFolder
from trainer.files.roots import Roots
from trainer.kohya import additional
from trainer.preflight import places
from trainer.settings import Machine


@dataclass(frozen=True)
class Order:
    """A job, and whether it goes on from its state."""

    folder: JobFolder
    resume: bool


def can_wait_for(folder: JobFolder) -> bool:
    """Whether a process that waits can do this job: not what is decided before anything is imported.

    Those are the graphics cards to be seen, and further processes.
    """
    try:
        machine = machine_of(folder)
    except OSError:
        return False
    return machine is not None and machine.num_processes == 1 and machine.gpu_ids.strip() in {"", "all"}


def machine_of(folder: JobFolder) -> Machine | None:
    """How many processes are asked for, on which GPUs; None where there are no settings."""
    try:
        return additional.applied(folder.settings(), places.may_read(Roots.of_environment())).machine
    except UserError:
        return None


def wait_for_order() -> Order | None:
    """Import what a run needs, and wait for a line {"verb", "folder"} on standard input.

    From then on all that is written goes to the job's log. None where the input ends without a line.
    """
    with suppress(Exception):  # the run imports them again, and says what is wrong
        from trainer.jobs.libraries import import_libraries
        from trainer.jobs.quiet import quiet_libraries

        quiet_libraries()
        import_libraries()
    line = sys.stdin.readline()
    if not line.strip():
        return None
    order = json.loads(line)
    folder = JobFolder(Path(order["folder"]))
    with folder.log_file.open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    return Order(folder, order["verb"] == "resume")
