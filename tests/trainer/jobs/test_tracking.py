"""Curves elsewhere: TensorBoard's files, and Weights & Biases' where that is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from tests.trainer.runs import events, run
from trainer.events import Finished, Notice, Step
from trainer.files.secrets import write_secret
from trainer.jobs.tracking import Tracking

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No key of this machine's owner is found, and none is left behind."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    if "wandb" in sys.modules:
        # Its service keeps what the first run of a process was told, and a second one waits for it.
        sys.modules["wandb"].teardown()


def curves(folder: Path) -> EventAccumulator:
    """What TensorBoard reads below a folder."""
    file = next(folder.rglob("events.out.*"))
    found = EventAccumulator(str(file.parent))
    found.Reload()
    return found


def offline_run(folder: Path) -> bytes:
    """The file in which Weights & Biases keeps a run that it has not sent."""
    return next(folder.rglob("*.wandb")).read_bytes()


def notices(job: Any) -> list[str]:
    return [event.code for event in events(job) if isinstance(event, Notice)]


def test_logging_folder_gets_a_curve_of_loss_and_rates(tmp_path):
    _, code = run(tmp_path, logging_dir=str(tmp_path / "log"))
    assert code == 0
    found = curves(tmp_path / "log")
    assert {"loss/current", "loss/average", "norm/grad", "lr/unet", "lr/text_encoder"} <= set(
        found.Tags()["scalars"]
    )
    assert [point.step for point in found.Scalars("loss/current")] == [1, 2, 3]


def test_log_tracker_name_config_and_settings_reach_tensorboard(tmp_path):
    config = tmp_path / "trackers.toml"
    config.write_text('[tensorboard]\nfilename_suffix = ".mine"\n', encoding="utf-8")
    run(
        tmp_path,
        logging_dir=str(tmp_path / "log"),
        log_tracker_name="cats",
        log_tracker_config=str(config),
        log_config=True,
        max_train_steps=1,
    )
    file = next((tmp_path / "log").rglob("*.mine"))
    assert "cats" in file.parts or any("cats" in part for part in file.parts)
    told = next((tmp_path / "log").rglob("hparams.yml")).read_text(encoding="utf-8")
    assert "network_dim: 4" in told
    assert str(tmp_path) not in told


def test_samples_reach_tensorboard(tmp_path):
    prompts = "sks mascot --w 64 --h 64 --s 1"
    run(tmp_path, logging_dir=str(tmp_path / "log"), sample_prompts=prompts, sample_every_n_steps=3)
    assert curves(tmp_path / "log").Tags()["images"] == ["sample_0"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's thread
def test_a_full_disk_under_tensorboard_is_told_once_and_training_goes_on(tmp_path, monkeypatch):
    """From the first step on, its file stands on a disk that is full."""
    log = Tracking.log

    def log_on_a_full_disk(self: Tracking, step: Step) -> None:
        log(self, step)
        for file in (tmp_path / "log").rglob("events.out.*"):
            file.unlink()
            file.symlink_to("/dev/full")

    monkeypatch.setattr(Tracking, "log", log_on_a_full_disk)
    job, code = run(tmp_path, logging_dir=str(tmp_path / "log"), max_train_steps=30)
    assert code == 0
    assert notices(job).count("training.tracker_failed") == 1
    assert isinstance(events(job)[-1], Finished)
    assert (tmp_path / "out" / "mascot.safetensors").is_file()


def test_tensorboard_is_left_out_where_only_wandb_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    job, code = run(tmp_path, logging_dir=str(tmp_path / "log"), log_with="wandb", max_train_steps=1)
    assert code == 0
    assert not (tmp_path / "log").exists()
    assert "training.tracker_failed" in notices(job)
    assert isinstance(events(job)[-1], Finished)


def test_that_wandb_is_missing_is_said_before(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    problem = expect(
        sound_settings(tmp_path, log_with="wandb"), "preflight.no_wandb", setting="log_with", blocks=False
    )
    assert problem.fix == {"log_with": ""}


@pytest.mark.parametrize("text", ["[wandb", "name = 3\n"])
def test_a_log_tracker_config_that_is_none_is_said(tmp_path, text):
    (tmp_path / "c.toml").write_text(text, encoding="utf-8")
    settings = sound_settings(tmp_path, log_tracker_config=str(tmp_path / "c.toml"))
    expect(settings, "preflight.tracker_config", setting="log_tracker_config", blocks=True)


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_without_a_key_wandb_records_on_this_machine(tmp_path):
    config = tmp_path / "trackers.toml"
    config.write_text('[wandb]\ntags = ["from the file"]\n', encoding="utf-8")
    job, code = run(
        tmp_path,
        log_with="all",
        logging_dir=str(tmp_path / "log"),
        wandb_run_name="my first cat",
        log_tracker_name="cats",
        log_tracker_config=str(config),
        log_config=True,
    )
    assert code == 0
    assert "training.wandb_offline" in notices(job)
    kept = offline_run(tmp_path / "log")
    for word in (b"my first cat", b"cats", b"from the file", b"loss/current", b"lr/unet", b"network_dim"):
        assert word in kept, word
    assert curves(tmp_path / "log").Scalars("loss/current")


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_the_key_is_used_and_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_secret("wandb_api_key", KEY)
    job, code = run(tmp_path / "run", log_with="wandb", log_config=True, wandb_api_key=KEY)
    assert code == 0
    assert "training.wandb_offline" not in notices(job)
    assert b"mascot" in offline_run(job.path)  # "Model output name" stands in for a blank run name
    for file in (path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.json"):
        assert KEY.encode() not in file.read_bytes(), file
