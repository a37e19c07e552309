"""Several processes learn together what one would; one of them writes; none is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from tests.trainer.runs import events, run, short_settings
from trainer.distributed.processes import Rank, environments
from trainer.events import Event, Failed, Finished, Sampled, Saved, Started, Step, Stopped
from trainer.files.job_folder import JobFolder
from trainer.kohya.launch_arguments import LaunchArguments, read_launch_arguments
from trainer.settings import Machine

ROOT = Path(__file__).parents[3]
VARIED = {"shuffle_caption": True, "network_dropout": 0.2, "noise_offset": 0.1, "train_batch_size": 2}
"""Settings that draw random numbers in every place."""


def job_for(folder: Path, **changes: Any) -> JobFolder:
    """A job for `python -m trainer job`."""
    return JobFolder.create(folder, short_settings(folder, **changes))


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start the trainer as the page does."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(*words: str, **environment: str) -> tuple[int, str]:
    """Run the trainer to its end: exit code and what it printed."""
    with start(*words, **environment) as process:
        printed = process.communicate(timeout=300)[0]
    return process.returncode, printed


def losses(job: JobFolder) -> list[float]:
    return [event.loss for event in events(job) if isinstance(event, Step)]


@contextmanager
def family_ends(process: subprocess.Popen[str]) -> Iterator[None]:
    """Nothing of a run is left behind, whatever happens in the test."""
    try:
        yield
    finally:
        family = []
        if process.poll() is None:
            family = [*psutil.Process(process.pid).children(recursive=True)]
            process.kill()
        process.communicate()
        for child in family:
            if child.is_running():
                child.kill()


def wait_for(job: JobFolder, kind: type[Event]) -> None:
    limit = time.monotonic() + 120
    while not any(isinstance(event, kind) for event in events(job)):
        assert time.monotonic() < limit
        time.sleep(0.1)


def ranks(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    return {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_accumulation(tmp_path):
    prompts = "sks mascot --w 64 --h 64 --s 2"
    alone, code = run(tmp_path / "alone", gradient_accumulation_steps=2, **VARIED)
    assert code == 0
    job = job_for(
        tmp_path / "two",
        num_processes=2,
        sample_every_n_steps=2,
        sample_prompts=prompts,
        log_with="",
        **VARIED,
    )
    code, printed = done("trainer", "job", str(job.path))
    assert code == 0, printed
    assert losses(job) == pytest.approx(losses(alone), rel=1e-5)
    ours, theirs = (load_file(tmp_path / name / "out" / "mascot.safetensors") for name in ("two", "alone"))
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-5) for key in theirs)
    told = [event for event in events(job) if getattr(event, "kind", "") != "safety"]  # follows the clock
    counts = [
        sum(isinstance(event, kind) for event in told) for kind in (Started, Step, Saved, Sampled, Finished)
    ]
    assert counts == [1, 3, 1, 1, 1]
    assert isinstance(told[-1], Finished)
    assert [path.name for path in (tmp_path / "two" / "out").iterdir()] == ["mascot.safetensors"]


@pytest.mark.long
def test_stopped_and_continued_together_ends_as_if_never_stopped(tmp_path):
    whole, _ = run(tmp_path / "whole", gradient_accumulation_steps=2, max_train_steps=16, **VARIED)
    job = job_for(tmp_path / "two", num_processes=2, max_train_steps=16, **VARIED)
    process = start("trainer", "job", str(job.path))
    with family_ends(process):
        wait_for(job, Step)
        job.stop_file.touch()
        process.wait(timeout=120)
    assert process.returncode == 3
    stopped = events(job)[-1]
    assert isinstance(stopped, Stopped)
    assert 0 < stopped.step < 16
    job.stop_file.unlink()
    code, printed = done("trainer", "resume", str(job.path))
    assert code == 0, printed
    assert losses(job) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [pytest.param("0", marks=pytest.mark.long), "1"])
def test_when_one_process_dies_the_run_ends_with_a_sentence(tmp_path, victim):
    job = job_for(tmp_path, num_processes=2, max_train_steps=100_000)
    process = start("trainer", "job", str(job.path))
    with family_ends(process):
        wait_for(job, Step)
        family = ranks(process)
        family[victim].kill()
        process.wait(timeout=90)
        assert not [child for child in family.values() if child.is_running()]
    last = events(job)[-1]
    assert isinstance(last, Failed)
    assert last.code == "training.process_lost"


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(tmp_path):
    job = job_for(tmp_path, num_processes=2, max_train_steps=100_000)
    process = start("trainer", "job", str(job.path))
    with family_ends(process):
        wait_for(job, Step)
        family = list(ranks(process).values())
        process.kill()
        gone, alive = psutil.wait_procs(family, timeout=60)
        assert (len(gone), alive) == (2, [])


@pytest.mark.long
def test_torchrun_starts_a_run_too(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(short_settings(tmp_path, **VARIED).flat()), encoding="utf-8")
    words = ["torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "trainer", "train"]
    code, printed = done(*words, str(config), LORA_ATELIER_WORKSPACE=str(tmp_path / "work"))
    assert code == 0, printed
    jobs = list((tmp_path / "work" / "jobs").iterdir())
    assert len(jobs) == 1
    alone, _ = run(tmp_path / "alone", gradient_accumulation_steps=2, **VARIED)
    assert losses(JobFolder(jobs[0])) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.long
def test_two_machines_learn_together_and_the_first_writes_the_file(tmp_path):
    port = environments(Machine(), LaunchArguments())[0]["MASTER_PORT"]  # a free one
    many: dict[str, Any] = {"num_processes": 2, "num_machines": 2, "main_process_port": int(port), **VARIED}
    jobs = [
        job_for(
            tmp_path / str(number),
            extra_accelerate_launch_args=f"--main_process_ip 127.0.0.1 --machine_rank {number}",
            **many,
        )
        for number in range(2)
    ]
    processes = [start("trainer", "job", str(job.path)) for job in jobs]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert losses(jobs[0]) == losses(jobs[1])
    assert (tmp_path / "0" / "out" / "mascot.safetensors").is_file()
    assert not (tmp_path / "1" / "out").exists()


def test_a_rank_is_told_by_the_environment():
    assert Rank.own({}) == Rank(0, 1, 0)
    assert Rank.own({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Rank(3, 4, 1)
    assert Rank.own({"RANK": "", "WORLD_SIZE": "4"}) == Rank(0, 1, 0)


def test_each_process_gets_its_number_and_a_common_place_to_meet():
    found = environments(Machine(num_processes=2, main_process_port=29111), LaunchArguments())
    assert [one["RANK"] for one in found] == ["0", "1"]
    assert {(one["WORLD_SIZE"], one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found} == {
        ("2", "127.0.0.1", "29111")
    }
    second = environments(Machine(num_processes=4, num_machines=2), LaunchArguments({}, 1, "10.0.0.1"))
    assert [(one["RANK"], one["LOCAL_RANK"], one["WORLD_SIZE"]) for one in second] == [
        ("2", "0", "4"), ("3", "1", "4"),
    ]  # fmt: skip
    assert second[0]["MASTER_ADDR"] == "10.0.0.1"


def test_launch_arguments_are_accelerates():
    text = "--num_processes 4 --machine_rank=1 --main_process_ip 10.0.0.1 --gpu_ids 0,1"
    found = read_launch_arguments(Machine(extra_accelerate_launch_args=text))
    assert found.values == {"num_processes": 4, "gpu_ids": "0,1"}
    assert (found.machine_rank, found.main_process_ip, found.problems) == (1, "10.0.0.1", ())


@pytest.mark.parametrize(
    ("code", "setting", "values"),
    [
        ("preflight.launch_unknown", "extra_accelerate_launch_args",
         {"extra_accelerate_launch_args": "--use_deepspeed"}),
        ("preflight.launch_unknown_near", "extra_accelerate_launch_args",
         {"extra_accelerate_launch_args": "--machine_rnk 1"}),
        ("preflight.launch_value", "extra_accelerate_launch_args",
         {"extra_accelerate_launch_args": "--num_processes many"}),
        ("preflight.launch_quote", "extra_accelerate_launch_args",
         {"extra_accelerate_launch_args": '--gpu_ids "0'}),
        ("preflight.gpu_ids", "gpu_ids", {"gpu_ids": "first"}),
        ("preflight.gpus_few", "num_processes", {"gpu_ids": "0", "num_processes": 2}),
        ("preflight.machines_uneven", "num_machines",
         {"num_processes": 3, "num_machines": 2,
          "extra_accelerate_launch_args": "--main_process_ip 10.0.0.1"}),
        ("preflight.machines_where", "num_machines", {"num_processes": 2, "num_machines": 2}),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_said_before(tmp_path, code, setting, values):
    expect(sound_settings(tmp_path, **values), code, setting=setting, blocks=True)


def test_multi_gpu_with_one_process_is_pointed_out(tmp_path):
    expect(
        sound_settings(tmp_path, multi_gpu=True), "preflight.multi_gpu_one", setting="multi_gpu", blocks=False
    )


def test_gpu_ids_are_the_only_gpus_that_the_run_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job, code = run(tmp_path, gpu_ids="1", max_train_steps=1)
    assert code == 0, events(job)[-1]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
