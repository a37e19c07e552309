"""The live view's answers: only what is new, thinned, in the reader's words."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app import texts as wording
from app.answers import Answers
from app.jobs import compare, live
from app.jobs.glance import glance
from app.jobs.record import Curves, JobRecord
from app.jobs.store import Job, JobStore
from trainer.events import (
    EventLog,
    Failed,
    Finished,
    Judged,
    Notice,
    Phase,
    Removed,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
)
from trainer.files.identity import Identity
from trainer.files.job_folder import JobFolder
from trainer.messages import LANGUAGES
from trainer.settings import Settings

PLAN = {
    "sample_steps": [0, 50, 100],
    "samples": 2,
    "folders": [{"name": "10_sks cat", "is_reg": False}],
    "saves": [],
}


@pytest.fixture
def job(store: JobStore, tmp_path: Path) -> Job:
    """A job whose events the test writes itself."""
    flat = {"output_dir": str(tmp_path), "output_name": "cat", "sample_prompts": "one\ntwo --n bad"}
    return Job(JobFolder.create(store.workspace, Settings.from_flat(flat)), store)


def write(job: Job, *events) -> None:
    log = EventLog(job.folder.events_file)
    for event in events:
        log.emit(event)
    log.close()


def forget(job: Job) -> None:
    """Begin a job's events anew."""
    job.folder.events_file.write_bytes(b"")
    job.record()


def steps(first: int, last: int):
    return [
        Step(step, 1, 1 / step, {"text_encoder": 5e-5, "unet": 1e-4}, 0.5, 10**9)
        for step in range(first, last + 1)
    ]


def cursor(told: dict) -> dict:
    """The cursor that the browser sends after an answer."""
    kept = {"job": told["job"], "key": told["key"], "lang": "en"}
    for part, name, key in (("curve", "at", "point"), ("log", "at", "line"), ("parts", "version", "version")):
        if part in told:
            kept[key] = told[part][name]
    return kept


def test_second_answer_has_only_what_is_new(job: Job):
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN), Phase("train", 0, 100), *steps(1, 5))
    first = live.news_of(job, {"lang": "en"})
    assert first["curve"]["step"] == [1, 2, 3, 4, 5]
    assert first["now"]["total"] == 100
    second = live.news_of(job, cursor(first))
    assert not {"curve", "log", "parts"} & set(second)
    write(job, *steps(6, 7))
    third = live.news_of(job, cursor(first))
    assert third["curve"]["step"] == [6, 7]
    assert len(json.dumps(third)) < 1200


def test_changed_language_or_server_sends_all_again(job: Job):
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN), *steps(1, 5))
    told = live.news_of(job, {"lang": "en"})
    assert live.news_of(job, {**cursor(told), "lang": "ja"})["fresh"]
    assert live.news_of(job, {**cursor(told), "key": "other.1.en"})["curve"]["step"] == [1, 2, 3, 4, 5]
    assert live.news_of(job, {**cursor(told), "job": "other"})["fresh"]


def test_rewritten_events_are_read_anew(job: Job):
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN), *steps(1, 50))
    told = live.news_of(job, {"lang": "en"})
    job.folder.events_file.write_bytes(b"")
    write(job, Phase("start"), *steps(1, 2))
    assert live.news_of(job, cursor(told))["curve"]["step"] == [1, 2]


def test_a_run_that_continues_cuts_the_curve(job: Job):
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN), *steps(1, 50))
    told = live.news_of(job, {"lang": "en"})
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN, 40), *steps(41, 43))
    again = live.news_of(job, cursor(told))
    assert again["curve"]["again"]
    assert again["curve"]["step"] == list(range(1, 44))


@pytest.mark.parametrize(
    "bad", [None, [], "x", {"point": "a", "line": None, "version": [], "key": 5, "job": {}}]
)
def test_any_cursor_is_answered(store: JobStore, job: Job, bad: Any):
    write(job, Phase("start"), *steps(1, 3))
    answers = Answers(store)
    assert answers.questions["live"](bad)["job"] == job.id
    assert "error" in answers.questions["act"](bad)
    assert answers.questions["show"](bad)["runs"] == []


