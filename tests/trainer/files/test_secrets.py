"""Keys and tokens: one file for the owner only, or the environment; hidden in everything that is written."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.trainer.made import sound_settings
from tests.trainer.runs import short_settings
from trainer.__main__ import main
from trainer.errors import UserError
from trainer.events import EventLog, Failed, Notice, Sampled, read_events
from trainer.files.job_folder import JobFolder
from trainer.files.redact import HIDDEN, RedactedStream, redacted, secret_values
from trainer.files.secrets import known_secrets, read_secret, secrets_file, write_secret
from trainer.jobs.console import listener
from trainer.messages import printable

KEY = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[3]


pytestmark = pytest.mark.usefixtures("home")


def test_a_secret_is_kept_and_forgotten():
    assert read_secret("wandb_api_key") == ""
    write_secret("wandb_api_key", f" {KEY} ")
    assert read_secret("wandb_api_key") == KEY
    write_secret("huggingface_token", "hf_abcdefghijklmnopqrst")
    write_secret("wandb_api_key", "")
    assert known_secrets() == {"huggingface_token": "hf_abcdefghijklmnopqrst"}


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_only_the_owner_may_read_it():
    write_secret("wandb_api_key", KEY)
    assert stat.S_IMODE(secrets_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(secrets_file().parent.stat().st_mode) == 0o700
    secrets_file().chmod(0o644)
    assert read_secret("wandb_api_key") == KEY
    assert stat.S_IMODE(secrets_file().stat().st_mode) == 0o600, "taken back"


def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch):
    write_secret("wandb_api_key", KEY)
    monkeypatch.setenv("WANDB_API_KEY", "from the environment")
    assert read_secret("wandb_api_key") == "from the environment"


@pytest.mark.parametrize("name", ["output_name", "../x"])
def test_nothing_else_is_kept_there(name: str):
    with pytest.raises(ValueError, match=name):
        write_secret(name, KEY)
    assert not secrets_file().exists()


@pytest.mark.parametrize("content", ["", "[", "[]", "[" * 100_000, '{"wandb_api_key": 5}', '{"x": "y"}'])
def test_a_damaged_file_holds_no_secrets(content: str):
    secrets_file().parent.mkdir(parents=True)
    secrets_file().write_text(content)
    assert known_secrets() == {}


def test_events_and_streams_hide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_secret("wandb_api_key", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_ABCDEFGHIJKLMNOPQRSTUV")
    secrets = secret_values()
    event = Failed("training.bug", {"error": f"401 for {KEY}", "more": [{"x": KEY}]}, trace=f"key={KEY}")
    clean = redacted(event, secrets)
    assert KEY not in json.dumps([dict(clean.values), clean.trace])
    assert clean.trace == f"key={HIDDEN}"
    written = io.StringIO()
    print(f"login with hf_ABCDEFGHIJKLMNOPQRSTUV and {KEY}", file=RedactedStream(written, secrets))
    assert written.getvalue() == f"login with {HIDDEN} and {HIDDEN}\n"
    assert (
        redacted("http://me:word@host/x and hf_someoneelsestoken12") == f"http://{HIDDEN}@host/x and {HIDDEN}"
    )
    assert redacted("hf_short and 12:30") == "hf_short and 12:30"


def test_a_whole_run_writes_no_secret(tmp_path: Path, home: Path):
    """A real process that knows both keys and fails with one of them in the error's words."""
    write_secret("wandb_api_key", KEY)
    token = "hf_ABCDEFGHIJKLMNOPQRSTUV"
    work = tmp_path / "work"
    settings = short_settings(
        work, max_train_steps=1, sample_at_first=True, sample_prompts=f"a {KEY} --s 1 --w 64 --h 64"
    )
    job = JobFolder.create(
        work, settings.replace(sample_prompts="a cat --s 1 --w 64 --h 64", wandb_api_key=KEY)
    )
    program = (
        "import sys, trainer.training.sampling as sample\n"
        f"def draw(*a, **k): print('as {token}'); raise RuntimeError('refused: {KEY}')\n"
        "sample.draw = draw\n"
        "from pathlib import Path; from trainer.__main__ import _run\n"
        "from trainer.files.job_folder import JobFolder\n"
        "sys.exit(_run(JobFolder(Path(sys.argv[1]))))\n"
    )
    with job.log_file.open("wb") as log:
        command = [sys.executable, "-c", program, str(job.path)]
        environment = {**os.environ, "HF_TOKEN": token}
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, env=environment, check=False)
    assert done.returncode == 0, job.log_file.read_text()
    told = [event for _, _, event in read_events(job.events_file)]
    notice = next(
        event for event in told if isinstance(event, Notice) and event.code == "training.sample_failed"
    )
    assert notice.values["error"] == f"RuntimeError: refused: {HIDDEN}"
    assert f"as {HIDDEN}" in job.log_file.read_text()
    for path in work.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
            assert token.encode() not in path.read_bytes(), path


def test_a_command_line_is_no_place_for_keys(tmp_path: Path):
    from trainer.__main__ import parse_change

    with pytest.raises(UserError) as caught:
        parse_change(f"wandb_api_key={KEY}")
    assert KEY not in str(caught.value)
    assert "WANDB_API_KEY" in str(caught.value)


def test_a_terminal_is_not_steered_by_a_prompt(tmp_path: Path):
    out = io.StringIO()
    listener(out)(Sampled(1, 0, "cat \x1b[2J\x07\u202e", "x"))
    assert "cat" in out.getvalue()
    assert not {"\x1b", "\x07", "\u202e"} & set(out.getvalue())


def test_letters_of_every_language_are_shown_as_they_are():
    for text in ("a\tb\nc", "夏　祭り", "👩\u200d🎨", "e\u0301", "café", "عربى"):
        assert printable(text) == text


@pytest.mark.parametrize("verb", ["check", "import", "inspect", "tool"])
def test_a_terminal_is_not_steered_by_a_foreign_file(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    evil, place = "\x1b[2J\x07\u202e\x9b1m", tmp_path / "x.json"
    settings = sound_settings(tmp_path).replace(output_name=f"cat{evil}", metadata_title=evil)
    place.write_text(json.dumps({**settings.flat(), f"key{evil}": evil}))
    tensors = {f"lora_unet_x.lora_{part}.weight": np.zeros((2, 2)) for part in ("down", "up")}
    save_file(tensors, tmp_path / "x.safetensors", {"ss_title": evil})
    file = tmp_path / "x.safetensors" if verb == "inspect" else place
    words = ["resize", f"--lora={evil}"] if verb == "tool" else [str(file)]
    monkeypatch.setattr("sys.argv", ["trainer", verb, *words])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr()
    assert told.out + told.err
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(told.out + told.err)


def test_events_wait_while_the_disk_is_full(tmp_path: Path):
    """And a line that was cut off by a kill does not swallow the next."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "phase", "ti')
    log = EventLog(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        for number in range(20):
            log.emit(Notice("x.y", {"number": number}))
        assert log.waiting
        assert path.stat().st_size == 500
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    told = [event for _, _, event in read_events(path)]
    assert [event.values["number"] for event in told if isinstance(event, Notice)] == list(range(20))
