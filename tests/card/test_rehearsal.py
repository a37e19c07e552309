"""A training on a card equals the one on the CPU: rehearsed on a stand-in that refuses to mix devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.card.cases import CASES

QUICK = ("bf16", "continued", "tried")
BOUND = {"bf16": 0.05, "fp16": 5e-3, "fp16 continued": 0.05, "SDXL fp8": 0.05}
"""In half precision a card's norms are float32, the CPU's are not; float16 is compared with float32."""
PICTURES = 0.01
"""Samples differ where a number falls to the other side of a step of grey."""


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
    """Whether weights and pictures are as far apart as rounding explains."""
    near = case.get("distance", 1.0) <= BOUND.get(name, 1e-3)
    return near and case.get("pictures", 1.0) <= PICTURES


@pytest.mark.slow
def test_trainings_on_the_card_are_those_on_the_cpu(tmp_path: Path) -> None:
    judge(rehearse(tmp_path, QUICK), QUICK)


@pytest.mark.long
def test_every_lora_type_optimizer_and_sampler_works_on_the_card(tmp_path: Path) -> None:
    names = tuple(name for name in CASES if name not in QUICK)
    judge(rehearse(tmp_path, names), names)
