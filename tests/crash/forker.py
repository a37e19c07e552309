"""Trainers without the wait for imports: each line {"verb", "folder"} starts one as a process of its own.

    python forker.py

Further keys make its life hard: "fsize" (bytes that a file may have), "memory" (bytes it may have beyond what
the libraries take), "mortal" (root may write only where its rights say so).

Prints the pid, and when that process has ended the status of os.waitpid.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer.__main__ import _run
from trainer.files.job_folder import JobFolder


def main() -> None:
    import diffusers.schedulers  # noqa: F401  # loaded once, before any process is made

    import trainer.training.build
    import trainer.training.loop  # noqa: F401  # see above

    print("ready", flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if not pid:
            _train(JobFolder(Path(wish["folder"])), wish)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


def _train(folder: JobFolder, wish: dict[str, Any]) -> None:
    os.setsid()
    with folder.log_file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if limit := wish.get("fsize"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if spare := wish.get("memory"):
        limit = psutil.Process().memory_info().vms + spare
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if wish.get("mortal") and os.geteuid() == 0:
        _give_up_override()
    os._exit(_run(folder, resume=wish["verb"] == "resume"))


def _give_up_override() -> None:
    """Linux: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH root is bound by the rights of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~0b110
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    main()
