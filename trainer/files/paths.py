"""Paths as people paste them, and what can be told about a place on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from trainer.settings import TRAINING, Settings

QUOTES = "\"'“”‘’「」"
PATH_WIDGETS = ("model", "file", "folder")
PATH_SETTINGS = tuple(key for key, setting in TRAINING.items() if setting.spec.widget in PATH_WIDGETS)
"""Of a training, in the order of the form."""
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
"""What no name of a file may hold on one system or another."""
RESERVED = {
    "con", "prn", "aux", "nul", "conin$", "conout$",
    *(f"{name}{number}" for name in ("com", "lpt") for number in "0123456789¹²³"),
}  # fmt: skip
LONGEST_FILE_NAME = 200
"""Bytes of a name that still gets a number, an ending and the marks of a file being written."""


def is_reserved(name: str) -> bool:
    """Whether Windows keeps a file's name for itself; with any ending."""
    return name.partition(".")[0].strip().lower() in RESERVED


UNSEEN, JOINTS = ("Cf", "Zl", "Zp", "Cs"), "\u200d"
"""Kinds of signs that nobody sees in a name, and the one that emoji are put together with."""


def visible(name: str) -> str:
    """A name without signs that nobody sees or that turn its direction; emoji keep their joints."""
    return "".join(sign for sign in name if category(sign) not in UNSEEN or sign in JOINTS)


def clean_path(text: str) -> str:
    """A path without what pasting adds: blanks and quotes around it, file:// before it; ~ is spelled out."""
    path = text.strip().strip(QUOTES).strip()
    if path.lower().startswith("file://"):
        with suppress(ValueError, OSError):  # "file://[": no address, and so no place either
            path = _of_address(path)
    return str(from_home(path)) if path.startswith("~") else path


def _of_address(address: str) -> str:
    """The path that an address names. Raises ValueError or (Windows) OSError for what is none."""
    parts = urlsplit(address)
    if parts.netloc in {"", "localhost"}:
        return url2pathname(parts.path)
    return unquote(f"//{parts.netloc}{parts.path}")


def from_home(path: str) -> Path:
    """A path whose "~" is spelled out, where there is such a home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)


def clean_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by key, with every path cleaned."""
    return {
        key: clean_path(value) if isinstance(value, str) and key in PATH_SETTINGS else value
        for key, value in values.items()
    }


def with_clean_paths(settings: Settings) -> Settings:
    """Settings with every path cleaned; the same object where nothing is to be done."""
    paths = {key: settings.get(key) for key in PATH_SETTINGS}
    changed = {key: path for key, path in clean_paths(paths).items() if path != paths[key]}
    if not changed:
        return settings
    sections = dict.fromkeys(TRAINING[key].section for key in changed)
    updates = {
        section: getattr(settings, section).model_copy(
            update={key: path for key, path in changed.items() if TRAINING[key].section == section}
        )
        for section in sections
    }
    return settings.model_copy(update=updates)


LONGEST_PART, LONGEST_PATH = 255, 4000
"""Bytes of one name on the way, and of a whole path, on common systems."""


def is_text(path: str | Path) -> bool:
    """Whether a name can be written down. Linux has names of any bytes: Python reads half letters there."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def can_exist(path: str) -> bool:
    """Whether a system may have a place of this name at all, and we can write down which it is."""
    if "\0" in path or not is_text(path):
        return False
    longest = max((len(os.fsencode(part)) for part in Path(path).parts), default=0)
    return longest <= LONGEST_PART and len(os.fsencode(path)) <= LONGEST_PATH


def is_closed(path: str | Path) -> bool:
    """Whether a place lies in a folder that this account may not look into, so that nothing tells of it."""
    try:
        Path(path).stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return False


def nearest_existing(path: Path) -> Path | None:
    """The path itself or the closest parent that exists; None for a drive that is not there."""
    return next((place for place in (path, *path.parents) if place.exists()), None)


def is_writable(folder: Path) -> bool:
    """Whether this account may put files into a folder, as far as the system tells without trying."""
    return os.access(folder, os.W_OK | os.X_OK)


def is_plain_name(name: str) -> bool:
    """Whether a text read from a file is a file's name and nothing that leads elsewhere."""
    length = len(name.encode(errors="replace"))
    return name.strip(". ") != "" and length <= LONGEST_FILE_NAME and not FORBIDDEN.search(name)
