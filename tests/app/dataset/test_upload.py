"""Pictures of another device go whole into a folder of their own, and nowhere else."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from app.dataset import upload
from app.dataset.upload import safe_file_name
from tests.app.dataset.conftest import Desk


def png(side: int = 40) -> bytes:
    out = BytesIO()
    Image.effect_noise((side, side), 80).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(desk: Desk) -> Path:
    return Path(desk.ask("upload_folder", name="my cat", words="momo", repeats=7)["folder"])


def send(desk: Desk, folder: Path | str, name: str, content: bytes, piece: int = 10**6, **changed) -> dict:
    """All pieces; the last answer, or the first error."""
    answer: dict = {}
    for start in range(0, max(1, len(content)), piece):
        part = base64.b64encode(content[start : start + piece]).decode()
        request = {
            "folder": str(folder),
            "name": name,
            "start": start,
            "size": len(content),
            "data": part,
            **changed,
        }
        answer = desk.ask("upload", **request)
        if "error" in answer:
            return answer
    return answer


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_arrive_whole_in_pieces_and_are_learned(desk: Desk, folder: Path):
    data = png(90)
    assert send(desk, folder, "a.png", data, 900)["done"] == "new"
    send(desk, folder, "a.txt", "momo, 猫".encode())
    assert folder.name == "7_momo"
    assert (folder / "a.png").read_bytes() == data
    desk.values["train_data_dir"] = str(folder.parent)
    assert [one.caption for one in desk.room().pictures] == ["momo, 猫"]


def test_the_same_again_is_there_and_another_of_that_name_gets_a_number(desk: Desk, folder: Path):
    first, second = png(), png()
    send(desk, folder, "a.png", first)
    assert send(desk, folder, "a.png", first)["done"] == "there"
    assert send(desk, folder, "a.png", second)["name"] == "a-2.png"
    assert (folder / "a.png").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.png", b"no picture"), ("a.png", b""), ("a.jpg", png()[:300]), ("a.exe", b"MZ"),
        ("a.svg", b"<svg/>"), ("a.txt.py", b"x"), (".png", png()), ("a", png()), ("secrets.json", b"{}"),
        ("a.txt", b"x" * 1_000_001),
    ],
)  # fmt: skip
def test_what_is_no_picture_or_caption_is_refused_and_leaves_nothing(desk: Desk, folder: Path, name, data):
    assert "error" in send(desk, folder, name, data)
    assert kept(folder) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../x.png", "x.png"), ("C:\\a\\b.png", "b.png"), ("con.txt", "_con.txt"),
        ("a:b?.png", "a_b_.png"), ("  .png. ", "png"), ("か\u3099.png", "が.png"), ("a\nb.txt", "a_b.txt"),
        (".a.png.12.tmp", "a.png.12.tmp"),
        ("猫" * 300 + ".png", "猫" * 65 + ".png"), ("", ""), ("...", ""),
    ],
)  # fmt: skip
def test_names_are_made_safe_for_every_system(name: str, safe: str):
    assert safe_file_name(name) == safe


@pytest.mark.parametrize(
    "place", ["", "..", "/etc", "{data}", "{folder}/..", "{folder}/../..", "{workspace}/jobs/a", "\0"]
)
def test_only_folders_made_for_it_take_files(desk: Desk, folder: Path, place: str):
    places = {"data": desk.data, "folder": folder, "workspace": desk.workspace}
    (desk.workspace / "jobs" / "a").mkdir(parents=True, exist_ok=True)
    assert "error" in send(desk, place.format(**places), "a.png", png())
    assert kept(desk.data) == []


def test_a_link_among_the_datasets_leads_nowhere(desk: Desk, folder: Path, tmp_path: Path):
    (tmp_path / "away" / "3_x").mkdir(parents=True)
    try:
        (desk.workspace / "datasets" / "link").symlink_to(tmp_path / "away")
    except OSError:
        pytest.skip("links need a right here")
    assert "error" in send(desk, desk.workspace / "datasets" / "link" / "3_x", "a.png", png())
    assert kept(tmp_path / "away" / "3_x") == []


@pytest.mark.parametrize(
    "changed",
    [{"start": 5}, {"start": -1}, {"size": 10**12}, {"size": 0}, {"size": "9"}, {"data": "%%%"}, {"data": ""},
     {"size": 3}, {"start": None}],
)  # fmt: skip
def test_pieces_that_do_not_fit_are_refused(desk: Desk, folder: Path, changed: dict):
    answer = send(desk, folder, "a.png", png(), **changed)
    assert "error" in answer or "done" not in answer
    assert [name for name in kept(folder) if not name.startswith(".")] == []


def test_a_full_disk_and_a_full_folder_are_told_before_anything_is_written(
    desk: Desk, folder: Path, monkeypatch
):
    monkeypatch.setattr(upload, "SPARE", 1 << 60)
    assert "room on the disk" in send(desk, folder, "a.png", png())["error"]["what"]
    monkeypatch.setattr(upload, "SPARE", 0)
    monkeypatch.setattr(upload, "MOST_FILES", 0)
    assert "error" in send(desk, folder, "a.png", png())
    assert kept(folder) == []


def test_a_folder_of_a_taken_name_gets_a_number(desk: Desk):
    first, second = (desk.ask("upload_folder", name="a/b", words="", repeats="x")["parent"] for _ in range(2))
    assert [Path(first).name, Path(second).name] == ["b", "b-2"]
