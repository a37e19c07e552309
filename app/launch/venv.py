"""The folder .venv: where its Python is, whether it is whole, how it is made. Standard library only.

.venv/installed.json is written last: its presence means that everything is there, for this pyproject.toml,
this Python and this place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from app.launch.words import SetupError

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)


@dataclass(frozen=True)
class VenvStamp:
    """What a complete .venv holds."""

    fingerprint: str
    build: str  # of PyTorch, as chosen for the machine: "cpu", "cu130", …
    extras: tuple[str, ...]
    as_wanted: bool = True  # False: PyTorch's index could not be reached, another build stands in

    def has(self, extras: tuple[str, ...]) -> bool:
        """Whether all these extras are installed."""
        return {*extras} <= {*self.extras}


def venv_python(root: Path) -> Path:
    """The interpreter inside .venv."""
    return root / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def venv_fingerprint(root: Path) -> str:
    """Changes when what is to be installed, the Python of .venv or the project's place changes."""
    parts = [(root / "pyproject.toml").read_bytes(), os.fsencode(root)]
    for path in (root / ".venv" / "pyvenv.cfg", root / "constraints.txt"):
        with contextlib.suppress(OSError):
            parts.append(path.read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp(root: Path) -> VenvStamp | None:
    """The stamp, if .venv is complete and belongs to this project as it is now."""
    stamp = last_stamp(root)
    current = stamp and stamp.fingerprint == venv_fingerprint(root) and venv_python(root).exists()
    return stamp if current else None


def last_stamp(root: Path) -> VenvStamp | None:
    """The stamp, also of a .venv that was complete before the project changed."""
    try:
        values = json.loads((root / ".venv" / "installed.json").read_text(encoding="utf-8"))
        return VenvStamp(**{**values, "extras": tuple(values["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(root: Path, stamp: VenvStamp) -> None:
    """Declare .venv complete."""
    path = root / ".venv" / "installed.json"
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(asdict(stamp), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def remove_stamp(root: Path) -> None:
    """Declare .venv unfinished."""
    (root / ".venv" / "installed.json").unlink(missing_ok=True)


def healthy(root: Path) -> bool:
    """Whether .venv has a Python of the right version with a working pip."""
    return pip_version(root) > 0


def pip_version(root: Path) -> int:
    """The major version of the pip in .venv; 0 if there is none, or no Python that may run it."""
    right = f"{OLDEST_PYTHON} <= sys.version_info[:2] <= {NEWEST_PYTHON}"
    code = f"import sys, pip; print(pip.__version__ if {right} else 0)"
    try:
        done = subprocess.run([venv_python(root), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    major = done.stdout.strip().partition(".")[0]
    return int(major) if done.returncode == 0 and major.isdigit() else 0


def make_venv(root: Path, log: TextIO) -> None:
    """Make .venv anew. Raises SetupError."""
    command = [sys.executable, "-m", "venv", "--clear", str(root / ".venv")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    words = done.stdout + done.stderr
    print("$", *command, words, file=log, flush=True)
    if done.returncode == 0 and healthy(root):
        return
    if re.search(r"PermissionError|Access is denied|WinError (5|32)\b", words):
        raise SetupError("launcher.locked")
    if "ensurepip" in words:
        raise SetupError("launcher.no_ensurepip", version=f"{sys.version_info[0]}.{sys.version_info[1]}")
    raise SetupError("launcher.no_venv")


def has_torch(root: Path) -> bool:
    """Whether some PyTorch is unpacked in .venv."""
    return any((root / ".venv").glob("[Ll]ib/**/site-packages/torch-*.dist-info"))


def drop_half_installed(root: Path) -> None:
    """Forget packages whose installation was interrupted, so that pip installs them again.

    pip unpacks all files of a package before it writes INSTALLER: without that file it is not whole.
    """
    for information in (root / ".venv").glob("[Ll]ib/**/site-packages/*.dist-info"):
        if not (information / "INSTALLER").exists():
            shutil.rmtree(information, ignore_errors=True)


def child_environment() -> dict[str, str]:
    """Our environment without what other programs' Pythons left in it."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    ours = {"PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1", "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **ours}
