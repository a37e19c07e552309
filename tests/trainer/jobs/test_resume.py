"""A run that begins in a training state is a new run; a job that is continued is the old one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.runs import DEMO, events, run, short_settings
from trainer.events import Event, Failed, Finished, Notice, Phase, Saved, Started, Step
from trainer.files.job_folder import JobFolder
from trainer.files.state_folder import read_about
from trainer.jobs.run import USER, run_job
from trainer.plan.inputs import read_inputs
from trainer.preflight.check import check


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Output folder of a run of four steps with files and states at the second and at the end."""
    folder = tmp_path_factory.mktemp("finished")
    _, code = run(folder, max_train_steps=4, save_every_n_steps=2, save_state=True)
    assert code == 0
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def contents(folder: Path) -> dict[str, str]:
    """Every file below, by its hash."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def resumed(folder: Path, **changes: Any) -> tuple[JobFolder, set[str]]:
    """Train on from the state of step 2; the job and the names of the files that it says it saved."""
    values = {"resume": str(folder / "out" / "mascot-step00000002-state"), "max_train_steps": 4, **changes}
    job, code = run(folder, **values)
    assert code == 0, job.events_file.read_text()
    saved = [event for event in events(job) if isinstance(event, Saved) and event.kind != "safety"]
    return job, {Path(event.path).name for event in saved}


@pytest.mark.parametrize("name", ["mascot", "other"])
def test_resume_leaves_every_file_that_is_there_and_does_what_the_checks_say(
    tmp_path: Path, out: Path, name: str
):
    (out / "other-000007.ckpt").write_text("of another program")
    before = contents(out)
    values = {"output_name": name, "save_every_n_steps": 1, "save_state": True, "max_train_steps": 4}
    settings = short_settings(tmp_path, **values, resume=str(out / "mascot-step00000002-state"))
    told = check(settings)
    assert told.plan is not None
    job, saved = resumed(tmp_path, **values)
    assert {key: value for key, value in contents(out).items() if key in before} == before
    assert {file for file in saved if not file.endswith("-state")} == {save.name for save in told.plan.saves}
    assert events(job)[-1] == Finished(4, str(out / told.plan.final_name))
    used = "mascot-2" if name == "mascot" else "other"
    assert told.plan.final_name == f"{used}.safetensors"
    assert ("preflight.name_exists" in [problem.code for problem in told.problems]) == (name == "mascot")
    whole, again = load_file(out / "mascot.safetensors"), load_file(out / told.plan.final_name)
    assert all(torch.equal(whole[key], again[key]) for key in whole), "the same steps with the same chance"


def test_the_name_in_a_state_leads_to_no_file_in_another_folder(tmp_path: Path, out: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mascot.safetensors").write_text("of somebody else")
    job, saved = resumed(tmp_path, output_dir=str(elsewhere), output_name="fresh")
    assert saved == {"fresh.safetensors"}
    assert (elsewhere / "mascot.safetensors").read_text() == "of somebody else"
    assert [event.first_step for event in events(job) if isinstance(event, Started)] == [2]


def test_a_resumed_run_that_is_continued_keeps_its_own_name_and_seed(tmp_path: Path, out: Path):
    """Stopped before it had a state of its own, it begins in the other run's state again."""
    job = JobFolder.create(
        tmp_path,
        short_settings(
            tmp_path, seed=None, output_name="fresh", max_train_steps=3, resume=str(out / "mascot-state")
        ).replace(resume=str(out / "mascot-step00000002-state")),
    )
    assert run_job(job) == 0
    first = next(event for event in events(job) if isinstance(event, Started))
    (out / "fresh.safetensors").unlink()
    assert run_job(job, resume=True) == 0
    last = [event for event in events(job) if isinstance(event, Started)][-1]
    assert first.seed == 1, "the state's, where none is set"
    assert (last.seed, last.plan["final_name"], last.first_step) == (first.seed, "fresh.safetensors", 2)
    assert [event.step for event in events(job) if isinstance(event, Step)] == [3, 3]
    assert {path.name for path in out.iterdir()} >= {"fresh.safetensors", "mascot.safetensors"}
    assert not list(out.glob("fresh-2*"))


def begun(job: JobFolder, *, until: int, state: Path | None = None) -> None:
    """Train so many steps of a job and stop it there, as the page would."""
    from trainer.training.build import build_parts
    from trainer.training.loop import train

    log = job.event_log()
    steps: list[Step] = []

    def emit(event: Event) -> None:
        steps.extend([event] if isinstance(event, Step) else [])
        log.emit(event)

    parts = build_parts(read_inputs(job.settings()), job, emit, state)
    emit(Started(parts.plan.total_steps, 1, parts.seed, "cpu", parts.plan.as_json(), parts.start.step))
    try:
        train(parts, emit, lambda: len(steps) == until)
    finally:
        log.close()


def test_continue_replaces_only_what_the_job_itself_has_written(tmp_path: Path):
    """While the job stood still, another run has taken the names of the files that were to come."""
    settings = short_settings(tmp_path, max_train_steps=4, save_every_n_steps=1, save_state=True)
    job = JobFolder.create(tmp_path, settings)
    begun(job, until=2)
    out = tmp_path / "out"
    theirs = ["mascot-step00000003.safetensors", "mascot.safetensors"]
    for name in theirs:
        (out / name).write_text("of another run")
    (out / "mascot-state").mkdir()
    (out / "mascot-state" / "state.json").write_text("of another run")
    before = {name: text for name, text in contents(out).items() if "0002" not in name}
    assert run_job(job, resume=True) == 0
    assert {name: text for name, text in contents(out).items() if name in before} == before
    assert events(job)[-1] == Finished(4, str(out / "mascot-2.safetensors"))
    assert load_file(out / "mascot-step00000003-2.safetensors")
    assert (out / "mascot-2-state" / "state.json").is_file()
    taken = [event.values["name"] for event in events(job) if isinstance(event, Notice)]
    assert taken == [*theirs, "mascot-state"]


