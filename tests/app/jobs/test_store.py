"""Jobs with real processes: states, stop, kill, queue, continue, two programs on one workspace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.jobs.store import Job, JobStore
from tests.app.conftest import FAKE, wait_for, wait_until
from trainer.events import Finished, Saved, Stopped, read_events
from trainer.files.identity import Identity
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]


def test_run_goes_from_start_to_finished(store: JobStore, settings: MakeSettings):
    job = store.start(settings())
    assert job.state == "running"
    wait_until(job, "finished")
    record = job.record()
    assert isinstance(record.end, Finished)
    assert list(record.curves.steps) == list(range(1, 21))
    assert Path(record.end.path).exists()
    wait_for(lambda: job.exit_code() == 0)
    assert json.loads(job.folder.settings_file.read_text())["output_name"] == "mascot"
    assert "fake trainer: job" in job.folder.log_file.read_text()


def test_stop_ends_after_the_step_and_keeps_a_file(store: JobStore, settings: MakeSettings):
    job = store.start(settings("seconds=0.05", max_train_steps=2000))
    wait_for(lambda: job.record().step >= 2)
    job.stop()
    assert job.stopping or job.state == "stopped"
    wait_until(job, "stopped")
    end = job.record().end
    assert isinstance(end, Stopped)
    assert 2 <= end.step < 2000
    assert Path(end.path).exists()


def test_kill_ends_a_process_deaf_to_stop(store: JobStore, settings: MakeSettings):
    job = store.start(settings("seconds=0.02 hang", max_train_steps=100_000))
    wait_for(lambda: job.record().step >= 3)
    job.stop()
    identity = job.identity()
    assert identity is not None
    job.kill()
    assert not identity.alive()
    assert job.state == "stopped"


def test_failure_is_failed_with_its_reason(store: JobStore, settings: MakeSettings):
    job = store.start(settings("fail=5"))
    wait_until(job, "failed")
    assert job.last_step() == 5


def test_a_process_that_dies_without_a_word_is_lost(store: JobStore, settings: MakeSettings):
    job = store.start(settings("crash=5"))
    wait_until(job, "lost")
    wait_for(lambda: job.exit_code() == 17)
    assert store.current() == job


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_by_the_system_is_known_by_its_signal(store: JobStore, settings: MakeSettings):
    job = store.start(settings("seconds=0.05", max_train_steps=1000))
    wait_for(lambda: job.record().step >= 2)
    identity = job.identity()
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    wait_until(job, "lost")
    wait_for(lambda: job.exit_code() == -9)


def test_continue_goes_on_with_one_curve(store: JobStore, settings: MakeSettings):
    job = store.start(settings("crash=13", max_train_steps=20))
    wait_until(job, "lost")
    assert job.can_continue()
    flat = {**job.settings(), "training_comment": ""}
    job.folder.write_json(job.folder.settings_file, flat)
    store.resume(job)
    wait_until(job, "finished")
    record = job.record()
    assert list(record.curves.steps) == list(range(1, 21))
    assert record.started is not None
    assert record.started.first_step == 10
    assert "fake trainer: resume" in job.folder.log_file.read_text()


def test_continue_of_a_stopped_job_is_seen_as_running(store: JobStore, settings: MakeSettings):
    job = store.start(settings("seconds=0.05", max_train_steps=40))
    wait_for(lambda: job.record().step >= 2)
    job.stop()
    wait_until(job, "stopped")
    store.resume(job)
    assert job.state == "running"
    assert not job.folder.stop_requested()
    wait_until(job, "finished")


def test_line_is_worked_off_in_order_and_a_failure_does_not_stop_it(store: JobStore, settings: MakeSettings):
    first = store.start(settings("fail=4", output_name="first"))
    second = store.start(settings(output_name="second"))
    third = store.start(settings(output_name="third"))
    assert [job.name for job in store.queue()] == ["second", "third"]
    assert second.state == "queued"
    store.move(third.id, -1)
    assert [job.name for job in store.queue()] == ["third", "second"]
    store.tend_forever(0.05)
    wait_until(second, "finished")
    assert (first.state, third.state) == ("failed", "finished")
    assert third.record().began < second.record().began


def test_line_survives_a_restart(store: JobStore, settings: MakeSettings):
    first = store.start(settings("seconds=0.05", output_name="first"))
    store.start(settings(output_name="second"))
    again = JobStore(store.workspace, FAKE)
    assert [job.name for job in again.queue()] == ["second"]
    running = again.running()
    assert running is not None
    assert running.id == first.id
    wait_until(first, "finished")
    begun = again.tend()
    assert begun is not None
    wait_until(begun, "finished")


def test_taking_a_waiting_job_out_of_the_line(store: JobStore, settings: MakeSettings):
    store.start(settings("seconds=0.05", max_train_steps=500))
    waiting = store.start(settings(output_name="waiting"))
    waiting.stop()
    assert waiting.state == "stopped"
    assert store.queue() == []


def test_two_programs_never_begin_one_job_twice(store: JobStore, settings: MakeSettings):
    with store.lock():  # nothing begins while we fill the line
        for number in range(4):
            job = Job(_folder(store, settings(output_name=f"n{number}")), store)
            job.folder.write_json(job.queue_file, {"place": number, "verb": "job"})
    script = (
        "import sys, time; from pathlib import Path; from app.jobs.store import JobStore\n"
        "store = JobStore(Path(sys.argv[1]), sys.argv[2:]); end = time.time() + 60\n"
        "while time.time() < end and (store.queue() or store.running()): store.tend(); time.sleep(.01)\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script, str(store.workspace), *FAKE]
    others = [subprocess.Popen(command, cwd=root) for _ in range(3)]
    most = 0
    while any(other.poll() is None for other in others):
        most = max(most, sum(job.state == "running" for job in store.jobs()))
    assert [other.returncode for other in others] == [0, 0, 0]
    assert most == 1
    for job in store.jobs():
        log = job.folder.log_file.read_text()
        assert log.count("fake trainer") == 1, "begun once"
        assert job.state == "finished"


def _folder(store: JobStore, settings: Settings):
    from trainer.files.job_folder import JobFolder

    return JobFolder.create(store.workspace, settings)


def test_training_survives_the_page(tmp_path: Path, store: JobStore, settings: MakeSettings):
    """A job begun by a server that is killed goes on, and the next server finds it."""
    preset = tmp_path / "settings.json"
    preset.write_text(json.dumps(settings("seconds=0.03", max_train_steps=60).flat()))
    script = (
        "import sys, json, time; from pathlib import Path; from app.jobs.store import JobStore\n"
        "from trainer.settings import Settings\n"
        "store = JobStore(Path(sys.argv[1]), sys.argv[3:])\n"
        "store.start(Settings.from_flat(json.loads(Path(sys.argv[2]).read_text()))); time.sleep(600)\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script, str(store.workspace), str(preset), *FAKE]
    page = subprocess.Popen(command, cwd=root)
    wait_for(lambda: (job := store.running()) is not None and job.record().step >= 2)
    page.kill()
    page.wait()
    job = store.current()
    assert job is not None
    assert job.state == "running"
    wait_until(job, "finished")
    assert list(job.record().curves.steps) == list(range(1, 61))


def test_a_reused_pid_is_not_the_job(store: JobStore, settings: MakeSettings):
    job = store.start(settings("crash=3"))
    wait_until(job, "lost")
    me = psutil.Process()
    job.folder.write_json(job.folder.process_file, {"pid": me.pid, "started": me.create_time() - 3600})
    assert job.state == "lost"
    assert Identity(me.pid, me.create_time()).alive()


@pytest.mark.parametrize("seconds", [-3600, -30, 30, 3600])
def test_a_job_lives_on_when_the_clock_is_set(
    store: JobStore, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, seconds: float
):
    """Summer time, a wrong time zone, a server that sets the clock: the queue begins nothing beside it."""
    job = store.start(settings("seconds=0.05", max_train_steps=100_000))
    wait_for(lambda: job.record().step >= 1)
    told = json.loads(job.folder.process_file.read_text())
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + seconds)
    assert job.state == "running"
    waiting = store.start(settings())
    assert store.tend() is None
    assert waiting.state == "queued"
    assert json.loads(job.folder.process_file.read_text()) == told
    store.remove(waiting)
    waiting.stop()


def test_a_trainer_that_the_page_cannot_see_is_known_by_its_lock(store: JobStore, settings: MakeSettings):
    """It runs in a container or on another machine, on the same disk."""
    job = store.start(settings("crash=3"))
    wait_until(job, "lost")
    lock = job.folder.hold()
    assert lock
    assert job.state == "running"
    lock.release()
    assert job.state == "lost"


def test_a_torn_line_does_not_swallow_the_next(store: JobStore, settings: MakeSettings):
    job = store.start(settings("crash=6"))
    wait_until(job, "lost")
    with job.folder.events_file.open("ab") as file:
        file.write(b'{"event": "step", "time": 1')
    store.get(job.id)
    job._write_end(Stopped(6))
    assert job.state == "stopped"
    events = [event for _, _, event in read_events(job.folder.events_file)]
    assert events[-1] == Stopped(6)


def test_damaged_folders_do_no_harm(store: JobStore, settings: MakeSettings):
    (store.root / "stray.txt").write_text("x")
    (store.root / "empty").mkdir()
    odd = store.root / "20260101-000000-odd"
    odd.mkdir()
    (odd / "settings.json").write_text("[1, 2")
    (odd / "process.json").write_text('{"pid": "x"}')
    (odd / "queue.json").write_text("null")
    (odd / "events.jsonl").write_bytes(
        b"\xff\xfe{}\nnull\n[]\n" + b'{"event": "step", "time": "x", "loss": {}}\n'
    )
    assert [job.id for job in store.jobs()] == [odd.name]
    job = store.jobs()[0]
    assert job.name == odd.name
    assert job.record().step == 0
    assert store.get("../jobs") is None
    assert store.get("..") is None


def test_record_reads_what_is_appended_only(store: JobStore, settings: MakeSettings):
    job = store.start(settings("seconds=0.03"))
    seen: list[int] = []
    reader = threading.Thread(
        target=lambda: [seen.append(len(job.record().curves.steps)) for _ in range(200)]
    )
    reader.start()
    while job.state == "running":
        seen.append(len(job.record().curves.steps))
    reader.join()
    wait_until(job, "finished")
    assert len(job.record().curves.steps) == 20
    assert [file for file in job.record().lora_files() if isinstance(file, Saved)]
    assert job.record().offset == job.folder.events_file.stat().st_size
