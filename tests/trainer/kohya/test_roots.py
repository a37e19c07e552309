"""{project} and {workspace} in a preset's paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.files.job_folder import PROJECT
from trainer.kohya.roots import spelled_out


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path))
    return tmp_path.resolve()


def test_a_folder_of_ours_is_spelled_out(workspace: Path):
    assert spelled_out("train_data_dir", "{project}/presets/demo") == str(PROJECT / "presets" / "demo")
    assert spelled_out("output_dir", "{workspace}/a b/c") == str(workspace / "a b" / "c")
    assert spelled_out("output_dir", "{workspace}") == str(workspace)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_name", "{workspace}/a"),
        ("output_dir", "{workspaces}/a"),
        ("output_dir", "/a/{workspace}"),
        ("output_dir", "{home}/a"),
        ("output_dir", 3),
        ("output_dir", None),
        ("nothing", "{workspace}/a"),
    ],
)
def test_anything_else_stays(key: str, value: object):
    assert spelled_out(key, value) == value
