"""One process at a time has a job, whatever becomes of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.trainer.runs import short_settings
from trainer.errors import UserError
from trainer.events import Phase, Removed, Saved, Started, steady
from trainer.files.job_folder import PROJECT, JobFolder
from trainer.jobs.run import USER, run_job
from trainer.settings import Settings

HOLDER = """
import sys
from collections.abc import Callable
from pathlib import Path
from trainer.files.job_folder import JobFolder
lock = JobFolder(Path(sys.argv[1])).hold()
print("held", flush=True)
input()
"""


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path, short_settings(tmp_path))


def holder(job: JobFolder) -> subprocess.Popen[str]:
    """Another process that has the job."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(job.path)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_job_that_is_held_is_held_until_its_process_is_gone(job: JobFolder):
    assert not job.is_held()
    with holder(job) as process:
        assert job.is_held()
        with pytest.raises(UserError):
            job.hold(0)
        process.kill()
    assert not job.is_held()
    lock = job.hold(0)
    assert lock
    lock.release()


def test_a_second_trainer_refuses_and_touches_nothing(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("trainer.files.job_folder.JobFolder.hold.__defaults__", (0.1,))
    with holder(job) as process:
        before = {path.name: path.read_bytes() for path in job.path.iterdir() if path.name != "lock"}
        for resume in (True, False):
            assert run_job(job, resume=resume) == USER
            assert "Another process" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in job.path.iterdir() if path.name != "lock"} == before
        process.kill()


