"""The page removes past runs and keeps keys: what is touched, and what never is."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.answers import Answers
from app.answers.runs import SECOND_PRESS
from app.form import values as form
from app.jobs.outcome import outcome
from app.jobs.store import JobStore
from app.paths import Roots
from tests.app.conftest import FAKE, ask, wait_for, wait_until
from trainer.files.secrets import read_secret, secrets_file
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]
KEY = "0123456789abcdef0123456789abcdef01234567"


pytestmark = pytest.mark.usefixtures("home")


# ── removing ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_removed_after_a_second_yes(store: JobStore, settings: MakeSettings, tmp_path: Path):
    job = store.start(settings())
    wait_until(job, "finished")
    other = store.start(settings(output_name="other"))
    wait_until(other, "finished")
    results = sorted((tmp_path / "out").iterdir())
    assert "mascot" in ask(Answers(store), "remove", job=job.id, lang="en")["ask"]
    assert "LoRA ファイルは残ります" in ask(Answers(store), "remove", job=job.id, lang="ja")["ask"]
    assert "ask" in ask(Answers(store), "remove", job=job.id, sure=other.id)
    assert job.folder.path.exists()
    assert ask(Answers(store), "remove", job=job.id, sure=job.id) == {"done": True}
    assert [left.id for left in store.jobs()] == [other.id]
    assert not job.folder.path.exists()
    assert sorted((tmp_path / "out").iterdir()) == results, "LoRA files stay"
    assert "error" in ask(Answers(store), "remove", job=job.id, sure=job.id)


def test_a_run_at_work_or_in_line_is_not_removed(store: JobStore, settings: MakeSettings):
    job, waiting = store.start(settings("seconds=0.2")), store.start(settings())
    for one in (job, waiting):
        for language in ("en", "ja"):
            assert ask(Answers(store), "remove", job=one.id, sure=one.id, lang=language)["error"]
        store.remove(one)
        assert one.folder.path.exists()


@pytest.mark.parametrize("name", ["..", ".", "", "../jobs", "/", "/etc", "%2e%2e", None, 5, {"a": 1}])
def test_no_other_folder_is_removed(store: JobStore, tmp_path: Path, name: object):
    before = sorted(tmp_path.rglob("*"))
    assert "error" in ask(Answers(store), "remove", job=name, sure=name)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_run_s_folder_links_to_stays(store: JobStore, settings: MakeSettings, tmp_path: Path):
    job = store.start(settings())
    wait_until(job, "finished")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo.png").write_text("x")
    (job.folder.path / "link").symlink_to(precious)
    (job.folder.samples / "photo.png").symlink_to(precious / "photo.png")
    assert ask(Answers(store), "remove", job=job.id, sure=job.id) == {"done": True}
    assert (precious / "photo.png").read_text() == "x"


def test_a_run_that_holds_something_of_the_person_s_is_not_removed(store: JobStore, settings: MakeSettings):
    """Somebody has chosen a folder inside the run's own as the Image folder of another run."""
    job = store.start(settings())
    wait_until(job, "finished")
    mine = job.folder.path / "my pictures"
    mine.mkdir()
    changed = {**job.settings(), "train_data_dir": str(mine)}
    job.folder.write_json(job.folder.settings_file, changed)
    assert str(mine) in ask(Answers(store), "remove", job=job.id, sure=job.id)["error"]["what"]
    assert mine.exists()


def test_what_an_interrupted_removal_left_is_removed_at_the_next_start(
    store: JobStore, settings: MakeSettings
):
    job = store.start(settings())
    wait_until(job, "finished")
    job.folder.path.rename(store.root / f".removed-{job.id}")
    assert store.jobs() == []
    JobStore(store.workspace, FAKE)
    assert list(store.root.iterdir()) == []


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def answers(store: JobStore, tmp_path: Path, root: Path) -> Answers:
    return Answers(store, Roots((tmp_path.resolve(), root.resolve())))


