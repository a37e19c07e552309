"""Several processes for one run: started together, watched, and ended together.

"Number of processes" asks for them; each is the same command with RANK, WORLD_SIZE … in its environment,
as torchrun and accelerate set them, so a run can be started by those as well.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.kohya.launch_arguments import LaunchArguments
from trainer.settings import Machine

LIFELINE = "LORA_ATELIER_LIFELINE"
"""Set for our own children: their standard input ends when we do, and then they end too."""
GRACE = 15.0
"""Seconds that the other processes get to say their last word when one has failed."""
PORT = 29500
"""torch's usual one, where several machines must agree."""


@dataclass(frozen=True)
class Rank:
    """Which of a run's processes this is."""

    number: int = 0
    count: int = 1
    local: int = 0
    """Its number on this machine, which is also its GPU's."""

    @property
    def reports(self) -> bool:
        """Whether it writes this machine's events."""
        return self.local == 0

    @classmethod
    def own(cls, environment: Mapping[str, str] = os.environ) -> Rank:
        """This process, by what its starter said."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(environment.get(name, "").isdigit() for name in names[:2]):
            return cls()
        number, count = (int(environment[name]) for name in names[:2])
        return cls(number, count, int(environment.get("LOCAL_RANK", number)))


def environments(machine: Machine, launch: LaunchArguments) -> list[dict[str, str]]:
    """What each process of this machine gets in its environment."""
    local_count = max(1, machine.num_processes // machine.num_machines)
    address = launch.main_process_ip or "127.0.0.1"
    port = machine.main_process_port or (_free_port() if machine.num_machines == 1 else PORT)
    shared = {
        "WORLD_SIZE": str(local_count * machine.num_machines),
        "LOCAL_WORLD_SIZE": str(local_count),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "USE_LIBUV": "0" if os.name == "nt" else "1",  # torch's builds for Windows lack it
        LIFELINE: "1",
    }
    first = launch.machine_rank * local_count
    return [{**shared, "RANK": str(first + at), "LOCAL_RANK": str(at)} for at in range(local_count)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def choose_gpus(machine: Machine) -> None:
    """ "GPU IDs": make only those visible, before anything looks for a GPU."""
    if (ids := machine.gpu_ids.strip()) and ids != "all":
        os.environ["CUDA_VISIBLE_DEVICES"] = ids


def has_lifeline() -> bool:
    """Whether this process was started by one of ours that watches it."""
    return bool(os.environ.get(LIFELINE))


def hold_lifeline() -> None:
    """End this process when the one that started it is gone, however it went."""
    if not has_lifeline():
        return

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held when Python shuts down
            pass
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def run_together(words: Sequence[str], environments: Sequence[Mapping[str, str]]) -> list[int]:
    """Run a command once for each environment; returns the exit codes.

    When one fails, the others get `GRACE` seconds to end by themselves and are then ended.
    """
    children: list[subprocess.Popen[Any]] = []
    try:
        children += [
            subprocess.Popen(
                list(words), stdin=subprocess.PIPE, env={**os.environ, **extra}, **_own_session()
            )
            for extra in environments
        ]
        _wait(children)
    finally:
        codes = [_reap(child) for child in children]
    return codes


def _own_session() -> dict[str, Any]:
    """Ctrl-C is for the process that started the others: it asks them to stop."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP")}  # noqa: B009  # not on Linux
    return {"start_new_session": True}


def _wait(children: Sequence[subprocess.Popen[Any]]) -> None:
    patience = None
    while any(child.poll() is None for child in children):
        failed = any(child.returncode not in {None, 0} for child in children)
        patience = patience or (time.monotonic() + GRACE if failed else None)
        if patience and time.monotonic() > patience:
            return
        time.sleep(0.1)


def _reap(child: subprocess.Popen[Any]) -> int:
    if child.poll() is None:
        child.kill()
    code = child.wait()
    if child.stdin:
        child.stdin.close()
    return code
