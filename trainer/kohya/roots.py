"""Paths that a preset gives relative to the program: {project}/… and {workspace}/…

Only files of our own are read so, and only at a path's beginning. Saving writes plain paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.files.job_folder import PROJECT, default_workspace
from trainer.files.paths import PATH_SETTINGS


def spelled_out(key: str, value: Any) -> Any:
    """A setting's value with {project} or {workspace} in front of a path replaced by that folder."""
    if key not in PATH_SETTINGS or not isinstance(value, str) or not value.startswith("{"):
        return value
    for mark, folder in (("{project}", PROJECT), ("{workspace}", default_workspace())):
        if value == mark or value.startswith(f"{mark}/"):
            return str(Path(folder, *value[len(mark) + 1 :].split("/")))
    return value
