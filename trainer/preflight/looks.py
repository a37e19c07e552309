"""What is looked into bit by bit: a look at the form must not read ten thousand files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

AT_A_LOOK = 200
"""Captions whose tokens, and masks whose numbers, are looked at anew at one look at the form; the trainer and
the command line look at all before a run."""
Looked = TypeVar("Looked")


def some(items: Sequence[Looked], most: int | None, is_known: Callable[[Looked], bool]) -> list[Looked]:
    """Those that are known already, and at most `most` others (None: all)."""
    if most is None:
        return list(items)
    known = [item for item in items if is_known(item)]
    return known + [item for item in items if not is_known(item)][:most]
