"""Make .venv whole: Python, PyTorch, the project. What is there already is kept. Standard library only."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from app.launch import venv
from app.launch.pins import FILE
from app.launch.pip import Narrator, PipError, ProgressLine, run_pip
from app.launch.torch_build import Computer, TorchBuild, default_build, reachable
from app.launch.venv import VenvStamp, child_environment, venv_python
from app.launch.words import SetupError, say

ASK_TORCH = """
import json, torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
detail = ""
if torch.backends.cuda.is_built() and not cuda:
    try:
        torch.cuda.init()
    except Exception as error:
        detail = str(error)
device = torch.cuda.get_device_name(0) if cuda else "Apple Metal (MPS)" if mps else ""
print(json.dumps({"version": torch.__version__, "device": device, "detail": detail}))
"""


def set_up(root: Path, extras: tuple[str, ...], wanted: TorchBuild, machine: Computer) -> VenvStamp:
    """Install what is missing; returns the stamp of the complete .venv. Raises SetupError."""
    progress = ProgressLine()
    with open_log(root) as log, only_one(root, progress) as lock:
        known = venv.read_stamp(root)
        if known and known.as_wanted and known.build == wanted.name and known.has(extras):
            return known  # nothing to do, or another window did it while this one waited
        print(f"\n=== {time.ctime()} {root} Python {sys.version}", machine, wanted, sep="\n", file=log)
        progress.line(say("launcher.setting_up", log=log.name))
        before = venv.last_stamp(root)
        venv.remove_stamp(root)
        installer = Installer(root, progress, log, lock)
        installer.prepare_venv()
        taken = installer.install_torch(wanted, machine)
        build = installer.ask_torch(taken, machine)
        gpu = ["gpu"] if wanted.kind == "cuda" and build.startswith("cu") else []
        chosen = {*(before.extras if before else ()), *extras, *gpu}
        installer.install_project(sorted(chosen))
        as_wanted = taken is wanted or build == wanted.name
        stamp = VenvStamp(venv.venv_fingerprint(root), wanted.name, tuple(sorted(chosen)), as_wanted)
        venv.write_stamp(root, stamp)
        return stamp


@dataclass(frozen=True)
class Installer:
    """The three steps and what they share."""

    root: Path
    progress: ProgressLine
    log: TextIO
    lock: TextIO

    def step(self, number: int, code: str, **values: object) -> None:
        """Announce a step."""
        self.progress.line(f"[{number}/3] {say(code, **values)}")

    def prepare_venv(self) -> None:
        """Make .venv, or repair one that an interruption left half made."""
        if venv.healthy(self.root):
            venv.drop_half_installed(self.root)
            return
        self.step(1, "launcher.step_venv", version=platform.python_version())
        venv.make_venv(self.root, self.log)
        # The pip that Python brings may be years old: a new one resumes broken downloads and tells how far
        # it is. Without a network the next step will say so.
        with contextlib.suppress(SetupError):
            self.pip("install", "--upgrade", "pip>=25.1")

    def install_torch(self, wanted: TorchBuild, machine: Computer) -> TorchBuild:
        """Install PyTorch; returns the build that was asked for in the end."""
        build = wanted
        if wanted.index and not reachable(wanted.index):
            print("cannot reach", wanted.index, file=self.log)
            build = default_build(machine, wanted)
        self.check_disk(build.gigabytes_on_disk)
        self.step(2, "launcher.step_torch", build=build.name, size=f"{build.gigabytes_to_download:g}")
        for notice in dict.fromkeys([*wanted.notices, *build.notices]):
            self.progress.line(f"      {say(notice, build=wanted.name)}")
        index = ["--extra-index-url", build.index] if build.index else []
        self.pip("install", build.requirement, *index)
        return build

    def check_disk(self, gigabytes: float) -> None:
        """Refuse to begin what cannot end."""
        free = shutil.disk_usage(self.root).free / 1e9
        if free < gigabytes and not venv.has_torch(self.root):
            raise SetupError(
                "launcher.little_disk", free=f"{free:.1f}", needed=f"{gigabytes:g}", folder=self.root
            )

    def ask_torch(self, taken: TorchBuild, machine: Computer) -> str:
        """Load PyTorch once, tell what it will compute on; returns the build it says it is."""
        command = [venv_python(self.root), "-c", ASK_TORCH]
        done = subprocess.run(
            command,
            env=child_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        print(done.stdout, done.stderr, file=self.log, flush=True)
        if done.returncode:
            raise SetupError("launcher.torch_broken", detail=(done.stderr.strip().splitlines() or [""])[-1])
        facts = json.loads(done.stdout.splitlines()[-1])
        device = facts["device"] or say("launcher.the_processor")
        self.progress.line(f"      {say('launcher.torch_works', version=facts['version'], device=device)}")
        has_card = bool(machine.nvidia_driver or taken.name.startswith("rocm"))
        if has_card and taken.name not in {"cpu", "mps"} and not facts["device"]:
            self.progress.line(f"      {say('launcher.card_unused', detail=facts['detail'])}")
        return facts["version"].partition("+")[2] or taken.name

    def install_project(self, extras: Sequence[str]) -> None:
        """Install the project in place, with what it needs: the versions that were tested.

        What an older .venv holds is brought to them.
        """
        self.step(3, "launcher.step_packages")
        names = f"[{','.join(extras)}]" if extras else ""
        wanted = ("install", "--editable", f"{self.root}{names}")
        tested = self.root / FILE
        if not tested.exists():
            self.pip(*wanted)
            return
        try:
            self.pip(*wanted, "--constraint", str(tested))
        except SetupError as error:
            if error.code != "launcher.no_package":
                raise
            # A mirror, or a system of another kind, may lack just that version: any allowed one will do.
            print("without", tested, file=self.log)
            self.pip(*wanted)

    def pip(self, *arguments: str) -> None:
        """Run pip in .venv with progress; raises SetupError with the cause."""
        python = venv_python(self.root)
        bar = "raw" if venv.pip_version(self.root) >= 25 else "off"
        narrator = Narrator(say, self.progress)
        words = [*arguments, "--progress-bar", bar]
        try:
            run_pip(python, words, child_environment(), self.log, narrator, inherit=self.lock.fileno())
        except PipError as error:
            raise SetupError(error.code, detail=error.detail, log=self.log.name) from error


@contextlib.contextmanager
def open_log(root: Path) -> Iterator[TextIO]:
    """Append to workspace/setup.log; one of more than 5 MB is begun anew."""
    path = root / "workspace" / "setup.log"
    try:
        path.parent.mkdir(exist_ok=True)
        mode = "w" if path.exists() and path.stat().st_size > 5_000_000 else "a"
        log = path.open(mode, encoding="utf-8", errors="replace")
    except OSError as error:
        raise SetupError("launcher.not_writable", folder=root, detail=error) from error
    with log:
        yield log


@contextlib.contextmanager
def only_one(root: Path, progress: ProgressLine) -> Iterator[TextIO]:
    """Wait until no other set-up of this folder is running (a launcher double-clicked twice).

    The system drops the lock when its holder dies. pip inherits it: an orphaned pip still holds it.
    """
    with (root / "workspace" / "setup.lock").open("w", encoding="utf-8") as lock:
        told = False
        while not try_lock(lock):
            if not told:
                progress.line(say("launcher.other_setup"))
                told = True
            time.sleep(0.5)
        yield lock


def try_lock(lock: TextIO) -> bool:
    """Take the lock unless another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
