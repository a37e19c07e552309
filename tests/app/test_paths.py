"""Path completion: what is offered, and what stays out of sight."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.paths import Roots, complete, default_roots

SEP = os.sep


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """home/ is allowed, away/ is not."""
    home, away = tmp_path / "home", tmp_path / "away"
    for folder in (home / "pictures" / "10_cat", home / "Photos", home / ".ssh", away / "secret"):
        folder.mkdir(parents=True)
    for file in (home / "model.safetensors", home / "notes.txt", home / ".token", home / "画像 一.json"):
        file.write_text("x")
    (away / "secret" / "key.safetensors").write_text("x")
    (home / "way_out").symlink_to(away)
    (home / "loop").symlink_to(home / "loop")
    (home / "inner").symlink_to(home / "pictures")
    (home / "back_door").symlink_to(home / ".ssh")
    return home


@pytest.fixture
def roots(home: Path) -> Roots:
    return Roots((home.resolve(),))


def names(prefix: str, kind: str, roots: Roots) -> list[str]:
    return [entry["name"] for entry in complete({"prefix": prefix, "kind": kind}, roots)]


def test_folders_first_hidden_ones_out(home: Path, roots: Roots):
    found = names(f"{home}{SEP}", "any", roots)
    assert found == ["inner", "Photos", "pictures", "model.safetensors", "notes.txt", "画像 一.json"]


def test_capitals_do_not_matter(home: Path, roots: Roots):
    assert names(f"{home}{SEP}p", "folder", roots) == ["Photos", "pictures"]


def test_kinds_choose_the_files(home: Path, roots: Roots):
    assert names(f"{home}{SEP}m", "model", roots) == ["model.safetensors"]
    assert names(f"{home}{SEP}n", "model", roots) == []
    assert names(f"{home}{SEP}画", "settings", roots) == ["画像 一.json"]
    assert names(f"{home}{SEP}m", "folder", roots) == []


def test_a_path_can_be_followed_to_the_end(home: Path, roots: Roots):
    (first,) = complete({"prefix": f"{home}{SEP}pic", "kind": "folder"}, roots)
    assert first == {"path": f"{home}{SEP}pictures{SEP}", "name": "pictures", "folder": True}
    (second,) = complete({"prefix": first["path"], "kind": "folder"}, roots)
    assert second["path"] == f"{home}{SEP}pictures{SEP}10_cat{SEP}"


@pytest.mark.parametrize(
    "way", ["../away/", "way_out/", "way_out/secret/", ".ssh/", "back_door/", "loop/", "nothing/"]
)
def test_no_way_out(home: Path, roots: Roots, way: str):
    assert complete({"prefix": f"{home}{SEP}{way}", "kind": "any"}, roots) == []


@pytest.mark.parametrize(
    "prefix", ["/etc/", "/etc/pas", "etc/", "~root/", "\0", "a\0/b", "/" * 5000, "\udcff/"]
)
def test_elsewhere_and_nonsense_give_nothing(roots: Roots, prefix: str):
    assert complete({"prefix": prefix, "kind": "any"}, roots) == []


@pytest.mark.parametrize("request_", [None, [], "x", {"prefix": 5, "kind": {}}, {"prefix": ["/etc/"]}])
def test_a_request_of_another_shape_is_harmless(roots: Roots, request_: object):
    complete(request_, roots)


def test_blank_offers_the_allowed_folders(home: Path, roots: Roots):
    assert [entry["path"] for entry in complete({"prefix": " "}, roots)] == [f"{home.resolve()}{SEP}"]
    assert [entry["name"] for entry in complete({"prefix": str(home.parent / "ho")}, roots)] == [
        str(home.resolve())
    ]


def test_allowed_asks_for_the_real_place(home: Path, roots: Roots):
    assert roots.allowed(str(home / "inner" / "10_cat")) == (home / "pictures" / "10_cat").resolve()
    assert roots.allowed(str(home / "way_out" / "secret")) is None
    assert roots.allowed("pictures") is None


def test_the_system_disk_is_no_root(tmp_path: Path):
    roots = default_roots(tmp_path)
    assert tmp_path.resolve() in roots.folders
    assert roots.allowed("/etc/passwd") is None


def test_long_folders_are_cut(home: Path, roots: Roots):
    for number in range(200):
        (home / "Photos" / f"{number:03d}.txt").write_text("")
    assert len(complete({"prefix": f"{home}{SEP}Photos{SEP}", "kind": "any"}, roots)) == 60
