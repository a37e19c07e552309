"""The quick tests once more: with the lowest versions that pyproject.toml allows, and with another Python.

Both have a folder of their own below .venv, made with uv and kept until what is to be in it changes. With
the lowest versions PyTorch is the one of .venv; another Python goes without it, and tests that need it are
skipped.
Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.launch.pins import FILE, resolve, uv, uv_environment
from app.launch.venv import NEWEST_PYTHON, OLDEST_PYTHON
from app.launch.words import say

TORCH_PACKAGES = ("torch", "torchgen", "functorch", "torch-*.dist-info")
HEAVY = ("accelerate", "diffusers", "peft", "scipy", "sympy", "transformers")
"""Packages that nothing uses without PyTorch."""
PLAIN = tuple(
    f"tests/{place}"
    for place in (
        "app/page/test_page.py", "app/page/test_widgets.py", "app/web", "trainer/data", "trainer/plan",
        "trainer/files/test_job_folder.py", "trainer/files/test_reading.py", "trainer/kohya/test_foreign.py",
        "trainer/test_command_line.py",
    )
)  # fmt: skip
"""What depends on versions and not on PyTorch: the page (Gradio), the guard (Starlette), pictures
(Pillow, NumPy), locks (filelock), readers (PyYAML, tomli), the command line (Typer), settings (Pydantic).
"""
WITH_PYTORCH = tuple(
    f"tests/trainer/{place}"
    for place in (
        "training/test_trial.py", "training/test_optimizer.py", "models/test_samplers.py",
        "models/test_clip.py",
        "jobs/test_run.py::test_a_run_tells_every_step_and_ends_with_the_file",
        "jobs/test_run.py::test_samples_are_drawn_at_first_and_on_the_way",
        "jobs/test_run.py::test_resume_goes_on_at_the_step_of_the_state",
    )
)  # fmt: skip
"""Every optimizer, sampler and schedule, the text encoders, and small trainings."""
CONTRADICTION = 1
"""uv's exit code where no versions fit together; 2: it could not find out, or could not get them."""


@dataclass(frozen=True)
class SecondRun:
    """One of them: a folder below .venv, its title in texts/launcher, its Python, packages and tests."""

    name: str
    title: str
    python: Path
    packages: Sequence[str]
    tests: Sequence[str]
    with_torch: bool


def run_all(
    root: Path, python: Path, environment: Mapping[str, str], workers: int, *, must: bool
) -> dict[str, int]:
    """Exit codes by name. `must`: packages that cannot be had are a failure, too."""
    ways = {"lowest": lowest, "another": another}
    return {name: run(root, python, way, environment, workers, must=must) for name, way in ways.items()}


def run(
    root: Path,
    python: Path,
    way: Callable[[Path, Path], SecondRun | None],
    environment: Mapping[str, str],
    workers: int,
    *,
    must: bool,
) -> int:
    """The tests of one way; returns pytest's exit code, 0 where this machine has no such way.

    Packages that cannot be had (no connection) are told, and a failure if it `must` run; versions that
    contradict each other always are. Old packages may warn of what newer ones will drop: that is none.
    """
    try:
        second = way(root, python)
        if second is None:
            return 0
        folder = make_folder(root, python, second)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"\n{say('launcher.tests_not_run', reason=str(error))}", flush=True)
        return int(must or getattr(error, "returncode", None) == CONTRADICTION)
    print(f"\n{say(second.title, version=version_of(second.python))}", flush=True)
    chosen = ["-m", "not slow and not browser", "-o", "filterwarnings=", "-p", "no:cacheprovider"]
    many = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    command = [str(folder / "bin" / "python"), "-m", "pytest", "-q", *chosen, *many, *second.tests]
    return subprocess.call(command, cwd=root, env=dict(environment))


def lowest(root: Path, python: Path) -> SecondRun:
    """The lowest versions that pyproject.toml allows, with the Python of .venv."""
    options = ("--resolution", "lowest-direct", "--python", str(python), "--extra", "quick", "--extra", "gpu")
    packages = resolve(root, *options, python=python)
    return SecondRun(
        "lowest", "launcher.tests_lowest", python, packages, (*PLAIN, *WITH_PYTORCH), with_torch=True
    )


def another(root: Path, python: Path) -> SecondRun | None:
    """The tested versions with another Python; None where there is none at hand."""
    found = another_python(version_of(python))
    if found is None:
        return None
    packages = resolve(root, "--constraint", FILE, "--python", str(found), "--extra", "quick", python=python)
    light = [line for line in packages if line.partition("==")[0] not in HEAVY]
    return SecondRun("another", "launcher.tests_another", found, light, PLAIN, with_torch=False)


def another_python(ours: str) -> Path | None:
    """A Python of another version than ours that may run the program, the newest first."""
    minors = range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1)
    for minor in minors:
        places = [shutil.which(f"python3.{minor}") or "", *kept_by_pyenv(minor)]
        for place in filter(None, places):
            if version_of(Path(place)) == f"3.{minor}" != ours:
                return Path(place)
    return None


def kept_by_pyenv(minor: int) -> list[str]:
    """Pythons of pyenv, which need not be on the PATH."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    return [str(path) for path in sorted(versions.glob(f"3.{minor}.*/bin/python3"))]


def version_of(python: Path) -> str:
    """ "3.11"; "" for what does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def make_folder(root: Path, python: Path, second: SecondRun) -> Path:
    """The folder of a run with its packages. Raises subprocess.CalledProcessError, OSError."""
    folder = root / ".venv" / second.name
    wanted = "\n".join([str(second.python), *second.packages])
    held = folder / "packages.txt"
    if held.exists() and held.read_text(encoding="utf-8") == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    command, environment = uv(python), uv_environment()
    make = [*command, "venv", "--quiet", "--python", str(second.python), str(folder)]
    subprocess.run(make, env=environment, check=True)
    listed = folder / "listed.txt"
    listed.write_text("\n".join(second.packages), encoding="utf-8")
    # Without dependencies: the list is complete, and PyTorch, of which there are many builds, is not uv's.
    install = ["pip", "install", "--quiet", "--no-deps", "--python", str(folder), "-r", str(listed)]
    subprocess.run([*command, *install], env=environment, check=True)
    if second.with_torch:
        share_torch(packages_of(root / ".venv"), packages_of(folder))
    held.write_text(wanted, encoding="utf-8")
    return folder


def packages_of(venv: Path) -> Path:
    """The folder site-packages."""
    return next(venv.glob("[Ll]ib/**/site-packages"))


def share_torch(ours: Path, theirs: Path) -> None:
    """Have the PyTorch of one environment in another one of the same Python."""
    for pattern in TORCH_PACKAGES:
        for path in ours.glob(pattern):
            (theirs / path.name).symlink_to(path)


def possible() -> bool:
    """Whether this system has what it takes: links for everyone, and uv's folders named as here."""
    return sys.platform != "win32"
