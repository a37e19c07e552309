"""Several processes: numbers that do not go together are told at their setting, with numbers that do."""

from __future__ import annotations

import pytest

from trainer.preflight.processes import check, gpu_list
from trainer.settings import Machine


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []), (" all ", []), ("0", [0]), ("0,1", [0, 1]), (" 2 , 3 ", [2, 3]), ("a", None), ("0;1", None),
        ("-1", None), ("0,", None), ("1.5", None),
    ],
)  # fmt: skip
def test_a_list_of_gpus(text: str, numbers: list[int] | None):
    assert gpu_list(text) == numbers


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, {}),
        ({"num_processes": 2, "gpu_ids": "0,1", "multi_gpu": True}, {}),
        ({"gpu_ids": "first"}, {"gpu_ids": {"gpu_ids": ""}}),
        ({"num_processes": 3, "gpu_ids": "0,1"}, {"num_processes": {"num_processes": 2}}),
        ({"num_processes": 4, "num_machines": 2, "gpu_ids": "0", "main_process_port": 29500},
         {"num_processes": {"num_processes": 2}, "num_machines": {"num_machines": 1}}),
        ({"num_processes": 3, "num_machines": 2,
          "extra_accelerate_launch_args": "--main_process_ip 10.0.0.1 --machine_rank 0"},
         {"num_machines": {"num_processes": 4}}),
        ({"multi_gpu": True}, {"multi_gpu": {"num_processes": 2}}),
        ({"multi_gpu": True, "gpu_ids": "0,1,2"}, {"multi_gpu": {"num_processes": 3}}),
    ],
)  # fmt: skip
def test_what_does_not_go_together(values: dict[str, object], told: dict[str, object]):
    machine = Machine.model_validate(values)
    assert {problem.setting: problem.fix for problem in check(machine)} == told
