"""The start of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

import gui


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_no_folder_stops_the_start_with_a_sentence(kind, tmp_path: Path, monkeypatch, capsys):
    path = tmp_path / "pictures"
    if kind == "file":
        path.write_text("x", encoding="utf-8")
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "w"))
    words = ["--root", str(tmp_path), "--root", str(path), "--workspace", str(tmp_path / "w"), "--no-browser"]
    monkeypatch.setattr("sys.argv", ["gui.py", *words])
    assert gui.main() == 2
    assert str(path) in capsys.readouterr().err