@pytest.mark.parametrize(
    "lacks", ["all", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("lora", "state"))]
)
def test_a_planned_file_that_could_not_be_written_is_written_by_continue(tmp_path: Path, lacks: str):
    """The disk was full at the save of step 2, and the job's own state of that step was kept elsewhere."""
    values = {"max_train_steps": 3, "save_every_n_steps": 1, "save_last_n_steps": 5, "save_state": True}
    assert run(tmp_path / "whole", **values)[1] == 0
    job = JobFolder.create(tmp_path, short_settings(tmp_path, **values))
    out = tmp_path / "out"
    begun(job, until=2)
    for path in out.glob("mascot-step00000002*"):
        is_state = path.is_dir()
        if lacks == "all" or (lacks == "state") == is_state:
            shutil.rmtree(path) if is_state else path.unlink()
    assert run_job(job, resume=True) == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole/out").iterdir()}
    for name in ("mascot-step00000002.safetensors", "mascot.safetensors"):
        whole, ours = load_file(tmp_path / "whole" / "out" / name), load_file(out / name)
        assert all(torch.equal(whole[key], ours[key]) for key in whole), name
    assert read_about(out / "mascot-step00000002-state").step == 2


def test_a_resumed_run_with_other_rates_uses_them_from_its_first_step(tmp_path: Path, out: Path):
    job, _ = resumed(
        tmp_path, output_name="fresh", unet_lr=1e-5, text_encoder_lr=3e-5, lr_scheduler="linear", lr_warmup=0
    )
    rates = [event.lr for event in events(job) if isinstance(event, Step)]
    assert [rate["unet"] for rate in rates] == pytest.approx([0.5e-5, 0.25e-5])
    assert [rate["text_encoder"] for rate in rates] == pytest.approx([1.5e-5, 0.75e-5])


@pytest.mark.parametrize(
    "changes", [{"optimizer": "Lion"}, {"network_dim": 8}, {"max_train_steps": 2}], ids=str
)
@pytest.mark.parametrize("hub", [False, True])
def test_what_a_state_fixes_is_said_before_anything_is_loaded(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], hub: bool
):
    state = out / "mascot-step00000002-state"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_words, **_options: str(out))
    place = {"resume_from_huggingface": f"me/loras/{state.name}"} if hub else {"resume": str(state)}
    job, code = run(tmp_path, **{"max_train_steps": 4, **place, **changes})
    last = events(job)[-1]
    assert code == USER
    assert isinstance(last, Failed)
    assert [last.setting] == list(changes)
    assert [event.name for event in events(job) if isinstance(event, Phase)] == ["start"]


def test_continue_says_in_one_notice_what_has_changed(tmp_path: Path):
    shutil.copytree(DEMO / "pictures", tmp_path / "img")
    values = {"train_data_dir": str(tmp_path / "img"), "max_train_steps": 4, "save_every_n_epochs": 1}
    job = JobFolder.create(tmp_path, short_settings(tmp_path, **values))
    begun(job, until=2)
    pictures = sorted((tmp_path / "img").rglob("*.png"))
    for path in pictures[3:]:
        path.unlink()
    pictures[0].with_suffix(".txt").write_text("something else")
    job.write_settings(job.settings().replace(train_batch_size=40))
    assert run_job(job, resume=True) == 0
    told = [event for event in events(job) if isinstance(event, Notice)]
    assert [(event.code, event.level) for event in told] == [("training.continued_changed", "warning")]
    codes = [change["code"] for change in told[0].values["changes"]]
    assert codes == ["changed.setting", "changed.pictures_gone", "changed.captions_other"]
    assert [event.step for event in events(job) if isinstance(event, Step)] == [1, 2, 3, 4]
    epochs = [event.epoch for event in events(job) if isinstance(event, Step)]
    assert epochs[2:] == [3, 4], "a step is an epoch now"


def test_continue_needs_only_the_own_state(tmp_path: Path, out: Path):
    """The state in which the job has begun is gone by now."""
    begins = out / "mascot-step00000002-state"
    values = {"output_name": "fresh", "max_train_steps": 4, "resume": str(begins)}
    job = JobFolder.create(tmp_path, short_settings(tmp_path, **values))
    begun(job, until=1, state=begins)
    shutil.rmtree(begins)
    assert run_job(job, resume=True) == 0
    assert [event.step for event in events(job) if isinstance(event, Step)] == [3, 4]
    whole, ours = load_file(out / "mascot.safetensors"), load_file(out / "fresh.safetensors")
    assert all(torch.equal(whole[key], ours[key]) for key in whole)


def test_a_job_goes_on_with_its_own_optimizer_only(tmp_path: Path):
    job = JobFolder.create(tmp_path, short_settings(tmp_path, max_train_steps=3))
    begun(job, until=1)
    job.write_settings(job.settings().replace(optimizer="Lion"))
    assert run_job(job, resume=True) == USER
    last = events(job)[-1]
    assert isinstance(last, Failed)
    assert (last.code, last.setting) == ("preflight.resume_fixed", "optimizer")


def test_a_job_that_is_complete_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    job, _ = run(tmp_path, max_train_steps=1)
    before = {**contents(tmp_path / "out"), **contents(job.path)}
    assert run_job(job, resume=True) == USER
    assert "mascot.safetensors" in capsys.readouterr().err
    assert {**contents(tmp_path / "out"), **contents(job.path)} == before