def test_hundred_thousand_steps_are_thinned_and_read_once(job: Job):
    fixed = {"epoch": 1, "lr": {"unet": 1e-4}, "grad_norm": 0.1, "memory": 1}
    lines = [
        json.dumps({"event": "step", "time": step / 10, "step": step, "loss": 0.1 + step % 7 / 100, **fixed})
        for step in range(1, 100_001)
    ]
    job.folder.events_file.write_text("\n".join(lines) + "\n")
    told = live.news_of(job, {"lang": "en"})
    curve = told["curve"]
    assert curve["at"] == 100_000
    assert len(curve["step"]) <= 800
    assert (curve["step"][0] <= 14, curve["step"][-1]) == (True, 100_000)
    assert min(curve["loss"]) == 0.1, "the lowest and the highest point of each stretch stay"
    assert max(curve["loss"]) == 0.16
    write(job, *steps(100_001, 100_100))
    assert len(live.news_of(job, cursor(told))["curve"]["step"]) <= live.NEXT_POINTS


def test_thinned_keeps_order_and_peaks():
    curves = Curves()
    for step in range(1, 1001):
        curves.add(step, 9.0 if step == 500 else 1.0, {"unet": 1e-4})
    chosen = curves.thinned(0, 100)
    assert chosen == sorted(chosen)
    assert 499 in chosen
    assert chosen[-1] == 999
    assert curves.thinned(998, 100) == [998, 999]


def test_smoothed_begins_as_a_plain_mean():
    curves = Curves()
    for step, loss in enumerate([4.0, 2.0, 0.0], 1):
        curves.add(step, loss, {})
    assert list(curves.smoothed) == pytest.approx([4.0, 3.0, 2.0])


def test_time_left_counts_pictures_in(job: Job, monkeypatch: pytest.MonkeyPatch):
    record = JobRecord(job.folder.events_file)
    moment = 1000.0

    def line(event: str, seconds: float, **values: object) -> str:
        nonlocal moment
        moment += seconds
        return json.dumps({"event": event, "time": moment, **values})

    lines = [
        line("phase", 0, name="start"),
        line("started", 1, total_steps=100, epochs=1, seed=1, device="cpu", plan=PLAN),
        line("phase", 0, name="sample"),
        line("sampled", 3, step=0, index=0, prompt="one", path="samples/a.png"),
        line("sampled", 3, step=0, index=1, prompt="two", path="samples/b.png"),
        *(
            line("step", 0.5, step=step, epoch=1, loss=1.0, lr={}, grad_norm=0, memory=0)
            for step in range(1, 41)
        ),
    ]
    job.folder.events_file.write_text("\n".join(lines) + "\n")
    now = 1000.0
    monkeypatch.setattr("trainer.events.steady", lambda: now)
    record.read()
    assert record.remaining() == pytest.approx(60 * 0.5 + 4 * 3)
    now += 10
    assert record.elapsed(at_work=True) == pytest.approx(37)
    assert record.elapsed(at_work=False) == pytest.approx(27)


@pytest.mark.parametrize("jump", [-4e8, -30, 3600, 4e8])
def test_the_clock_is_set_while_a_run_works(job: Job, monkeypatch: pytest.MonkeyPatch, jump: float):
    clock, passed = time.time(), 5000.0
    monkeypatch.setattr("time.time", lambda: clock + passed)
    monkeypatch.setattr("trainer.events.steady", lambda: passed)
    log = EventLog(job.folder.events_file)
    for at, event in enumerate([Phase("start"), Started(100, 2, 42, "cpu", PLAN), *steps(1, 20)]):
        passed += 1
        clock += jump * (at == 10)
        log.emit(event)
    log.close()
    record = job.record()
    assert record.remaining() == pytest.approx(80)
    passed += 3
    assert record.elapsed(at_work=True) == pytest.approx(21 + 3)
    job._write_end(Stopped(20))
    assert job.record().elapsed(at_work=False) == pytest.approx(21)


def test_pause_between_two_processes_is_no_work(job: Job):
    lines = []
    for moment, name in ((0, "start"), (10, "train"), (1000, "start"), (1005, "train")):
        lines.append(json.dumps({"event": "phase", "time": 1e9 + moment, "name": name}))
    job.folder.events_file.write_text("\n".join(lines) + "\n")
    assert job.record().elapsed(at_work=False) == pytest.approx(15)


