"""Files written whole or not at all, and the traces of writing that was interrupted."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from trainer.files.paths import LONGEST_FILE_NAME

PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d{1,10})\.tmp")


def partial_of(path: Path) -> Path:
    """Where this process writes a file or folder before it is put in its place."""
    return path.with_name(f".{_start(path.name)}.{os.getpid()}.tmp")


def _start(name: str) -> str:
    """So much of a name that the marks around it still fit."""
    cut = os.fsencode(name)[:LONGEST_FILE_NAME]
    return name if len(cut) < LONGEST_FILE_NAME else cut.decode(errors="ignore")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of a full disk, say, name the file that is made: not the one beside it, its source, or none."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_whole(path: Path, data: bytes | memoryview, mode: int | None = None) -> None:
    """Write a file so that at any moment the old or the new content stands there, never a part.

    Raises OSError, whose `filename` is always set.
    """
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            partial.chmod(mode)
        patiently(lambda: partial.replace(path))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def keep(path: Path, data: bytes | memoryview) -> bool:
    """Write what could be made anew, whole or not at all. Says whether it worked: a full disk ends nothing.

    Not forced onto the disk: a power cut may damage it, so its reader must notice that.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        return False
    return True


def patiently(act: Callable[[], object]) -> None:
    """Do what Windows refuses while another program has the file open, a scanner for viruses say."""
    for patience in (0.1, 0.3, 1.0, 0.0):
        try:
            act()
        except PermissionError:  # noqa: PERF203  # four times at most
            if not patience:
                raise
            time.sleep(patience)
        else:
            return


def sweep(folder: Path, start: str = "") -> None:
    """Remove what processes that are gone have left half-written here, of names that begin so."""
    try:
        leftovers = [(path, found) for path in folder.iterdir() if (found := PARTIAL.fullmatch(path.name))]
    except OSError:
        return
    for path, found in leftovers:
        if not found["name"].startswith(_start(start)) or _is_alive(int(found["pid"])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    return pid != os.getpid() and psutil.pid_exists(pid)
