"""Trainers without the wait for imports: each line {"verb", "folder"} starts one as a process of its own.

    python forker.py

Prints the pid, and when that process has ended the status of os.waitpid.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer.__main__ import _run
from trainer.job_folder import JobFolder


def main() -> None:
    import diffusers.schedulers  # noqa: F401  # loaded once, before any process is made

    import trainer.parts
    import trainer.train  # noqa: F401  # see above

    print("ready", flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if not pid:
            _train(JobFolder(Path(wish["folder"])), resume=wish["verb"] == "resume")
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


def _train(folder: JobFolder, *, resume: bool) -> None:
    os.setsid()
    with folder.log_file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(_run(folder, resume=resume))


if __name__ == "__main__":
    main()
