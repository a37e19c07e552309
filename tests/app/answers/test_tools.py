"""Questions of the Tools tab: forms from the schemas, a look with fixes, a job in line, its end in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.answers import Answers
from app.jobs.store import JobStore
from app.paths import Roots
from tests.app.conftest import ask, wait_until
from tests.trainer.tools.made import lora, tensors
from trainer.tools import checks
from trainer.tools.table import TOOLS


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    """With the real trainer."""
    store = JobStore(tmp_path / "workspace", (sys.executable, "-m", "trainer"))
    return Answers(store, Roots((tmp_path.resolve(),)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return lora(tmp_path / "a.safetensors", tensors(8, 4))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_tool_comes_with_its_form(answers: Answers, language: str):
    told = ask(answers, "tools", lang=language)["tools"]
    assert [tool["name"] for tool in told] == list(TOOLS)
    for tool in told:
        groups = {group["name"] for group in tool["groups"]}
        for key, field in tool["fields"].items():
            assert field["group"] in groups
            assert field["help"]["does"], key
            assert key in tool["defaults"]
            assert bool(field["meaning"]) == (language == "ja")


def test_a_look_marks_what_is_idle_wrong_and_how_to_mend_it(answers: Answers, file: Path):
    values = {"lora": str(file), "output": "", "rank": "4.5", "method": "fixed rank"}
    seen = ask(answers, "tool_look", tool="resize", values=values)
    assert list(seen["idle"]) == ["target"]
    problems = {problem["setting"]: problem for problem in seen["problems"]}
    assert problems["rank"]["changes"] == {"rank": 4}
    assert problems["output"]["missing"]
    assert problems["output"]["changes"] == {"output": str(file.with_name("a-resized.safetensors"))}
    assert problems["output"]["button"].startswith("Use ")


def test_a_form_that_cannot_run_starts_nothing(answers: Answers):
    assert ask(answers, "tool_start", tool="verify", values={})["look"]["problems"]
    assert answers.store.jobs() == []
    assert ask(answers, "tool_start", tool="../x", values={})["error"]["what"]


def test_a_tool_runs_as_a_job_and_its_settings_come_back(answers: Answers, file: Path):
    values = {"lora": str(file), "output": str(file.with_name("b.safetensors")), "rank": 2}
    started = ask(answers, "tool_start", tool="resize", values=values)["job"]
    job = answers.store.get(started["id"])
    assert job is not None
    wait_until(job, "finished", seconds=600)
    seen = ask(answers, "live", lang="ja")
    assert (seen["tool"], seen["job"]) == ("ランク変更", job.id)
    end = seen["parts"]["outcome"]
    assert end["tool"] == "resize"
    assert end["file"]["name"] == "b.safetensors"
    assert str(file.parent) not in end["facts"], "its place stands below"
    assert len(end["findings"]) == 2
    assert end["lora"]["rows"]
    [row] = ask(answers, "jobs", lang="en")["jobs"]
    assert (row["tool"], row["name"], row["resume"]) == ("Resize", "b.safetensors", False)
    shown = ask(answers, "show", chosen=[job.id])
    assert {line["key"] for line in shown["rows"]} == {"lora", "output", "rank"}
    again = ask(answers, "load", job=job.id)
    assert (again["tool"], again["values"]["rank"]) == ("resize", 2)
    assert ask(answers, "explain", job=job.id, file="b.safetensors")["rows"]


def test_a_failed_tool_names_the_setting_and_the_fix(answers: Answers, file: Path):
    values = {"lora": str(file)}
    settings, _ = checks.check_values(TOOLS["verify"], values, Roots((file.parent.resolve(),)))
    assert settings is not None
    # Damaged since the form was looked at, as while a job waits in line.
    file.write_bytes(b"x" * 100)
    assert "look" in ask(answers, "tool_start", tool="verify", values=values)
    job = answers.store.start(settings, "verify", "a")
    wait_until(job, "failed", seconds=600)
    end = ask(answers, "live", lang="en")["parts"]["outcome"]
    assert end["setting"] == {"key": "lora", "label": "LoRA file"}
    assert end["facts"]
    assert end["fix"]
