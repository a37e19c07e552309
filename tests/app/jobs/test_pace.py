"""The time of a run, judged by past runs of the same kind; nothing is said without one."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from app.form.look import look
from app.jobs import pace
from app.jobs.store import Job, JobStore
from tests.trainer.runs import DEMO
from trainer.events import EventLog, Phase, Started, Step
from trainer.files.job_folder import JobFolder
from trainer.preflight import check
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]


@pytest.fixture
def wanted(settings: MakeSettings) -> Callable[..., Settings]:
    def make(**values: object) -> Settings:
        demo = {
            "pretrained_model_name_or_path": str(DEMO / "model"),
            "train_data_dir": str(DEMO / "pictures"),
            "max_resolution": "128,128",
            "train_batch_size": 2,
            "max_train_steps": 100,
        }
        return settings(**{**demo, **values})

    return make


def past(store: JobStore, settings: Settings, *, each: float, before: float = 10.0, steps: int = 40) -> Job:
    """A run that took so many seconds per step, an hour ago."""
    folder = JobFolder.create(store.workspace, settings)
    plan = check.check(settings).plan
    assert plan
    log = EventLog(folder.events_file)
    started = Started(plan.total_steps, 1, 1, "CPU", plan.as_json())
    events = [Phase("start"), started, *(Step(step, 1, 0.1, {"unet": 1e-4}) for step in range(1, steps + 1))]
    moments = iter([0.0, *(before + each * count for count in range(len(events)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.events.steady", lambda: next(moments))
        for event in events:
            log.emit(event)
    log.close()
    os.utime(folder.events_file, (1, 1))
    return Job(folder, store)


def seconds(store: JobStore, settings: Settings) -> float | None:
    plan = check.check(settings).plan
    assert plan
    return pace.estimate(store, settings, plan)


def test_nothing_is_said_without_a_past_run(store: JobStore, wanted: MakeSettings):
    assert seconds(store, wanted()) is None


def test_time_goes_with_steps_and_pixels(store: JobStore, wanted: MakeSettings):
    past(store, wanted(), each=0.5)
    assert seconds(store, wanted(max_train_steps=100)) == pytest.approx(10 + 50)
    assert seconds(store, wanted(max_train_steps=200)) == pytest.approx(10 + 100)
    assert seconds(store, wanted(train_batch_size=4)) == pytest.approx(10 + 100)


@pytest.mark.parametrize(
    "change", [{"mixed_precision": "no"}, {"gradient_checkpointing": True}, {"text_encoder_lr": 0}]
)
def test_another_kind_of_run_says_nothing(store: JobStore, wanted: MakeSettings, change: dict[str, object]):
    past(store, wanted(mixed_precision="bf16"), each=0.5)
    assert seconds(store, wanted(**{"mixed_precision": "bf16", **change})) is None


def test_the_newest_run_counts_and_short_or_broken_ones_do_not(store: JobStore, wanted: MakeSettings):
    past(store, wanted(output_name="a"), each=9.0)
    past(store, wanted(output_name="b"), each=1.0)
    past(store, wanted(output_name="c"), each=5.0, steps=3)
    past(store, wanted(output_name="d"), each=5.0).folder.events_file.write_bytes(b"\xff\n{}\n")
    assert seconds(store, wanted()) == pytest.approx(10 + 100)


def test_the_bar_says_it(store: JobStore, wanted: MakeSettings):
    past(store, wanted(), each=6.0)
    told = look(wanted().flat(), "en", lambda settings, plan: pace.estimate(store, settings, plan))
    assert told["bar"]["head"] == "100 steps, about 10 min"
