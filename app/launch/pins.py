"""constraints.txt: the versions that were tested, for every Python and system. Standard library only.

    python -m app.launch.pins       writes it anew with the newest versions that pyproject.toml allows

The launcher installs with it. PyTorch and what belongs to its builds are not in it: the launcher chooses the
build, and the build its own libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = "constraints.txt"
EXTRAS = ("gpu", "wandb", "quick", "test")
OF_TORCH = re.compile(r"(torch|triton|nvidia|cuda|xformers)\b")
HEAD = """\
# What was tested: written by python -m app.launch.pins, read by the launcher, which chooses PyTorch itself.
"""


def uv(python: str | Path = sys.executable) -> list[str]:
    """The command uv: the one at hand, else the one that the tests' packages bring."""
    found = shutil.which("uv")
    return [found] if found else [str(python), "-m", "uv"]


def uv_environment() -> dict[str, str]:
    """What uv runs with: it trusts whom the system trusts, as pip does (in 0.13 and in 0.9)."""
    return {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true", **os.environ}


def without_torch(lines: Iterable[str]) -> list[str]:
    """Pinned requirements without those that go with a build of PyTorch."""
    pinned = (line.strip() for line in lines)
    return [line for line in pinned if "==" in line and not OF_TORCH.match(line)]


def resolve(root: Path, *options: str, python: str | Path = sys.executable) -> list[str]:
    """Pinned versions for pyproject.toml; `python`: as for `uv`.

    Raises subprocess.CalledProcessError, OSError.
    """
    quiet = ("--quiet", "--no-header", "--no-annotate")
    command = [*uv(python), "pip", "compile", *quiet, *options, "pyproject.toml"]
    done = subprocess.run(
        command, cwd=root, env=uv_environment(), stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return without_torch(done.stdout.splitlines())


def main() -> None:
    """Write the file."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    lines = resolve(ROOT, "--universal", "--python-version", "3.10", "--upgrade", *extras)
    (ROOT / FILE).write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
