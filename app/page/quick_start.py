"""Import Gradio in half the time.

At each import Gradio (6.31) parses the source of all its components and rewrites their .pyi stubs beside
them, for editors. That takes as long as all the rest of the import, and needs a writable installation.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

WRITER = "gradio.component_meta"
"""The module with `create_or_modify_pyi`. Where a Gradio has none, nothing is changed."""


class WithoutStubs(importlib.abc.MetaPathFinder):
    """Finds one module as usual and takes the writing of stubs out of it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, its loader wrapped; None for all other modules."""
        if name != WRITER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and spec.loader:
            spec.loader = Quiet(spec.loader)
        return spec


class Quiet(importlib.abc.Loader):
    """Loads the module and replaces the one function."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As the real loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the real loader, and then without stubs."""
        self.loader.exec_module(module)
        if hasattr(module, "create_or_modify_pyi"):
            module.create_or_modify_pyi = lambda *_arguments: None  # pyright: ignore[reportAttributeAccessIssue]  # looked for above


def without_stubs() -> None:
    """To be called before Gradio is imported; later it has no effect."""
    if WRITER not in sys.modules:
        sys.meta_path.insert(0, WithoutStubs())
