"""A run judged while it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.runs import events, run, short_settings
from trainer.events import Finished, Judged, Notice, Saved, Started, Step
from trainer.files.job_folder import JobFolder
from trainer.plan.inputs import read_inputs
from trainer.training import build, judging

JUDGED = {"validation_split": 0.25, "save_every_n_steps": 2, "max_train_steps": 6, "train_batch_size": 2}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Events of a judged run at a rate that learns a lot in few steps."""
    job, code = run(tmp_path_factory.mktemp("judged"), unet_lr=0.005, cache_latents=True, **JUDGED)
    assert code == 0, job.events_file.read_text()
    return events(job)


def test_pictures_kept_back_are_not_learned(told: list[Any]):
    [started] = [event for event in told if isinstance(event, Started)]
    assert started.plan["images"] == 9
    assert len(started.plan["judging"]["held_out"]) == 3
    assert len(set(started.plan["judging"]["held_out"])) == 3


def test_the_run_is_judged_after_its_files(told: list[Any]):
    judged = [event for event in told if isinstance(event, Judged)]
    files = [event.step for event in told if isinstance(event, Saved) and event.kind == "lora"]
    assert [event.step for event in judged] == files == [2, 4, 6]
    assert all(len(event.held_out) == len(event.learned) >= 4 for event in judged)


def test_what_was_learned_shows(told: list[Any]):
    first, *_, last = [event for event in told if isinstance(event, Judged)]
    mean = lambda values: sum(values) / len(values)  # noqa: E731  # reads best here
    assert mean(last.learned) < 0
    assert 0 < first.drift < last.drift


def test_judging_changes_nothing_of_what_is_learned(tmp_path: Path):
    def weights(name: str, **changes: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
        same = {
            "validation_split": 0.25,
            "max_train_steps": 4,
            "network_dropout": 0.3,
            "shuffle_caption": True,
        }
        job, code = run(tmp_path / name, **{**same, **changes})
        assert code == 0
        losses = [event.loss for event in events(job) if isinstance(event, Step)]
        return losses, load_file(tmp_path / name / "out" / "mascot.safetensors")

    often, rarely = weights("often", validate_every_n_steps=1), weights("rarely", validate_every_n_steps=4)
    assert often[0] == rarely[0]
    assert all(torch.equal(tensor, rarely[1][name]) for name, tensor in often[1].items())


def test_a_run_that_gets_no_better_stops_where_that_is_asked_for(tmp_path: Path):
    settings = {"validation_split": 0.25, "stop_at_best": True, "unet_lr": 1e-12, "text_encoder_lr": 0.0}
    job, code = run(tmp_path, **settings, max_train_steps=20, save_every_n_steps=1)
    assert code == 0
    told = events(job)
    assert isinstance(told[-1], Finished)
    assert told[-1].step < 20
    [notice] = [event for event in told if isinstance(event, Notice) and event.code == "judge.stopped_early"]
    assert notice.values["step"] < told[-1].step
    kept = {event.step for event in told if isinstance(event, Saved)}
    assert notice.values["step"] in kept


def test_the_base_model_alone_has_moved_nowhere(tmp_path: Path):
    settings = short_settings(tmp_path, validation_split=0.25, validate_every_n_steps=1)
    job = JobFolder.create(tmp_path, settings)
    parts = build.build_parts(read_inputs(settings), job, lambda _event: None)
    parts.judge.judge_due(1)
    [point] = parts.judge.points
    assert set(point.held_out) == set(point.learned) == {0.0}
    assert point.drift == pytest.approx(0, abs=1e-9)
    assert {float(look.timestep) for look in parts.judge.held_out} == {126.0, 376.0, 626.0, 876.0}
    again = replace(parts.judge, points=[])
    with torch.no_grad():
        for weight in parts.network.parameters():
            weight.add_(0.1)
    again.judge_due(1)
    assert again.points[0].drift > 0


@pytest.mark.parametrize("answer", [float("nan"), None], ids=["no numbers", "an error"])
def test_a_look_that_fails_is_told_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: float | None
):
    def broken(*_asked: Any) -> list[float]:
        if answer is None:
            raise RuntimeError("out of memory")
        return [answer] * 99

    monkeypatch.setattr(judging.Judge, "_errors", broken)
    job, code = run(tmp_path, validation_split=0.25, max_train_steps=2, validate_every_n_steps=1)
    assert code == 0
    told = events(job)
    assert isinstance(told[-1], Finished)
    assert {event.code for event in told if isinstance(event, Notice)} >= {"judge.failed"}
    assert not [event for event in told if isinstance(event, Judged)]
