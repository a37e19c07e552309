"""Does a test notice when a setting has no effect? Run by hand:

    python -m tests.mutation [KEY …]

For each setting its value is pinned to the default wherever the trainer reads it, and the test recorded for
it (tests/effect_tests.py) must fail. Prints one line for each, and how many were noticed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time

import pytest

from tests.effect_tests import TESTS
from trainer import settings as schema
from trainer.settings import TRAINING

FAILED = 10
"""Exit code of a child whose tests failed, as no other end of it gives."""


def pin(key: str) -> None:
    """From now on this setting always reads as its default."""
    setting = TRAINING[key]
    section = schema.Settings.model_fields[setting.section].annotation
    assert isinstance(section, type)
    type.__setattr__(section, key, property(lambda _self: setting.default))


def noticed(key: str) -> bool:
    """Whether a test fails with the setting pinned, in a process of its own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == FAILED
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pin(key)
        # Plain assertions: pytest cannot rewrite what is imported already, and warns of it.
        code = pytest.main(["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", TESTS[key]])
    os._exit(FAILED if code == pytest.ExitCode.TESTS_FAILED else 3 if code else 0)


def main() -> int:
    """Command line."""
    keys = sys.argv[1:] or list(TESTS)
    missed: list[str] = []
    for key in keys:
        began = time.monotonic()
        seen = noticed(key)
        missed += [] if seen else [key]
        print(f"{'noticed' if seen else 'MISSED '} {key} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(keys) - len(missed)} of {len(keys)} settings noticed; missed: {', '.join(missed) or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