def test_the_list_of_runs_counts_no_pause(job: Job):
    lines = []
    for moment, name in ((0, "start"), (10, "train"), (1000, "start"), (1005, "train"), (2000, "start")):
        lines.append(json.dumps({"event": "phase", "time": 1e9 + moment, "name": name}))
    lines.append(json.dumps({"event": "finished", "time": 1e9 + 2003, "step": 20, "path": ""}))
    job.folder.events_file.write_text("\n".join(lines) + "\n")
    assert glance(job, "en")["seconds"] == 10 + 5 + 3


PAUSED = {"event": "stopped", "time": 1e9 + 20, "step": 4, "path": "", "paused": True}
LAST_STEP = {
    "event": "step",
    "time": 1e9 + 20,
    "step": 4,
    "epoch": 1,
    "loss": 0.1,
    "lr": {},
    "grad_norm": 0,
    "memory": 0,
}


@pytest.mark.parametrize("last", [PAUSED, LAST_STEP], ids=["paused", "killed"])
def test_a_run_that_is_continued_begins_and_counts_no_pause_before_its_process_tells(job: Job, last: dict):
    events = [
        {"event": "phase", "time": 1e9, "name": "start"},
        {"event": "phase", "time": 1e9 + 10, "name": "train", "done": 4, "total": 20},
        last,
    ]
    file = job.folder.events_file
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    job.folder.write_json(job.begun_file, {"events": file.stat().st_size})
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        job.folder.write_json(job.folder.process_file, Identity.of(process.pid).as_json())
        now = live.progress(job, job.record(), job.state)
        assert (now["phase"], now["elapsed"], now["left"], now["phases"]) == ("start", 20, None, [])
        assert compare.detail(job, "en")["seconds"] == 20
        with file.open("a") as more:
            more.write(json.dumps({"event": "phase", "time": time.time(), "name": "start"}) + "\n")
        assert 20 <= live.progress(job, job.record(), job.state)["elapsed"] < 1e6, "the pause would be years"
        process.communicate("\n")


def test_files_and_samples(job: Job, tmp_path: Path):
    kept, gone = tmp_path / "cat-000001.safetensors", tmp_path / "cat-000002.safetensors"
    kept.write_bytes(b"x")
    write(
        job,
        Started(100, 2, 42, "cpu", PLAN),
        Sampled(50, 1, "two", "samples/00000050_01.png", 7),
        Saved(50, 1, str(kept), 434_000),
        Saved(60, 1, str(gone), 434_000),
        Removed(str(gone)),
    )
    parts = live.news_of(job, {"lang": "en"})["parts"]
    assert [file["name"] for file in parts["files"]] == ["cat-000001.safetensors"]
    assert parts["samples"] == [[50, 1, f"/live/{job.id}/sample/00000050_01.png?7"]]
    assert parts["prompts"][1] == "two"
    assert parts["sample_steps"] == [0, 50, 100]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_end_has_its_words(job: Job, tmp_path: Path, language: str):
    path = tmp_path / "cat.safetensors"
    path.write_bytes(b"x" * 1000)
    ends = {
        "finished": Finished(100, str(path)),
        "stopped": Stopped(60, str(path)),
        "failed": Failed("training.out_of_memory", {}, "train_batch_size"),
    }
    told: dict = {}
    for state, end in ends.items():
        forget(job)
        write(
            job,
            Phase("start"),
            Started(100, 2, 42, "cpu", PLAN),
            *steps(1, 60),
            Saved(60, 1, str(path), 1000),
            end,
        )
        told = live.news_of(job, {"lang": language})["parts"]["outcome"]
        assert told["kind"] == state == job.state
        assert told["title"]
        assert told["facts"]
    assert told["setting"] == {"key": "train_batch_size", "label": "Train batch size"}
    assert told["fix"]
    forget(job)
    write(job, Phase("start"), Finished(100, str(path)))
    use = live.news_of(job, {"lang": language})["parts"]["outcome"]["use"]
    assert use["prompt"].startswith("<lora:cat:0.8>")


def test_a_killed_trainer_says_memory(job: Job):
    write(job, Phase("start"), Started(100, 2, 42, "cpu", PLAN), *steps(1, 9))
    job.folder.write_json(job.exit_file, {"code": -9})
    told = live.news_of(job, {"lang": "en"})["parts"]["outcome"]
    assert told["kind"] == "lost"
    assert "memory" in told["facts"]
    assert "Train batch size" in told["fix"]


