"""A trainer stands ready before Train is pressed, does one job, and is gone when no run is near."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.jobs import ready
from app.jobs.ready import ReadyTrainer
from app.jobs.store import JobStore
from tests.app.conftest import FAKE, ask, wait_for, wait_until
from trainer.settings import Settings

SERVER = """
import sys
from app.jobs.ready import ReadyTrainer
ready = ReadyTrainer(sys.argv[1:])
ready.expect({})
print(ready._waiting.pid, flush=True)
input()
"""


@pytest.fixture
def up(store: JobStore) -> JobStore:
    """A store whose page is up."""
    store.tend_forever()
    return store


@pytest.fixture
def trainer() -> Iterator[ReadyTrainer]:
    made = ReadyTrainer(FAKE)
    yield made
    made.let_go()


def waiting() -> list[psutil.Process]:
    """The trainers that wait, of this process."""
    return [child for child in psutil.Process().children() if waits(child)]


def waits(process: psutil.Process) -> bool:
    """Whether this process has not ended and has no job."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[-1] == "wait"
    except (psutil.Error, IndexError):
        return False


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    wait_for(lambda: not waiting())


def test_a_form_that_can_be_trained_has_a_trainer_ready_which_does_the_run(up, answers, values) -> None:
    ask(answers, "look", values={**values, "train_data_dir": ""})
    assert not waiting()
    ask(answers, "look", values=values)
    ask(answers, "look", values={**values, "epoch": 3})
    (stood_ready,) = waiting()
    job = up.start(Settings.from_flat(values))
    assert json.loads(job.folder.process_file.read_text())["pid"] == stood_ready.pid
    wait_until(job, "finished")
    wait_for(lambda: job.exit_code() == 0)
    assert job.folder.log_file.read_text() == "fake trainer: job\n"
    assert not waiting()


def test_it_continues_a_run_too(up: JobStore, settings: Callable[..., Settings], tmp_path: Path) -> None:
    job = up.start(settings("hold=10"))
    wait_for(lambda: job.last_step() >= 2)
    up.expect_run()
    assert not waiting(), "while a run is at work there is none"
    job.stop()
    wait_until(job, "stopped")
    up.expect_run()
    (stood_ready,) = waiting()
    (tmp_path / "out" / "go").touch()
    up.resume(job)
    assert json.loads(job.folder.process_file.read_text())["pid"] == stood_ready.pid
    wait_until(job, "finished")
    assert "fake trainer: resume" in job.folder.log_file.read_text()


@pytest.mark.parametrize(
    "machine", [{"gpu_ids": "1"}, {"num_processes": 2}, {"additional_parameters": "--num_processes=2"}]
)
def test_what_is_decided_before_the_imports_gets_a_process_of_its_own(up, settings, machine) -> None:
    up.expect_run()
    (stood_ready,) = waiting()
    job = up.start(settings("", **machine))
    assert json.loads(job.folder.process_file.read_text())["pid"] != stood_ready.pid
    wait_until(job, "finished")
    stood_ready.wait(60)


def test_one_that_has_died_is_not_relied_on(up: JobStore, settings: Callable[..., Settings]) -> None:
    up.expect_run()
    waiting()[0].kill()
    job = up.start(settings())
    wait_until(job, "finished")


def test_it_ends_when_nothing_comes_and_with_the_page(
    trainer: ReadyTrainer, monkeypatch: pytest.MonkeyPatch, up: JobStore
) -> None:
    monkeypatch.setattr(ready, "PATIENCE", 0.1)
    trainer.expect({})
    (stood_ready,) = waiting()
    stood_ready.wait(60)
    monkeypatch.setattr(ready, "PATIENCE", 1000)
    up.expect_run()
    (stood_ready,) = waiting()
    up.close()
    stood_ready.wait(60)


def test_it_ends_when_the_server_is_killed(root: Path) -> None:
    command = [sys.executable, "-c", SERVER, *FAKE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as server:
        assert server.stdout
        stood_ready = psutil.Process(int(server.stdout.readline()))
        assert stood_ready.is_running()
        server.kill()
    wait_for(lambda: not stood_ready.is_running())


def test_other_folders_allowed_are_another_environment(trainer: ReadyTrainer) -> None:
    trainer.expect({"LORA_ATELIER_ROOTS": "a"})
    (first,) = waiting()
    trainer.expect({"LORA_ATELIER_ROOTS": "b"})
    first.wait(60)
    (second,) = waiting()
    assert second.environ()["LORA_ATELIER_ROOTS"] == "b"


def test_none_where_memory_is_short(trainer: ReadyTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "ROOM", 1 << 60)
    trainer.expect({})
    assert not waiting()
