"""The libraries without what training does not use: a third of the processor time that all of them take.

diffusers and PEFT import bitsandbytes wherever it is installed, for models of 4 and 8 bits; it brings torch's
inductor along. transformers and diffusers import scipy, for losses and samplers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from trainer.importing import without_collection

LIBRARIES = ("transformers", "diffusers", "peft")
"""Those that ask once what is installed."""


def import_libraries() -> None:
    """Import what building a run needs. An optimizer of 8 bits finds bitsandbytes as ever, a sampler scipy.

    Where a version of theirs cannot do without, all is imported as ever when it is first used.
    """
    with without_collection():
        with suppress(ImportError), hidden("bitsandbytes"), hidden("scipy"):
            from peft.import_utils import is_bnb_available

            import trainer.training.build  # noqa: F401  # with all that it needs

            is_bnb_available()  # PEFT asks once, and would import it with the first layer
        _scipy_is_there()


def _scipy_is_there() -> None:
    """diffusers looks for scipy once, while it is imported; its LMS sampler needs it."""
    with suppress(ImportError):
        from diffusers.utils import import_utils

        import_utils._scipy_available = find_spec("scipy") is not None  # noqa: SLF001  # it has no public way


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Inside, a package that is not imported yet looks as if it were not installed.

    Not to libraries that are there already and may have found it.
    """
    if {package, *LIBRARIES} & sys.modules.keys():
        yield
        return
    sys.modules[package] = None  # pyright: ignore[reportArgumentType]  # documented: importing it then fails
    try:
        yield
    finally:
        del sys.modules[package]