def test_log_speaks_the_readers_language(job: Job):
    write(
        job,
        Notice("training.latents_cached", {"reused": 3, "encoded": 9}),
        Notice("training.newer", {"a": 1}),
    )
    english, japanese = (live.news_of(job, {"lang": code})["log"]["lines"] for code in ("en", "ja"))
    assert english[0][2] != japanese[0][2]
    assert english[1][2] == "training.newer: a = 1", "a code of a newer trainer is shown, not fatal"


@pytest.mark.parametrize(
    ("seconds", "english", "japanese"),
    [
        (0, "0 s", "0 秒"),
        (41.4, "41 s", "41 秒"),
        (1072, "17 min 52 s", "17 分 52 秒"),
        (11_100, "3 h 5 min", "3 時間 5 分"),
    ],
)
def test_durations(seconds: float, english: str, japanese: str):
    assert wording.duration(seconds, "en") == english
    assert wording.duration(seconds, "ja") == japanese


def test_sizes():
    assert [wording.size(count) for count in (434_000, 1_300_000, 19_000_000, 8e9)] == [
        "434 kB",
        "1.3 MB",
        "19 MB",
        "8.0 GB",
    ]


def test_settings_side_by_side(store: JobStore, job: Job, tmp_path: Path):
    own = {"unet_lr": 5e-5, "text_encoder_lr": (1e-3, 5e-4), "cache_latents": False}
    flat = {"output_dir": str(tmp_path), "output_name": "dog", **own}
    other = Job(JobFolder.create(store.workspace, Settings.from_flat(flat)), store)
    told = compare.show_jobs(store, [job.id, other.id], "", "en")
    rows = {row["key"]: tuple(row["values"]) for row in told["rows"]}
    assert rows["unet_lr"] == ("1e-4", "5e-5")
    assert rows["text_encoder_lr"][1] == "1e-3 5e-4"
    assert rows["cache_latents"] == ("on", "off")
    assert rows["sample_prompts"][1] == "blank"
    assert told["differ"] == len(rows)
    everything = compare.show_jobs(store, [job.id, other.id], "", "en", everything=True)
    assert len(everything["rows"]) > 150


@pytest.mark.parametrize("last", ["finished", "stopped"])
def test_an_ended_run_names_the_file_to_take_in_jobs_as_in_run(
    job: Job, store: JobStore, tmp_path: Path, last: str
):
    events: list[Any] = [Started(40, 4, 42, "cpu", PLAN)]
    for epoch, gain in enumerate((0.1, 0.5, 0.2, 0.1), 1):
        path = tmp_path / f"cat-{epoch:06d}.safetensors"
        path.write_bytes(b"")
        logs = [math.log(1 - gain)] * 8
        events += [Judged(10 * epoch, epoch, logs, logs, 0.0), Saved(10 * epoch, epoch, str(path), 9)]
    newest = str(tmp_path / "cat-000004.safetensors")
    end = Finished(40, newest) if last == "finished" else Stopped(40, newest)
    write(job, Phase("start"), *events, end)
    run = compare.show_jobs(store, [job.id], "", "en")["runs"][0]
    assert run["judged"]["file"] == "cat-000002.safetensors"
    assert run["judged"] == live.news_of(job, {"lang": "en"})["parts"]["judged"]


def test_reading_again_costs_nothing_when_nothing_is_new(job: Job):
    write(job, *steps(1, 50))
    record = job.record()
    before = record.offset
    assert job.record() is record
    assert record.offset == before


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Saved(0, 0, "/out/training", 0, "folder"), "Made the folder training"),
        (Saved(0, 0, "/out/model.safetensors", 2_000_000, "model"), "Saved model.safetensors, 2.0 MB"),
        (Saved(5, 0, "/jobs/a/state", 61_000_000, "state"), "Saved the state of step 5"),
        (Saved(5, 0, "/jobs/a/state", 61_000_000, "safety"), "Saved the state of step 5"),
        (Stopped(0), "Stopped"),
        (Stopped(5), "Stopped at step 5"),
    ],
)  # fmt: skip
def test_what_a_tool_has_made_is_no_state_and_has_no_step(event: Saved | Stopped, line: str):
    assert wording.log_line(event, "en")[1] == line
