"""Memory freed while loading goes back to the system; what a step frees is kept for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")

HOLES = """
import contextlib, sys, psutil, torch
from trainer.models.allocator import returning_freed_memory
with returning_freed_memory() if sys.argv[1] == "on" else contextlib.nullcontext():
    torch.empty(30 << 20, dtype=torch.uint8).fill_(1)  # lets glibc raise its limit
    blocks = [torch.ones(2 << 20, dtype=torch.uint8) for _ in range(200)]
    full = psutil.Process().memory_info().rss
    del blocks[::2]
    print((full - psutil.Process().memory_info().rss) >> 20)
"""
STEPS = """
import resource, sys, torch
from trainer.models.allocator import choose_for_steps, returning_freed_memory
choose_for_steps(small=sys.argv[1] == "small")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return len([torch.ones(int(sys.argv[2]) << 20, dtype=torch.uint8) for _ in range(20)])
def faults_of_steps():
    for _ in range(2):  # the heap grows to what a step needs
        step()
    before = faults()
    for _ in range(5):
        step()
    return faults() - before
with returning_freed_memory():
    inside = faults_of_steps()
print(inside, faults_of_steps())
"""


def printed(program: str, *arguments: str) -> list[int]:
    command = [sys.executable, "-c", program, *arguments]
    return [
        int(word)
        for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    ]


@linux_only
def test_gaps_between_tensors_are_given_back_while_loading() -> None:
    assert printed(HOLES, "on")[0] > 150  # of 200 MiB
    assert printed(HOLES, "off")[0] < 50


@linux_only
@pytest.mark.parametrize(("how", "size"), [("quick", "8"), ("quick", "40")])
def test_a_step_after_loading_takes_the_memory_of_the_last_one(how: str, size: str) -> None:
    loading, training = printed(STEPS, how, size)
    assert training < loading / 20  # with 8 MiB: 800 MiB are 204,800 pages of 4 KiB


@linux_only
def test_a_run_that_is_to_be_small_gives_large_blocks_back() -> None:
    loading, training = printed(STEPS, "small", "8")
    assert training > loading / 2
