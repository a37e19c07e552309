"""Checks of several processes: numbers that go together, GPU IDs, launch arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainer.kohya.launch_arguments import read_launch_arguments
from trainer.problems import Problem, block, hint
from trainer.settings import Machine


def gpu_list(gpu_ids: str) -> list[int] | None:
    """ "0,1" as numbers; [] where all may be used, None for what is no such list."""
    text = gpu_ids.strip()
    if text in {"", "all"}:
        return []
    return [int(number) for number in text.split(",")] if re.fullmatch(r"\d+(\s*,\s*\d+)*", text) else None


def check(machine: Machine) -> Iterator[Problem]:
    """Problems of the tab's part "Processes"."""
    launch = read_launch_arguments(machine)
    yield from launch.problems
    processes, machines = machine.num_processes, machine.num_machines
    gpus = gpu_list(machine.gpu_ids)
    per_machine = processes // machines
    if gpus is None:
        yield block("gpu_ids", "preflight.gpu_ids", {"gpu_ids": ""}, value=machine.gpu_ids)
    elif gpus and len(gpus) < per_machine:
        fix = {"num_processes": len(gpus) * machines}
        yield block("num_processes", "preflight.gpus_few", fix, gpus=len(gpus), processes=per_machine)
    if processes % machines:
        fix = {"num_processes": -(-processes // machines) * machines}
        yield block("num_machines", "preflight.machines_uneven", fix, processes=processes, machines=machines)
    if machines > 1 and not launch.main_process_ip:
        yield block("num_machines", "preflight.machines_where", {"num_machines": 1})
    if machine.multi_gpu and processes == 1:
        enough = max(2, len(gpus or ()))
        yield hint("multi_gpu", "preflight.multi_gpu_one", {"num_processes": enough})
