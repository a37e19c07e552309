"""Show a file in the file manager of this machine, for who sits at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trainer.errors import UserError
from trainer.files.roots import Roots


def can(roots: Roots | None) -> bool:
    """Whether the page is for this machine only (not with --listen), and there is a file manager."""
    if roots is not None and roots.strict:
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_screen and shutil.which("xdg-open"))


def opening_command(path: Path) -> list[str]:
    """What shows a file where it lies."""
    if sys.platform == "win32":
        return ["explorer", f"/select,{path}"]
    if sys.platform == "darwin":
        return ["open", "-R", str(path)]
    return ["xdg-open", str(path.parent)]


def show(path: Path, roots: Roots | None) -> None:
    """Open the folder of a file. Raises UserError where that cannot be done here."""
    if not can(roots):
        raise UserError("page.no_file_manager", path=str(path.parent))
    try:
        subprocess.Popen(opening_command(path), stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise UserError("page.no_file_manager", path=str(path.parent)) from error
