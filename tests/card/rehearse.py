"""Trainings on the stand-in card beside the same on the CPU: python -m tests.card.rehearse FOLDER CASE…

Prints one JSON object per case: how far the weights are apart, as a share of their size.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from tests.card import stand_in
from tests.card.cases import CASES
from tests.trainer.runs import trained


@contextmanager
def training_on_card() -> Iterator[None]:
    """Inside, the trainer finds the card and nothing else."""
    with stand_in.in_use() as card:

        def accelerator(**options: Any) -> Accelerator:
            forget_devices()
            PartialState(cpu=True).device = card
            return Accelerator(**options)

        with (
            mock.patch("trainer.training.precision.pick_device", return_value=card),
            mock.patch("trainer.training.prepare.pick_device", return_value=card),
            mock.patch("trainer.training.prepare.Accelerator", accelerator),
        ):
            try:
                yield
            finally:
                forget_devices()


def forget_devices() -> None:
    """accelerate decides once per process where it computes."""
    AcceleratorState._reset_state(True)  # accelerate's own tests do it so
    PartialState._reset_state()  # see above


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """How far apart two LoRAs are, as a share of their size."""
    assert ours.keys() == theirs.keys()
    squares = sum(float((ours[key].double() - theirs[key].double()).square().sum()) for key in ours)
    return (squares / sum(float(tensor.double().square().sum()) for tensor in theirs.values())) ** 0.5


def rehearse(folder: Path, name: str) -> dict[str, Any]:
    """One case on both."""
    # no state at the end: torch cannot write the stand-in card's memory into a file
    changes = {"safety_state_minutes": 0, **CASES[name]}
    try:
        wanted = trained(folder / f"{name}-cpu", **changes)
        with training_on_card():
            found = trained(folder / f"{name}-card", **changes)
    except Exception:  # noqa: BLE001  # the others are rehearsed all the same
        return {"case": name, "error": traceback.format_exc()[-3000:]}
    return {"case": name, "distance": distance(found, wanted)}


def main() -> None:
    """Rehearse each case."""
    torch.set_num_threads(1)
    stand_in.install()
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        print(json.dumps(rehearse(folder, name)), flush=True)


if __name__ == "__main__":
    main()
