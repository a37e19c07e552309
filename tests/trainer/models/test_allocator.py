"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOLES = """
import sys, psutil, torch
from trainer.allocator import return_freed_memory
if sys.argv[1] == "on":
    return_freed_memory()
torch.empty(30 << 20, dtype=torch.uint8).fill_(1)  # lets glibc raise its limit
blocks = [torch.ones(2 << 20, dtype=torch.uint8) for _ in range(200)]
full = psutil.Process().memory_info().rss
del blocks[::2]
print((full - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_gaps_between_tensors_are_given_back() -> None:
    def freed(switch: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", HOLES, switch], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert freed("on") > 150  # of 200 MiB
    assert freed("off") < 50
