"""The page's script as the browser gets it: every name in it is declared, and used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.page import page
from app.page.layout import ASSETS

BIOME = Path(sys.executable).with_name("biome.exe" if sys.platform == "win32" else "biome")
RULES = ("correctness/noUndeclaredVariables", "correctness/noUnusedVariables", "suspicious/noRedeclare")


@pytest.mark.skipif(not BIOME.exists(), reason="no biome for this kind of machine")
def test_every_name_of_the_script_is_declared_and_used(tmp_path: Path):
    """Its files share one scope, so that only the whole of them can be judged."""
    whole = page.script().replace("eval(await answer.text())", page.room_script())  # as it is evaluated
    (tmp_path / "page.js").write_text(whole, encoding="utf-8")
    rules = [f"--only={rule}" for rule in RULES]
    command = [str(BIOME), "lint", *rules, "--error-on-warnings", "--files-max-size=9000000", "page.js"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_script_and_style_sheet_is_sent_once():
    head = str(page.mount_options()["head"]) + page.room_script()
    sent = [*page.SCRIPTS, *page.ROOM]
    assert sorted(sent) == sorted(path.stem for path in ASSETS.glob("*.js"))
    for name in sent:
        first = next(
            line for line in (ASSETS / f"{name}.js").read_text("utf-8").splitlines() if line[:2] == "//"
        )
        assert head.count(first) == 1, name


def test_every_icon_that_is_named_is_in_the_sprite():
    sprite = (ASSETS / "icons.svg").read_text("utf-8")
    known = set(re.findall(r'id="i-(\w+)"', sprite))
    text = "".join(path.read_text("utf-8") for path in ASSETS.glob("*.js"))
    named = set(re.findall(r'\bicon(?:Button)?\("(\w+)"', text))
    assert named - known == set()


@pytest.mark.parametrize("path", [*ASSETS.glob("*.js"), *ASSETS.glob("*.css")], ids=lambda path: path.name)
def test_no_line_is_longer_than_120_characters(path: Path):
    assert not [line for line in path.read_text("utf-8").splitlines() if len(line) > 120]


def test_important_has_its_reason_on_the_line():
    bare = [
        f"{path.name}: {line.strip()}"
        for path in sorted(ASSETS.glob("*.css"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "!important" in line and "/*" not in line
    ]
    assert bare == []
