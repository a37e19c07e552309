"""Regularisation pictures by the base model: as training reads them, the same by seed, kept by Stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainer.events import Failed, Stopped, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run_tool import run_tool
from trainer.tools.checks import check_values
from trainer.tools.table import TOOLS

TOOL = TOOLS["regularisation"]


@pytest.fixture
def values(root: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(root / "presets" / "demo" / "model"), "class_prompt": "mascot", "count": 2, "width": 64,
        "height": 64, "steps": 1, "output": str(tmp_path / "reg"), "mixed_precision": "no",
    }  # fmt: skip


def run(tmp_path: Path, values: dict[str, Any], *, stop: bool = False) -> Any:
    job = JobFolder.create(tmp_path, TOOL.schema.read(values), "regularisation", "reg")
    if stop:
        job.stop_file.touch()
    run_tool(job, listen=lambda _event: None)
    *_, (_, _, last) = read_events(job.events_file)
    assert not isinstance(last, Failed), last
    return last


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "1_mascot").glob("*.png"))}


def test_pictures_stand_as_training_reads_them_and_a_seed_makes_them_again(
    tmp_path: Path, values: dict[str, Any]
):
    run(tmp_path, values)
    made = pictures(tmp_path / "reg")
    assert list(made) == ["0001_1.png", "0002_2.png"]
    assert made["0001_1.png"] != made["0002_2.png"]
    with Image.open(tmp_path / "reg" / "1_mascot" / "0001_1.png") as image:
        assert image.size == (64, 64)
    (tmp_path / "reg" / "1_mascot" / "0001_1.png").unlink()
    kept = (tmp_path / "reg" / "1_mascot" / "0002_2.png").stat().st_mtime_ns
    run(tmp_path, values)
    assert pictures(tmp_path / "reg") == made
    assert (tmp_path / "reg" / "1_mascot" / "0002_2.png").stat().st_mtime_ns == kept
    assert isinstance(run(tmp_path, {**values, "count": 3}, stop=True), Stopped)
    assert pictures(tmp_path / "reg") == made


def test_prompts_take_turns_and_the_class_word_its_place(values: dict[str, Any]):
    from trainer.families.table import FAMILIES
    from trainer.tools.forms.regularisation import _batch

    form = TOOL.schema.read({**values, "width": 0, "prompts": "a photo of a [class]\n\n[class], night"})
    batch = _batch(form, FAMILIES["sdxl"])
    assert [batch.picture(number)[0].prompt for number in range(3)] == [
        "a photo of a mascot", "mascot, night", "a photo of a mascot",
    ]  # fmt: skip
    assert batch.picture(2)[1] == 3
    assert (batch.prompts[0].width, batch.prompts[0].height) == (1024, 64)


@pytest.mark.parametrize(
    ("change", "setting", "code"),
    [
        ({"model": "nobody/nothing"}, "model", "tools.model_not_here"),
        ({"width": 100}, "width", "tools.side"),
        ({"height": 16}, "height", "tools.side"),
        ({"class_prompt": "a/b"}, "class_prompt", "tools.prepare_words"),
    ],
)
def test_what_stands_in_the_way(values: dict[str, Any], change: dict[str, Any], setting: str, code: str):
    form, [problem] = check_values(TOOL, {**values, **change})
    assert form is None
    assert (problem.setting, problem.code) == (setting, code)


def told(values: dict[str, Any], prompts: str) -> list[tuple[str, dict[str, Any] | None]]:
    problems = check_values(TOOL, {**values, "prompts": prompts})[1]
    return [(problem.code, dict(problem.fix or {})) for problem in problems if problem.setting == "prompts"]


@pytest.mark.parametrize(
    "line", ["a [class] --w 512", "a [class] --n bad --l 7.5", "a [class] -d 3", "a [class] --steps=20"]
)
def test_options_are_not_drawn_as_words(values: dict[str, Any], line: str):
    fixed = {"prompts": "one\na [class]\n# two"}
    assert told(values, f"one\n{line}\n# two") == [("tools.prompt_options", fixed)]


@pytest.mark.parametrize(
    "line", ["a well-known [class]", "a [class] -- at night", "# --w 512", "--", "[class]"]
)
def test_what_only_looks_like_an_option_is_a_word(values: dict[str, Any], line: str):
    assert told(values, line) == []


def test_a_line_that_is_a_note_is_not_drawn(values: dict[str, Any]):
    from trainer.families.table import FAMILIES
    from trainer.tools.forms.regularisation import _batch

    form = TOOL.schema.read({**values, "prompts": "# these\n\na [class] in rain"})
    assert [prompt.prompt for prompt in _batch(form, FAMILIES["sd1"]).prompts] == ["a mascot in rain"]
