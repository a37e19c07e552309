"""Repeats and class words change in a dataset file; folders keep their names, and runs learn by it."""

from __future__ import annotations

import pytest

from tests.app.dataset.conftest import Desk
from trainer.data.dataset_file import read_pictures


def learned(path: str) -> dict[str, tuple[int, str, bool]]:
    plain, reg = read_pictures("", "", path, ".txt")
    return {one.folder: (one.repeats, one.class_tokens, one.is_reg) for one in (*plain.images, *reg.images)}


def change(desk: Desk, name: str, repeats: object, words: object) -> dict:
    folder = next((str(one.path) for one in desk.room().folders if one.path.name == name), name)
    answer = desk.ask("room_folder", folder=folder, repeats=repeats, words=words)
    desk.values |= answer.get("changes", {})
    return answer


def test_the_run_learns_by_the_new_values_and_all_others_stay(desk: Desk):
    desk.picture("10_cat/a.png", "x")
    desk.picture('3_a "dog" 犬/b.png', "x")
    reg = desk.data.parent / "workspace" / "reg" / "1_animal"
    reg.mkdir(parents=True)
    (desk.data / "10_cat" / "a.png").rename(desk.data / "10_cat" / "c.png")
    (reg / "r.png").write_bytes((desk.data / "10_cat" / "c.png").read_bytes())
    desk.values["reg_data_dir"] = str(reg.parent)
    change(desk, "10_cat", 25, "tabby")
    assert learned(desk.values["dataset_config"]) == {
        "10_cat": (25, "tabby", False),
        '3_a "dog" 犬': (3, 'a "dog" 犬', False),
        "1_animal": (1, "animal", True),
    }
    change(desk, "10_cat", 2, "")
    assert learned(desk.values["dataset_config"])["10_cat"] == (2, "", False)
    assert sorted(path.name for path in desk.data.iterdir()) == ["10_cat", '3_a "dog" 犬']


def test_a_file_of_ones_own_stays_and_its_options_count_in_the_copy(desk: Desk):
    desk.picture("cats/a.png", "x")
    own = desk.data / "mine.toml"
    text = (
        "# my notes\n[general]\nshuffle_caption = true\n[[datasets]]\nresolution = [512, 768]\n"
        "batch_size = 2\n"
        "[[datasets.subsets]]\nimage_dir = 'cats'\nnum_repeats = 4\nclass_tokens = 'cat'\nkeep_tokens = 1\n"
    )
    own.write_text(text, encoding="utf-8")
    desk.values["dataset_config"] = str(own)
    change(desk, "cats", 9, "tabby")
    assert own.read_text(encoding="utf-8") == text
    assert learned(desk.values["dataset_config"]) == {"cats": (9, "tabby", False)}
    copy = (desk.workspace / "configs" / "mine.toml").read_text(encoding="utf-8")
    for line in ("shuffle_caption = true", "resolution = [512, 768]", "batch_size = 2", "keep_tokens = 1"):
        assert line in copy


@pytest.mark.parametrize(
    ("repeats", "words"),
    [
        (0, "x"),
        (-1, "x"),
        (10**9, "x"),
        (1.5, "x"),
        ("3", "x"),
        (True, "x"),
        (None, "x"),
        (3, "a\nb"),
        (3, "x" * 999),
    ],
)
def test_values_that_cannot_be_are_refused(desk: Desk, repeats, words):
    desk.picture("10_cat/a.png", "x")
    assert "error" in change(desk, "10_cat", repeats, words)
    assert not (desk.workspace / "configs").exists()


@pytest.mark.parametrize("name", ["/etc", "", "10_dog"])
def test_folders_of_no_run_are_refused(desk: Desk, name: str):
    desk.picture("10_cat/a.png", "x")
    assert "error" in change(desk, name, 3, "x")
