"""The line of waiting jobs: no run twice by mistake, and after Stop it waits until someone says go on."""

from __future__ import annotations

import threading

import pytest

from app.answers.runs import RunAnswers
from app.jobs.glance import glance
from app.jobs.store import JobStore
from tests.app.conftest import wait_for, wait_until
from trainer.errors import UserError
from trainer.tools.table import TOOLS


def at_work(store, settings):
    """A long run that has begun to train."""
    job = store.start(settings("seconds=0.1", max_train_steps=2000))
    wait_for(lambda: job.last_step() > 0)
    return job


def stopped_with_one_waiting(store, settings):
    """The job that waits behind a run that a person has stopped."""
    first = at_work(store, settings)
    second = store.start(settings(output_name="second"))
    RunAnswers(store).stop({})
    wait_until(first, "stopped")
    return second


def test_the_same_settings_are_not_put_in_line_twice_by_mistake(store, settings):
    chosen = settings("seconds=0.2", max_train_steps=500)
    first = store.start(chosen, twice=False)
    with pytest.raises(UserError) as running:
        store.start(chosen, twice=False)
    assert running.value.message.code in ("page.same_running", "page.same_queued")
    other = store.start(settings(output_name="other"), twice=False)
    with pytest.raises(UserError) as queued:
        store.start(settings(output_name="other"), twice=False)
    assert queued.value.message.code == "page.same_queued"
    store.start(settings(output_name="other"))
    assert len(store.queue()) == 2
    other.stop()
    first.kill()


def test_of_two_presses_at_once_one_counts(store, settings):
    chosen, done = settings("seconds=0.2", max_train_steps=500), []

    def press() -> None:
        try:
            done.append(store.start(chosen, twice=False).id)
        except UserError as error:
            done.append(error.message.code)

    both = [threading.Thread(target=press) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(store.jobs()) == 1
    assert sum(name.startswith("page.same_") for name in done) == 1
    store.jobs()[0].kill()


def test_stop_lets_the_line_wait_also_for_a_new_start_of_the_program(store, settings):
    second = stopped_with_one_waiting(store, settings)
    again = JobStore(store.workspace, trainer=store.trainer)
    assert again.tend() is None
    assert again.waits()
    assert second.state == "queued"
    alone = again.start(settings(output_name="alone"))  # what a person starts now begins by itself
    wait_until(alone, "finished")
    assert again.tend() is None
    assert second.state == "queued"
    RunAnswers(again).act({"do": "go_on"})
    wait_until(second, "finished")
    assert not again.waits()


def test_a_line_that_was_emptied_waits_no_more(store, settings):
    second = stopped_with_one_waiting(store, settings)
    second.stop()
    store.tend()
    third = store.start(settings(output_name="third"))
    fourth = store.start(settings(output_name="fourth"))
    wait_for(lambda: (store.tend(), third.state == fourth.state == "finished")[1])


def test_pause_is_told_apart_from_stop_and_goes_on_where_it_was(store, settings):
    job = store.start(settings("seconds=0.1", max_train_steps=100))
    waiting = store.start(settings(output_name="waiting"))
    wait_for(lambda: job.last_step() > 2)
    answers = RunAnswers(store)
    for wish in ("save", "sample"):
        answers.act({"do": wish, "job": job.id})
    wait_for(lambda: len(job.record().lora_files()) == 1)
    wait_for(lambda: not job.folder.wish_file("sample").exists())
    answers.act({"do": "pause", "job": job.id})
    wait_until(job, "stopped")
    assert job.paused
    shown = answers.live({"lang": "en"})
    assert shown["parts"]["outcome"]["title"].startswith("Paused at step")
    assert glance(job, "en")["state"] == "paused"
    assert waiting.state == "queued", "the card is free while it is paused"
    step = job.last_step()
    job.folder.write_json(job.folder.settings_file, {**job.settings(), "training_comment": ""})
    answers.act({"do": "continue", "job": job.id})
    wait_until(job, "finished")
    assert not job.paused
    assert list(job.record().curves.steps) == list(range(1, 101))
    assert job.record().started.first_step == step


def test_a_tool_that_needs_no_card_runs_beside_a_training_and_others_wait(store, settings, tmp_path):
    training = at_work(store, settings)
    verified = {"lora": str(tmp_path / "a.safetensors")}
    given = {"verify": verified, "extract": {}}
    forms = {name: TOOLS[name].schema.read(values) for name, values in given.items()}
    ended = []
    store.making_room.append(lambda: ended.append(True))
    beside = store.start(forms["verify"], "verify", "a")
    waiting = store.start(forms["extract"], "extract", "b")
    assert (beside.state, waiting.state) == ("running", "queued")
    assert not ended, "what draws on trial goes on"
    assert store.running().id == store.current().id == training.id
    RunAnswers(store).act({"do": "stop_beside", "job": training.id})  # only what is light is stopped so
    assert not training.stopping
    RunAnswers(store).act({"do": "stop_beside", "job": beside.id})
    wait_until(beside, "stopped")
    assert (training.state, waiting.state) == ("running", "queued")
    assert not store.waits(), "the line goes on after it"
    waiting.stop()
    training.kill()


def test_alone_a_tool_that_needs_no_card_is_what_is_looked_at(store, settings, tmp_path):
    tool = store.start(TOOLS["verify"].schema.read({"lora": str(tmp_path / "a.safetensors")}), "verify", "a")
    assert store.current().id == tool.id
    training = store.start(settings("seconds=0.1", max_train_steps=2000))
    assert training.state == "running", "nobody waits for it"
    tool.stop()
    wait_until(tool, "stopped")
    training.kill()
