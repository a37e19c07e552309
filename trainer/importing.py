"""Importing large libraries: thousands of modules at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Inside, nothing is looked through for garbage; what is there at the end is never looked through again.

    Modules, classes and functions stay until the end. The search through them, again and again, is a fifth of
    the processor time of an import.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
