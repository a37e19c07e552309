"""Set up LoRA Atelier in .venv beside the project, then start what was asked for. Standard library only.

    launch.sh                       the page (options are those of gui.py: --port, --listen, --workspace …)
    launch.sh install [EXTRA …]     set-up only; extras: xformers, wandb, test
    launch.sh test [PYTEST ARGS]    everything that is checked, or pytest alone with these arguments
    launch.sh VERB …                python -m trainer VERB …

The second start finds .venv complete and goes straight on. After an interruption the next start repairs
.venv and continues; pip keeps what it downloaded. Exit code 2: something the person can mend was said.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # started as a file: find `app` here, whatever the current folder holds

from app.launch.venv import (  # noqa: E402  # needs the path set above
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    child_environment,
    read_stamp,
    remove_stamp,
    venv_python,
)
from app.launch.words import SetupError, say  # noqa: E402  # see above

EXTRAS = ("xformers", "wandb", "test")
FORCE_BUILD = "LORA_ATELIER_TORCH"  # "cpu", "cu126", "cu130", "rocm7.2": where the choice made here is wrong
PYTHON_GONE = 103  # exit code of .venv's python.exe when the Python it was made with was removed


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Do what the launcher was asked to do; returns the exit code."""
    verb, rest = parse(arguments)
    if verb == "help":
        print(say("launcher.usage"))
        return 0
    check_python()
    if verb == "install":
        return install(root, rest)
    extras = ("test",) if verb == "test" else ()
    stamp = read_stamp(root)
    if stamp is None or not stamp.has(extras):
        step_out_of_venv(root, arguments)
        set_up(root, extras)
    python = venv_python(root)
    if verb == "gui":
        return start(root, [python, root / "gui.py", *rest])
    if verb == "test":
        from app.launch.checks import run_all

        return run_all(root, python, rest, child_environment())
    return start(root, [python, "-m", "trainer", verb, *rest])


def parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb ("gui", "install", "test", "help" or a verb of the trainer) and what follows it."""
    if not arguments:
        return "gui", []
    first, rest = arguments[0], list(arguments[1:])
    if first in {"-h", "--help", "help"}:
        return "help", rest
    return ("gui", [first, *rest]) if first.startswith("-") else (first, rest)


def install(root: Path, words: Sequence[str]) -> int:
    """`install [--dry-run] [EXTRA …]`: look at the machine again and install what is missing."""
    extras = tuple(word for word in words if word != "--dry-run")
    if unknown := [word for word in extras if word not in EXTRAS]:
        raise SetupError("launcher.unknown_extra", names=", ".join(unknown), known=", ".join(EXTRAS))
    if "--dry-run" in words:
        print(json.dumps(plan(root, extras), ensure_ascii=False, indent=2))
        return 0
    step_out_of_venv(root, ["install", *words])
    set_up(root, extras)
    print(say("launcher.ready"))
    return 0


def plan(root: Path, extras: tuple[str, ...]) -> dict[str, Any]:
    """What `install` would do, without doing it."""
    from app.launch.torch_build import choose_build, look_at_machine

    machine, stamp = look_at_machine(), read_stamp(root)
    return {
        "python": sys.executable,
        "venv": str(root / ".venv"),
        "complete": stamp is not None and stamp.has(extras),
        "machine": asdict(machine),
        "torch": asdict(choose_build(machine, os.environ.get(FORCE_BUILD, ""))),
    }


def set_up(root: Path, extras: tuple[str, ...]) -> None:
    """Choose the PyTorch that fits this machine and install what is missing."""
    from app.launch import installer, torch_build

    machine = torch_build.look_at_machine()
    wanted = torch_build.choose_build(machine, os.environ.get(FORCE_BUILD, ""))
    installer.set_up(root, extras, wanted, machine)


def check_python() -> None:
    """Stop early where PyTorch cannot be installed."""
    version = platform.python_version()
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        raise SetupError("launcher.wrong_python", version=version)
    if sys.maxsize < 2**32:
        raise SetupError("launcher.python_32bit", version=version)


def step_out_of_venv(root: Path, arguments: Sequence[str]) -> None:
    """Go on with the Python that .venv was made with: set-up must not run on what it may replace.

    The launchers prefer .venv's Python because it is the quickest to find.
    """
    venv = root / ".venv"
    base = getattr(sys, "_base_executable", sys.executable)
    if venv.exists() and Path(sys.prefix).samefile(venv) and base != sys.executable:
        raise SystemExit(subprocess.call([base, str(Path(__file__).resolve()), *arguments]))


def start(root: Path, command: Sequence[str | Path]) -> int:
    """Run a program in our place; on Windows, where that cannot be, wait for it and return its exit code."""
    words = [str(word) for word in command]
    if sys.platform != "win32":
        sys.stdout.flush()
        os.execve(words[0], words, child_environment())  # noqa: S606  # an argument list, no shell
    with subprocess.Popen(words, env=child_environment()) as child:
        code = wait(child)
    if code == PYTHON_GONE:
        remove_stamp(root)
        raise SetupError("launcher.python_gone")
    return code


def wait(child: subprocess.Popen[bytes]) -> int:
    """The child's exit code. Ctrl+C reaches the child too; its own farewell counts."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # noqa: PERF203  # waiting again is the point
            continue


def guarded(work: Callable[[], int]) -> int:
    """Turn what a person can mend into sentences and exit code 2."""
    try:
        return work()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{say('launcher.interrupted')}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(errors="replace")  # a console that lacks Japanese must not stop us
    sys.exit(guarded(lambda: main(sys.argv[1:])))
