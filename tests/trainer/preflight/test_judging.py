"""What is said of "Validation split" before a run."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from tests.trainer.runs import DEMO, short_settings
from trainer.preflight.check import check


def told(folder: Path, **changes: Any) -> dict[str, Any]:
    settings = short_settings(folder, **changes)
    found = check(settings).problems
    return {problem.code: problem for problem in found if problem.code.startswith("judge.")}


def test_nothing_is_said_by_default(tmp_path: Path):
    assert not told(tmp_path)
    assert not told(tmp_path, stop_at_best=True, save_last_n_epochs=1)


def test_too_few_pictures_are_named(tmp_path: Path):
    few = told(tmp_path, validation_split=0.1)["judge.few"]
    assert few.values == {"count": 1, "total": 12}
    assert not told(tmp_path, validation_split=0.25)


def test_a_folder_with_one_picture_keeps_nothing_back(tmp_path: Path):
    for number, picture in enumerate(sorted((DEMO / "pictures").glob("*/*.png"))[:3]):
        copytree(DEMO / "pictures", tmp_path / "p", dirs_exist_ok=True, ignore=lambda *_: ["10_sks mascot"])
        (tmp_path / "p" / f"1_cat{number}").mkdir()
        (tmp_path / "p" / f"1_cat{number}" / picture.name).write_bytes(picture.read_bytes())
    assert "judge.none_to_hold" in told(
        tmp_path, train_data_dir=str(tmp_path / "p"), validation_split=0.3, caption_extension=""
    )


@pytest.mark.parametrize(("every", "said"), [(10, True), (1, False)])
def test_a_run_that_may_stop_needs_files(tmp_path: Path, every: int, said: bool):
    asked = {"validation_split": 0.25, "stop_at_best": True, "max_train_steps": 20}
    assert ("judge.stop_needs_files" in told(tmp_path, save_every_n_steps=every, **asked)) == said


def test_removing_older_files_may_remove_the_best(tmp_path: Path):
    asked = {"save_every_n_steps": 2, "save_last_n_steps": 2, "max_train_steps": 20}
    assert told(tmp_path, validation_split=0.25, **asked)["judge.best_removed"].setting == "save_last_n_steps"
    assert not told(tmp_path, **asked)
