"""What is said of a path at which a file should be."""

from __future__ import annotations

from pathlib import Path

from trainer.problems import Problem, block
from trainer.settings import TRAINING


def no_file(key: str, path: str) -> Problem:
    """Of one that names a folder, or nothing; the fix clears it."""
    code = "preflight.file_is_folder" if Path(path).is_dir() else "preflight.file_not_found"
    return block(key, code, {key: ""}, label=TRAINING[key].spec.label, path=path)
