"""The folders that the page may use, and whether a path lies in them.

Links are followed before a path is judged; hidden files and folders stay out. A trainer that the page has
started for others (--listen) gets the folders through its environment and keeps to them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MayRead = Callable[[Path], bool]
"""Says which files may be opened that another file, or a setting, names."""

ROOTS_VARIABLE = "LORA_ATELIER_ROOTS"
"""Names the folders that a trainer keeps to, as JSON."""
OUR_FILES = ("password.json", "secrets.json")
"""What this program keeps for itself."""


@dataclass(frozen=True)
class Roots:
    """The folders in and below which files may be seen."""

    folders: tuple[Path, ...]
    strict: bool = False
    """Others than this machine's owner may use the page: training, too, keeps to these folders."""

    @classmethod
    def of_environment(cls) -> Roots | None:
        """The folders that this process has to keep to; None where it may go anywhere."""
        text = os.environ.get(ROOTS_VARIABLE)
        return cls(tuple(Path(folder) for folder in json.loads(text)), strict=True) if text else None

    def environment(self) -> dict[str, str]:
        """What hands these folders to a trainer."""
        return {ROOTS_VARIABLE: json.dumps([str(folder) for folder in self.folders])} if self.strict else {}

    def allowed(self, text: str) -> Path | None:
        """The real path, if it exists, lies in an allowed folder and is nowhere hidden."""
        real = self.place(text)
        try:
            return real if real is not None and real.exists() else None
        except OSError:
            return None

    def place(self, text: str | Path) -> Path | None:
        """The real path, there or not, if it lies in an allowed folder and is nowhere hidden."""
        try:
            path = Path(text).expanduser()
            if not path.is_absolute() or self._on_foreign_share(path):
                return None
            real = path.resolve()
            # From Python 3.13 on links in a circle are left as they are instead of being an error.
            if any(part.is_symlink() for part in (real, *real.parents)):
                return None
        except (OSError, RuntimeError, ValueError):
            return None
        return real if self.holds(real) else None

    def _on_foreign_share(self, path: Path) -> bool:
        """Windows sends one's name and password hash to any share it is asked to look at: judged unseen."""
        drive = path.drive.lower()
        return drive.startswith("\\\\") and all(root.drive.lower() != drive for root in self.folders)

    def holds(self, real: Path) -> bool:
        """Whether a resolved path lies in an allowed folder, not below a hidden one."""
        for root in self.folders:
            if real.is_relative_to(root):
                return not any(hidden_name(part) for part in real.relative_to(root).parts)
        return False

    def names(self) -> list[str]:
        """The folders, for a sentence."""
        return [str(folder) for folder in self.folders]


def is_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder leads somewhere else (Windows has junctions besides links)."""
    return entry.is_symlink() or bool(getattr(entry, "is_junction", bool)())


def hidden_name(name: str) -> bool:
    """Dot files, what Windows keeps for itself, and what we do."""
    return name.startswith((".", "$")) or name == "System Volume Information" or name.lower() in OUR_FILES
