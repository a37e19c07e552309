"""The libraries without what training does not use: half of the processor time until they are there.

diffusers and PEFT import bitsandbytes wherever it is installed, for models of 4 and 8 bits; it brings torch's
inductor along.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def import_libraries() -> None:
    """Import what building a run needs. An optimizer of 8 bits finds bitsandbytes as ever.

    Where a version of theirs cannot do without, all is imported as ever when it is first used.
    """
    with suppress(ImportError), hidden("bitsandbytes"):
        from peft.import_utils import is_bnb_available

        import trainer.training.build  # noqa: F401  # with all that it needs

        is_bnb_available()  # PEFT asks once, and would import it with the first layer


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Inside, a package that is not imported yet looks as if it were not installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyright: ignore[reportArgumentType]  # documented: importing it then fails
    try:
        yield
    finally:
        del sys.modules[package]
