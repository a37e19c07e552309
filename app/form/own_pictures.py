"""Pictures that do not lie in folders named like 10_cat, listed in a file: they are learned as they lie.

Nothing is moved or renamed: a TOML of sd-scripts in the workspace names the folders, and "Dataset config
file" names the TOML.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from trainer.data.dataset_file import read_pictures
from trainer.errors import UserError
from trainer.files.whole_file import write_whole

REPEATS = 10
"""Times per epoch, as in the name 10_cat that the guides begin with."""
MENDED = ("preflight.folder_loose", "preflight.folder_unnumbered", "preflight.folder_repeats")
"""Problems of "Image folder" that this mends."""


def listed(folder: Path, into: Path) -> Path:
    """The file in `into` that lists the pictures of `folder`. Raises UserError where there are none."""
    found, _ = read_pictures(str(folder), "", "", "")
    unnumbered = [one for one in found.ignored if one.reason in ("no_number", "many_repeats")]
    inside = [folder / one.name for one in unnumbered if one.pictures]
    places = [folder] if found.loose else inside
    if not places:
        raise UserError("page.no_pictures", path=str(folder))
    return write_dataset_file("\n".join(["[[datasets]]", *map(_subset, places)]), into, folder.name)


def _subset(place: Path) -> str:
    lines = {"image_dir": str(place), "num_repeats": REPEATS, "class_tokens": _words(place.name)}
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in lines.items())
    return f"\n[[datasets.subsets]]\n{text}\n"


def _words(name: str) -> str:
    """What pictures without a caption are called: the folder's name in words."""
    return re.sub(r"[_\s]+", " ", name).strip()


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_dataset_file(text: str, into: Path, name: str) -> Path:
    """A dataset file of this content in `into`; another one of that name stays."""
    into.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = into / (f"{name}.toml" if number == 1 else f"{name}-{number}.toml")
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
            return path
        if not path.exists():
            write_whole(path, text.encode())
            return path
    raise UserError("page.no_pictures", path=name)
