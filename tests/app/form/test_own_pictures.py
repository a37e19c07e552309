"""Pictures without a folder named like 10_cat are learned as they lie, by a file that lists them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.answers import Answers
from app.form.own_pictures import listed
from app.jobs.store import JobStore
from tests.app.conftest import ask
from trainer.data.dataset_file import read_pictures
from trainer.errors import UserError

PICTURES = Path(__file__).parents[3] / "presets" / "demo" / "pictures" / "10_sks mascot"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of pictures, as people have it; the name needs quoting."""
    return shutil.copytree(PICTURES, tmp_path / 'my "own" pictures' / "ふくろう_momo")


def learned(path: Path) -> set[tuple[str, int, int]]:
    found, _ = read_pictures("", "", str(path), ".txt")
    pictures = [(one.path.parent.name, one.repeats) for one in found.images]
    return {(*kind, pictures.count(kind)) for kind in set(pictures)}


@pytest.mark.parametrize("inner", [True, False])
def test_every_picture_is_learned_ten_times_from_where_it_is(own, tmp_path, inner):
    before = sorted(own.iterdir())
    path = listed(own if inner else own.parent, tmp_path / "lists")
    assert learned(path) == {(own.name, 10, len(list(own.glob("*.png"))))}
    found, _ = read_pictures("", "", str(path), "")
    assert {one.class_tokens for one in found.images} == {"ふくろう momo"}
    assert sorted(own.iterdir()) == before
    assert listed(own if inner else own.parent, tmp_path / "lists") == path, "the same file again"


def test_a_list_of_the_same_name_stays(own, tmp_path):
    other = tmp_path / "lists" / f"{own.name}.toml"
    other.parent.mkdir()
    other.write_text("# mine", encoding="utf-8")
    assert listed(own, tmp_path / "lists") != other
    assert other.read_text(encoding="utf-8") == "# mine"


def test_nothing_is_written_where_there_are_no_pictures(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        listed(tmp_path / "empty", tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_button_mends_the_problem(own, tmp_path, language):
    answers = Answers(JobStore(tmp_path / "workspace"))
    values = {"train_data_dir": str(own)}
    [problem] = _problems(answers, values, language)
    assert problem.get("does") == "list_pictures", problem
    assert problem["button"]
    made = ask(answers, "list_pictures", folder=str(own), lang=language)
    mended = {**values, **made["changes"]}
    assert _problems(answers, mended, language) == []
    look = ask(answers, "look", values=mended, lang=language)
    assert "train_data_dir" not in look["idle"], "the pictures are still those of this folder"
    assert look["notes"]["train_data_dir"]


def test_another_folder_beside_the_list_is_said_not_to_count(own, tmp_path):
    answers = Answers(JobStore(tmp_path / "workspace"))
    made = ask(answers, "list_pictures", folder=str(own))["changes"]
    other = tmp_path / "other" / "10_cat"
    other.mkdir(parents=True)
    for folder in (other.parent, own.with_name(own.name + "2")):
        look = ask(answers, "look", values={"train_data_dir": str(folder), **made})
        assert "train_data_dir" in look["idle"]
        [problem] = [one for one in look["problems"] if one["changes"] == {"dataset_config": ""}]
        assert problem["setting"] == "train_data_dir"
        assert not problem["blocks"]


def _problems(answers: Answers, values: dict, language: str) -> list[dict]:
    look = ask(answers, "look", values=values, lang=language)
    return [one for one in look["problems"] if one["setting"] in ("train_data_dir", "dataset_config")
            and one["blocks"]]  # fmt: skip
