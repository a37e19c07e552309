"""Wishes for pictures on trial, asked one after the other in this process."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import numpy as np
from PIL import Image

from trainer.files.job_folder import JobFolder
from trainer.jobs.try_out import serve

WISH = {"id": 1, "prompt": "sks mascot", "strength": 1.0, "seed": 3, "width": 64, "height": 64, "steps": 3}


def answers(job: JobFolder, *wishes: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said to these wishes, one after the other."""
    said: list[dict[str, Any]] = []
    lines = iter([json.dumps(wish) for wish in wishes])

    def wait(count: int) -> None:
        while sum(one["event"] in ("done", "failed", "cancelled") for one in said) < count:
            time.sleep(0.01)

    class Patient(io.StringIO):
        """Gives the next wish when the one before has come to an end."""

        def __iter__(self):
            asked = 0
            for line in lines:
                wait(asked)
                asked += "warm" not in json.loads(line)
                yield line
            wait(asked)

    serve(job, Patient(), lambda event: said.append(dict(event)), idle=60)
    return said


def picture(job: JobFolder, name: str) -> np.ndarray:
    return np.asarray(Image.open(job.samples / "try" / name)).astype(int)
