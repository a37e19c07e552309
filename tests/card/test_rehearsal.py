"""A training on a card equals the one on the CPU: rehearsed on a stand-in that refuses to mix devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.card.cases import CASES

QUICK = ("bf16", "checkpointed", "sampled", "DoRA")
BOUND = {"bf16": 0.05}
"""In half precision a card's norms are float32, the CPU's are not."""


def rehearse(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """What each case found, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.card.rehearse", str(folder), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    return {line["case"]: line for line in lines}


def judge(found: dict[str, Any], names: tuple[str, ...]) -> None:
    """Every case ran, and learned the same."""
    wrong = {name: found.get(name) for name in names if not close(name, found.get(name, {}))}
    assert not wrong


def close(name: str, case: dict[str, Any]) -> bool:
    """Whether the weights are as far apart as rounding explains."""
    return case.get("distance", 1.0) <= BOUND.get(name, 1e-3)


@pytest.mark.slow
def test_trainings_on_the_card_are_those_on_the_cpu(tmp_path: Path) -> None:
    judge(rehearse(tmp_path, QUICK), QUICK)


@pytest.mark.long
def test_every_lora_type_and_optimizer_trains_on_the_card(tmp_path: Path) -> None:
    names = tuple(name for name in CASES if name not in QUICK)
    judge(rehearse(tmp_path, names), names)
