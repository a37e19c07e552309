"""A file is shown where it lies, by each system's own program, and only to who sits at the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.jobs import open_folder
from trainer.errors import UserError
from trainer.files.roots import Roots

FILE = Path("/runs/a b/owl.safetensors")


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("win32", ["explorer", f"/select,{FILE}"]),
        ("darwin", ["open", "-R", str(FILE)]),
        ("linux", ["xdg-open", str(FILE.parent)]),
    ],
)
def test_each_system_has_its_program(system: str, command: list[str], monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert open_folder.opening_command(FILE) == command


@pytest.mark.parametrize("screen", ["DISPLAY", "WAYLAND_DISPLAY", ""])
@pytest.mark.parametrize("program", [True, False])
def test_on_linux_it_needs_a_screen_and_the_program(screen: str, program: bool, tmp_path: Path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if screen:
        monkeypatch.setenv(screen, ":0")
    if program:
        (tmp_path / "xdg-open").write_text("#!/bin/sh\n")
        (tmp_path / "xdg-open").chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_folder.can(None) == bool(screen and program)


def test_what_listens_to_the_network_opens_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    roots = Roots((tmp_path.resolve(),), strict=True)
    assert open_folder.can(Roots((tmp_path.resolve(),)))
    assert not open_folder.can(roots)
    with pytest.raises(UserError) as refused:
        open_folder.show(FILE, roots)
    assert refused.value.message.values == {"path": str(FILE.parent)}


@pytest.mark.skipif(os.name == "nt", reason="there explorer is always found")
def test_a_program_that_is_missing_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as refused:
        open_folder.show(FILE, None)
    assert refused.value.message.code == "page.no_file_manager"