def written(folder: Path) -> list[Path]:
    """Files below a folder that hold the key."""
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_key_typed_into_the_page_is_in_one_file_only(answers: Answers, tmp_path: Path, root: Path):
    from PIL import Image

    (tmp_path / "img" / "3_cat").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "img" / "3_cat" / "a.png")
    own = {
        "pretrained_model_name_or_path": str(root / "presets" / "demo" / "model"),
        "train_data_dir": str(tmp_path / "img"), "output_dir": str(tmp_path / "out"), "output_name": "cat",
        "max_resolution": "64,64", "optimizer": "AdamW", "mixed_precision": "no", "wandb_api_key": KEY,
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    values = {**form.shown_values({}), **own}
    answered = [ask(answers, "look", values=values), ask(answers, "pictures", values=values)]
    assert not secrets_file().exists(), "a look keeps nothing"
    answered += [ask(answers, "save", path=str(tmp_path / "a.json"), values=values)]
    answered += [ask(answers, "command", values=values), ask(answers, "train", values=values)]
    assert "job" in answered[-1], answered[-1]
    job = answers.store.get(answered[-1]["job"]["id"])
    assert job
    wait_until(job, "finished")
    answered += [ask(answers, "start"), ask(answers, "load", path=str(tmp_path / "a.json"))]
    assert answered[-2]["secrets"]["wandb_api_key"] == "file"
    assert KEY not in json.dumps(answered)
    assert read_secret("wandb_api_key") == KEY
    assert written(tmp_path) == [secrets_file()]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"LoRA_type": "Standard", "wandb_api_key": KEY, "huggingface_token": KEY}),
        f'network_module = "networks.lora"\nwandb_api_key = "{KEY}"\nhuggingface_token = "{KEY}"\n',
        f"accelerate launch train_network.py --wandb_api_key={KEY} --huggingface_token {KEY} --network_dim=4",
    ],
    ids=["kohya_ss", "toml", "command"],
)
def test_a_key_in_a_loaded_file_goes_no_further(answers: Answers, tmp_path: Path, text: str):
    loaded = ask(answers, "load", text=text)
    assert KEY not in json.dumps(loaded)
    values, carried = loaded["values"], loaded["carried"]
    answered = [
        ask(answers, "look", values=values, carried=carried),
        ask(answers, "command", values=values, carried=carried),
        ask(answers, "save", path=str(tmp_path / "b.json"), values=values, carried=carried),
    ]
    assert KEY not in json.dumps(answered)
    assert written(tmp_path) == []


def test_a_key_is_kept_forgotten_and_never_told(answers: Answers):
    assert ask(answers, "secret", key="wandb_api_key", value=KEY) == {"kept": "file"}
    assert ask(answers, "start")["secrets"]["wandb_api_key"] == "file"
    assert ask(answers, "secret", key="wandb_api_key", value="") == {"kept": ""}
    for wrong in ({"key": "output_name", "value": "x"}, {"key": "wandb_api_key", "value": "a\nb"}, {}):
        assert ask(answers, "secret", **wrong)["error"]["what"]


# ── ends of a run ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_trainer_that_the_system_killed_is_said_to_be(store: JobStore, settings: MakeSettings, language):
    """SIGKILL, as the out-of-memory killer sends it."""
    job = store.start(settings("seconds=0.05", max_train_steps=200))
    wait_for(lambda: job.record().step >= 55)
    identity = job.identity()
    assert identity
    os.kill(identity.pid, signal.SIGKILL)
    wait_until(job, "lost")
    wait_for(lambda: job.exit_code() == -9)
    told = outcome(job, job.record(), job.state, language)
    assert told
    assert ("memory" in told["facts"]) if language == "en" else ("メモリ" in told["facts"])
    assert "Train batch size" in told["fix"]
    assert told["kept"]
    assert told["resume"] == 50


def test_a_second_stop_ends_a_trainer_that_does_not_listen(answers: Answers, settings: MakeSettings):
    job = answers.store.start(settings("seconds=0.05 hang", max_train_steps=2000))
    wait_for(lambda: job.record().step >= 2)
    ask(answers, "stop")
    ask(answers, "stop")
    assert job.state == "running", "a double click is one press"
    time.sleep(SECOND_PRESS)
    ask(answers, "stop")
    assert job.state == "stopped"
    identity = job.identity()
    assert identity
    assert not identity.alive()