def test_the_settings_of_a_job_at_work_are_not_replaced(job: JobFolder, tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_bytes(job.settings_file.read_bytes())
    before = job.settings_file.read_bytes()
    with holder(job) as process:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", "train", config, "--set", "seed=9", "--job", job.path],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        process.kill()
    assert done.returncode == USER
    assert "Another process" in done.stderr
    assert job.settings_file.read_bytes() == before


def settings_of_others(folder: Path) -> None:
    folder.mkdir()
    (folder / "settings.json").write_text("of another program")


def finished_job(folder: Path) -> None:
    folder.mkdir()
    JobFolder(folder).write_settings(Settings())
    JobFolder(folder).write_own_process()
    log = JobFolder(folder).event_log()
    log.emit(Started(1, 1, 1, "cpu", {}))
    log.close()


def pictures(folder: Path) -> None:
    (folder / "state").mkdir(parents=True)


@pytest.mark.parametrize("stands", [settings_of_others, finished_job, pictures, Path.touch])
def test_a_new_job_takes_no_folder_in_which_something_stands(
    tmp_path: Path, stands: Callable[[Path], object]
):
    folder = tmp_path / "folder"
    stands(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        JobFolder(folder).begin(Settings())
    assert caught.value.message.code == "training.job_folder_taken"
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: text for path, text in after.items() if path.name != "lock"} == before


def test_a_job_that_was_refused_is_begun_again(tmp_path: Path):
    """Its settings were mended, and the command given once more."""
    job = JobFolder(tmp_path / "job")
    job.begin(Settings())
    assert run_job(job) == USER
    job.begin(Settings().replace(seed=9))
    assert job.settings().length.seed == 9


@pytest.mark.parametrize(
    "error", [NotImplementedError(), OSError(errno.ENOSYS, "x"), OSError(errno.ENOLCK, "x")]
)
def test_a_disk_that_knows_no_locks_stops_no_run(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert job.hold() is None
    assert not job.is_held()


def test_an_old_stop_is_forgotten_and_a_new_one_is_not(job: JobFolder):
    log = job.event_log()
    log.emit(Phase("start"))
    log.close()
    said = job.events_file.stat().st_mtime_ns
    for at, stays in ((said - 10**9, False), (said, False), (said + 10**9, True)):
        job.stop_file.touch()
        os.utime(job.stop_file, ns=(at, at))
        job.forget_old_stop()
        assert job.stop_requested() == stays


HOURS = 3600.0


@pytest.mark.parametrize("jump", [-HOURS, -30.0, 30.0, HOURS])
def test_how_long_a_stop_has_been_asked_for_is_no_matter_of_the_clock(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, jump: float
):
    assert job.stopping_for() == 0.0
    clock, since_boot = time.time(), steady()
    monkeypatch.setattr("trainer.files.job_folder.steady", lambda: since_boot)
    job.request_stop()
    monkeypatch.setattr("time.time", lambda: clock + jump)
    os.utime(job.stop_file, (clock - jump, clock - jump))
    since_boot += 12.5
    assert JobFolder(job.path).stopping_for() == 12.5


@pytest.mark.parametrize("content", ["", "pause", "[]", '{"boot": 3, "events": null}', "{" * 9999])
def test_a_stop_that_says_nothing_of_itself_goes_by_the_clock(job: JobFolder, content: str):
    job.stop_file.write_text(content)
    os.utime(job.stop_file, (time.time() - HOURS, time.time() - HOURS))
    assert job.stopping_for() >= HOURS
    assert not job.pause_requested()


@pytest.mark.parametrize("jump", [-HOURS, HOURS])
def test_a_stop_is_old_or_new_whatever_the_clock_says(job: JobFolder, jump: float):
    for told_since, stays in ((False, True), (True, False)):
        log = job.event_log()
        log.emit(Phase("start"))
        job.request_stop()
        if told_since:
            log.emit(Phase("train"))
        log.close()
        os.utime(job.stop_file, (time.time() + jump, time.time() + jump))
        job.forget_old_stop()
        assert job.stop_requested() == stays


def test_pause_is_kept_with_a_stop(job: JobFolder):
    job.request_stop(pause=True)
    assert job.pause_requested()
    job.request_stop()
    assert not job.pause_requested()


def test_stop_can_be_pressed_where_nothing_of_it_can_be_written(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
):
    """The folder in which it would be written first is none: it is a Stop all the same."""
    monkeypatch.setattr("trainer.files.whole_file.partial_of", lambda _: job.path / "none" / "partial")
    job.request_stop()
    assert job.stop_requested()
    assert job.stopping_for() >= 0.0


def test_a_job_knows_what_it_has_written(job: JobFolder, tmp_path: Path):
    out = tmp_path / "out"
    log = job.event_log()
    log.emit(Saved(1, 0, str(out / "a.safetensors"), 1))
    log.emit(Saved(2, 0, str(out / "b.safetensors"), 1))
    log.emit(Removed(str(out / "a.safetensors")))
    log.emit(Phase("save", path=str(out / "c-state")))
    log.close()
    out.mkdir()
    for name in ("a.safetensors", "b.safetensors", "d.safetensors", "v1.0-state", "d-2.safetensors"):
        (out / name).touch()
    own = job.own_files()
    places = {
        "a.safetensors": "a-2.safetensors",
        "b.safetensors": "b.safetensors",
        "c-state": "c-state",
        "d.safetensors": "d-3.safetensors",
        "v1.0-state": "v1.0-2-state",
        "e.ckpt": "e.ckpt",
    }
    assert {name: own.place_for(out / name).name for name in places} == places
    own.add(out / "d-3.safetensors")
    assert own.placed(out / "d.safetensors") == out / "d-3.safetensors"


@pytest.mark.parametrize(
    "started",
    [
        *(
            Started(3, 1, 1, "cpu", {"final_name": name})
            for name in ("../models/x.safetensors", "a/b.ckpt", ".safetensors", "", "C:x.ckpt", 7)
        ),
        Started(3, 1, "x", "cpu", {"final_name": "x.safetensors"}),  # pyright: ignore[reportArgumentType]  # wrong on purpose
        Started(3, 1, -1, "cpu", {"final_name": "x.safetensors"}),
        Started(3, 1, 1, "cpu", [1]),  # pyright: ignore[reportArgumentType]  # wrong on purpose
        Started(3, 1, 1, "cpu", {"final_name": "x.safetensors"}, -4),
    ],
)
def test_events_of_a_stranger_begin_nothing(job: JobFolder, started: Started):
    log = job.event_log()
    log.emit(started)
    log.emit(Saved(1, 0, [7], 1))  # pyright: ignore[reportArgumentType]  # wrong on purpose
    log.close()
    assert job.begun() is None
    assert job.own_files().placed(Path("x")) is None
