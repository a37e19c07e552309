"""A tool's job: from its folder to its last event, on the command line and in a process that is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.tools.made import lora, tensors
from trainer.events import Failed, Finished, Notice, Phase, Saved, Stopped, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs import tool_command
from trainer.jobs.run_tool import run_tool
from trainer.tools.table import TOOLS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return lora(tmp_path / "a.safetensors", tensors(8, 4))


def job(workspace: Path, name: str, **values: Any) -> JobFolder:
    return JobFolder.create(workspace, TOOLS[name].schema.read(values), name, "result")


def ended(folder: JobFolder, **how: Any) -> tuple[int, list[Any]]:
    code = run_tool(folder, listen=lambda _event: None, **how)
    return code, [event for _, _, event in read_events(folder.events_file)]


def command(workspace: Path, *words: str, language: str = "en_US.UTF-8") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(workspace), "LC_ALL": language}
    return subprocess.run(
        [sys.executable, "-m", "trainer", "tool", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip


def test_a_job_says_its_kind_its_way_and_its_end(tmp_path: Path, file: Path):
    before = file.read_bytes()
    folder = job(tmp_path, "resize", lora=str(file), output=str(tmp_path / "b.safetensors"), rank=4)
    assert folder.told() == {"kind": "resize", "name": "result"}
    code, events = ended(folder)
    assert code == 0
    assert [type(event) for event in events if not isinstance(event, Notice)][-2:] == [Saved, Finished]
    assert any(isinstance(event, Phase) and event.name == "work" for event in events)
    assert events[-1].path == str(tmp_path / "b.safetensors")
    assert {event.values["rank"] for event in events if isinstance(event, Notice)} == {"4"}
    assert file.read_bytes() == before


def test_a_result_that_came_into_being_meanwhile_is_not_replaced(tmp_path: Path, file: Path):
    target = tmp_path / "b.safetensors"
    folder = job(tmp_path, "resize", lora=str(file), output=str(target))
    target.write_bytes(b"mine")
    code, events = ended(folder)
    assert (code, events[-1].code, events[-1].setting) == (2, "tools.exists", "output")
    assert target.read_bytes() == b"mine"


def test_stop_leaves_nothing_half(tmp_path: Path, file: Path):
    folder = job(tmp_path, "resize", lora=str(file), output=str(tmp_path / "b.safetensors"))
    folder.stop_file.touch()
    code, events = ended(folder)
    assert (code, type(events[-1])) == (3, Stopped)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "jobs"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "files.is_empty"),
        (b"\x10" + b"\0" * 7 + b"no json at all..", "core.file_"),
        (b"x" * 200, "core.file_"),
    ],
)
def test_a_damaged_file_is_told_in_words(tmp_path: Path, content: bytes, code: str):
    (tmp_path / "a.safetensors").write_bytes(content)
    _, events = ended(job(tmp_path, "verify", lora=str(tmp_path / "a.safetensors")))
    assert isinstance(events[-1], Failed)
    assert events[-1].code.startswith(code)
    assert events[-1].setting == "lora"


def test_a_job_of_an_unknown_tool_is_told(tmp_path: Path, file: Path):
    folder = job(tmp_path, "verify", lora=str(file))
    folder.write_json(folder.kind_file, {"kind": "upscale"})
    code, events = ended(folder)
    assert (code, events[-1].code) == (2, "tools.unknown")


def test_the_command_lists_helps_refuses_and_does(tmp_path: Path, file: Path):
    listed = command(tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(TOOLS)
    refused = command(tmp_path, "resize", "--lora", "nowhere.safetensors", "--json")
    assert refused.returncode == 2
    told = json.loads(refused.stdout)
    assert {problem["setting"] for problem in told["problems"]} == {"lora", "output"}
    done = command(tmp_path, "resize", "--lora", str(file), "--output", f"{tmp_path}/b.safetensors",
                   "--rank", "2", "--json", language="ja_JP.UTF-8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["state"] == "done"
    assert told["files"] == [f"{tmp_path}/b.safetensors"]
    assert "ランク" in told["told"][0]["text"]


def test_an_interrupted_command_leaves_nothing_half(tmp_path: Path):
    many = {f"lora_unet_down_blocks_0_x_{number}": (2000, 2000, 0) for number in range(400)}
    file = lora(tmp_path / "a.safetensors", tensors(16, 8, modules=many))
    words = ["tool", "resize", "--lora", str(file), "--output", f"{tmp_path}/b.safetensors"]
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "trainer", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert any(" work" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "jobs"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["resize", "--rnak", "3"], "--rnak 3"),
        (["resize", "stray.safetensors"], "stray.safetensors"),
        (["resize", "--rank"], "--rank"),
        (["resise"], "resise"),
    ],
)
def test_a_command_that_cannot_be_read_is_told(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
):
    def no_job(folder: JobFolder, *, quiet: bool) -> int:
        raise AssertionError((folder, quiet))

    assert tool_command.command([*words, "--json"], "en", no_job) == 2
    printed = capsys.readouterr()
    [problem] = json.loads(printed.out)["problems"]
    assert named in problem["what"]
    assert printed.err == ""
    assert tool_command.command(words, "ja", no_job) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err


def test_what_is_worth_knowing_is_told_before_the_work(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One file under two names."""
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path))
    (tmp_path / "link.safetensors").symlink_to(file)
    words = ["merge", "--output", str(tmp_path / "new.safetensors")]
    for name in (file, tmp_path / "link.safetensors"):
        words += ["--loras", str(name)]
    told: list[str] = []

    def begun(folder: JobFolder, *, quiet: bool) -> int:
        assert folder.path
        told.append(capsys.readouterr().err)
        assert not quiet
        return 0

    assert tool_command.command(words, "en", begun) == 0
    assert told[0].startswith("--loras: ")
    assert file.name in told[0]
