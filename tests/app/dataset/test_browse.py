"""Files and folders are chosen within the allowed folders, and told for what they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.dataset import browse
from tests.app.dataset.conftest import Desk, draw, lora_header
from trainer.files.roots import Roots


def names(answer: dict) -> list[str]:
    return [entry["name"] for entry in answer["entries"]]


def test_folders_come_first_hidden_and_other_kinds_stay_out(desk: Desk):
    for name in ("b.safetensors", "a.ckpt", "notes.txt", ".hidden.safetensors"):
        (desk.data / name).write_bytes(b"x")
    for name in ("zoo", ".git"):
        (desk.data / name).mkdir()
    assert names(desk.ask("browse", path=str(desk.data), kind="model")) == ["zoo", "a.ckpt", "b.safetensors"]
    assert names(desk.ask("browse", path=str(desk.data), kind="folder")) == ["zoo"]


@pytest.mark.parametrize("inner", ["missing/deeper", "a.txt"])
def test_what_is_not_there_shows_the_nearest_folder(desk: Desk, inner: str):
    (desk.data / "a.txt").write_text("x", encoding="utf-8")
    answer = desk.ask("browse", path=str(desk.data / inner), kind="file")
    assert answer["path"] == str(desk.data.resolve())
    assert answer["asked"] is (inner == "a.txt")


@pytest.mark.parametrize(
    "path", ["/etc", "/proc/self/root", "..", "relative", "\0", "~nobody/x", "//host/share", "x" * 9000]
)
def test_nothing_outside_is_listed_or_told(desk: Desk, path: str):
    answer = desk.ask("browse", path=path, kind="file")
    assert (answer["path"], answer["entries"], answer["asked"]) == ("", [], False)
    assert set(answer["places"]) == {str(place) for place in desk.roots.folders}
    assert desk.ask("browse_tell", path=path, names=["passwd", "..", "/etc/passwd"])["told"] == {}


def test_a_choice_begins_at_home_or_where_one_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = tmp_path / "me" / "loras"
    inner.mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: inner.parent)
    assert browse.folder_listing("", "file", Roots((tmp_path,)))["start"] == str(inner.parent.resolve())
    assert browse.folder_listing("", "file", Roots((inner,)))["start"] == str(inner)


def test_a_field_that_holds_a_models_folder_shows_it_among_others(desk: Desk):
    (desk.data / "anime" / "unet").mkdir(parents=True)
    (desk.data / "anime" / "model_index.json").write_text("{}", encoding="utf-8")
    path = str(desk.data / "anime")
    answer = desk.ask("browse", path=path, kind="model", first=True)
    assert (answer["path"], names(answer), answer["asked"]) == (str(desk.data.resolve()), ["anime"], True)
    assert names(desk.ask("browse", path=path, kind="model")) == ["unet"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_links_that_lead_out_are_left_out(desk: Desk, tmp_path: Path):
    draw(tmp_path / "secret" / "a.png")
    (desk.data / "way_out").symlink_to(tmp_path / "secret")
    (desk.data / "inner").mkdir()
    (desk.data / "way_in").symlink_to(desk.data / "inner")
    (desk.data / "gone").symlink_to(tmp_path / "nothing")
    assert names(desk.ask("browse", path=str(desk.data), kind="any")) == ["inner", "way_in"]
    assert desk.ask("browse_tell", path=str(desk.data), names=["way_out", "../secret"])["told"] == {}


def test_pictures_are_counted_and_families_told_again_when_a_file_changes(desk: Desk):
    draw(desk.data / "set" / "10_cat" / "a.png")
    draw(desk.data / "set" / "10_dog" / "b.png")
    (desk.data / "bad.safetensors").write_bytes(b"no model")
    told = desk.ask("browse_tell", path=str(desk.data), names=["set", "bad.safetensors"])["told"]
    assert told == {"set": "2 folders, 2 pictures", "bad.safetensors": "damaged or no model"}
    path = desk.data / "bad.safetensors"
    lora_header(path)
    assert "LoRA" in desk.ask("browse_tell", path=str(desk.data), names=[path.name])["told"][path.name]


def test_of_very_many_entries_the_first_are_shown_and_the_rest_counted(desk: Desk, monkeypatch):
    monkeypatch.setattr(browse, "MOST_ENTRIES", 3)
    for number in range(8):
        (desk.data / f"{number}").mkdir()
    answer = desk.ask("browse", path=str(desk.data), kind="folder")
    assert (names(answer), answer["more"]) == (["0", "1", "2"], 5)


@pytest.mark.parametrize(
    "request_", [{"path": None}, {"path": 3, "kind": 4}, {"names": 3}, {"names": [None, {}]}]
)
def test_nonsense_is_answered(desk: Desk, request_: dict):
    assert "error" not in desk.ask("browse", **request_)
    assert "error" not in desk.ask("browse_tell", **request_)
