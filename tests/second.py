"""Second ways to show a thing, among the parameters of a test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def also(cases: Iterable[Any]) -> list[Any]:
    """Cases that run with the long tests only; a tuple gives several parameters."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
        for case in cases
    ]
