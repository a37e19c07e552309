"""Captions are written by a deliberate act only, whole or not at all, with a copy that brings them back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.dataset import captions
from tests.app.dataset.conftest import Desk


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_caption_is_written_the_picture_stays_and_restore_brings_all_back(desk: Desk):
    desk.picture("10_cat/a.png", "a cat\n")
    desk.picture("10_cat/b.png")
    before = snapshot(desk.data)
    done = desk.write(a="a dog", b="another")
    assert done["count"] == 2
    after = snapshot(desk.data)
    assert (after["10_cat/a.txt"], after["10_cat/b.txt"]) == (b"a dog\n", b"another\n")
    assert {name: data for name, data in after.items() if name.endswith(".png")} == {
        name: data for name, data in before.items() if name.endswith(".png")
    }
    assert [copy["count"] for copy in done["copies"]] == [2]
    assert desk.ask("room_restore", copy=done["copy"])["count"] == 2
    assert snapshot(desk.data) == before


def test_restore_can_itself_be_taken_back(desk: Desk):
    desk.picture("10_cat/a.png", "one")
    first = desk.write(a="two")
    second = desk.ask("room_restore", copy=first["copy"])
    desk.ask("room_restore", copy=second["copy"])
    assert (desk.data / "10_cat" / "a.txt").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"first\nsecond\n", b"mine\nsecond\n"),
        (b"\n\n  first  \r\nsecond", b"\n\nmine\r\nsecond"),
        ("\ufeff猫".encode("utf-8"), b"mine"),
        ("猫耳".encode("cp932"), b"mine"),
        ("猫".encode("utf-16"), b"mine"),
        ("少女\n长发".encode("gbk"), "mine\n长发".encode()),
        (b", ,\nsecond\n", b"mine\nsecond\n"),
    ],
)
def test_only_the_line_that_is_learned_is_replaced(desk: Desk, old: bytes, new: bytes):
    desk.picture("10_cat/a.png", old)
    done = desk.write(a="mine")
    path = desk.data / "10_cat" / "a.txt"
    assert path.read_bytes() == new
    desk.ask("room_restore", copy=done["copy"])
    assert path.read_bytes() == old


def test_lines_of_a_wildcard_file_are_written_as_they_are(desk: Desk):
    folder = desk.picture("pictures/a.png", "one\ntwo\n").parent
    (desk.data / "set.toml").write_text(
        f"[general]\nenable_wildcard = true\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{folder}'",
        encoding="utf-8",
    )
    desk.values["dataset_config"] = str(desk.data / "set.toml")
    assert desk.room().pictures[0].caption == "one\ntwo"
    desk.write(a="one\nthree")
    assert (folder / "a.txt").read_text(encoding="utf-8") == "one\nthree\n"


def test_what_another_program_changed_meanwhile_is_not_overwritten(desk: Desk):
    path = desk.picture("10_cat/a.png", "old")
    desk.picture("10_cat/b.png", "old")
    path.with_suffix(".txt").write_text("theirs", encoding="utf-8")
    changes = [
        {"path": str(path.with_name(f"{stem}.png")), "before": "old", "after": "mine"} for stem in ("b", "a")
    ]
    answer = desk.ask("room_write", changes=changes)
    assert "a.txt" in answer["error"]["what"]
    assert path.with_suffix(".txt").read_text(encoding="utf-8") == "theirs"
    assert path.with_name("b.txt").read_text(encoding="utf-8") == "old", "nothing, not one half"


def test_what_stands_there_already_is_no_conflict(desk: Desk):
    """Two tabs that write the same."""
    path = desk.picture("10_cat/a.png", "old")
    wish = {"path": str(path), "before": "old", "after": "new"}
    assert desk.ask("room_write", changes=[wish])["count"] == 1
    assert desk.ask("room_write", changes=[wish])["count"] == 0
    assert path.with_suffix(".txt").read_text(encoding="utf-8") == "new"


def test_a_disk_that_fails_midway_leaves_everything_as_it_was(desk: Desk, monkeypatch):
    for stem in "abc":
        desk.picture(f"10_cat/{stem}.png", f"old {stem}")
    before = snapshot(desk.data)
    real, count = captions.write_whole, 0

    def failing(path, data, mode=None):
        nonlocal count
        if path.suffix == ".txt" and path.is_relative_to(desk.data):
            count += 1
            if count == 3:
                raise OSError(28, "No space left on device", str(path))
        real(path, data, mode)

    monkeypatch.setattr(captions, "write_whole", failing)
    assert "error" in desk.write(a="1", b="2", c="3")
    assert snapshot(desk.data) == before
    assert captions.kept_copies(desk.workspace / "captions", lambda path: True) == []


@pytest.mark.parametrize("ending", [".png", ".PNG", ".safetensors", ".npz", ".json", ".gif", ".webp"])
def test_no_picture_or_other_file_is_ever_written_into(desk: Desk, ending: str):
    path = desk.picture("10_cat/a.png")
    desk.values["caption_extension"] = ending
    before = snapshot(desk.data)
    assert "error" in desk.write(a="mine")
    assert snapshot(desk.data) == before
    assert path.exists()


def test_only_pictures_of_the_dataset_have_captions(desk: Desk, tmp_path: Path):
    desk.picture("10_cat/a.png", "x")
    for path in (tmp_path / "b.png", desk.data / "10_cat" / "c.png", Path("a.png"), Path()):
        answer = desk.ask("room_write", changes=[{"path": str(path), "before": "", "after": "mine"}])
        assert "error" in answer, path


@pytest.mark.parametrize("changes", [None, 3, "x", [1], [{}], [{"path": None}], [{"path": ["a"]}]])
def test_nonsense_is_answered_in_a_sentence_or_does_nothing(desk: Desk, changes):
    desk.picture("10_cat/a.png", "x")
    before = snapshot(desk.data)
    answer = desk.ask("room_write", changes=changes)
    assert "error" in answer or answer["count"] == 0
    assert snapshot(desk.data) == before


def test_two_pictures_with_one_caption_file_need_one_caption(desk: Desk):
    desk.picture("10_cat/a.png", "x")
    desk.picture("10_cat/a.jpg")
    folder = desk.data / "10_cat"
    changes = [{"path": str(folder / f"a.{kind}"), "before": "x", "after": kind} for kind in ("png", "jpg")]
    assert "a.txt" in desk.ask("room_write", changes=changes)["error"]["what"]
    same = [{**change, "after": "both"} for change in changes]
    assert desk.ask("room_write", changes=same)["count"] == 1


def test_a_file_made_here_and_changed_by_another_is_not_removed_by_restore(desk: Desk):
    path = desk.picture("10_cat/a.png").with_suffix(".txt")
    done = desk.write(a="ours")
    path.write_text("theirs", encoding="utf-8")
    assert desk.ask("room_restore", copy=done["copy"])["count"] == 0
    assert path.read_text(encoding="utf-8") == "theirs"


@pytest.mark.parametrize("copy", ["", "..", "../data", "no", "/etc", None])
def test_a_copy_that_is_none_is_refused(desk: Desk, copy):
    desk.picture("10_cat/a.png", "x")
    assert "error" in desk.ask("room_restore", copy=copy)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_caption_that_is_a_link_inside_is_written_where_it_leads(desk: Desk):
    path = desk.picture("10_cat/a.png").with_suffix(".txt")
    shared = desk.data / "shared.txt"
    shared.write_text("old", encoding="utf-8")
    path.symlink_to(shared)
    desk.write(a="new")
    assert path.is_symlink()
    assert shared.read_text(encoding="utf-8") == "new"


def test_missing_captions_are_offered_from_files_of_another_ending(desk: Desk):
    path = desk.picture("10_cat/a.png", "from the caption\nsecond", ending=".caption")
    desk.picture("10_cat/b.png", "has one")
    assert desk.ask("room_others", ending=".caption")["captions"] == {str(path): "from the caption"}


def test_old_copies_are_kept_within_bounds(desk: Desk, monkeypatch):
    monkeypatch.setattr(captions, "MOST_COPIES", 3)
    desk.picture("10_cat/a.png", "0")
    for number in range(1, 7):
        desk.write(a=str(number))
    assert len(list((desk.workspace / "captions").iterdir())) == 3
