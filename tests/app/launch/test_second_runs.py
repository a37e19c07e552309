"""The quick tests with other versions: which Python is taken, and what is made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.launch import second_runs
from app.launch.second_runs import SecondRun

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="made with links and shell scripts")
UV = """echo "$@" >> {log}
[ "$1" = venv ] && for last; do :; done && mkdir -p "$last/lib/python/site-packages"
true"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_the_newest_other_python_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = tmp_path / "pyenv" / "versions" / "3.13.1" / "bin" / "python3"
    for minor in (9, 10, 12, 13, 15):
        program(tmp_path / "bin" / f"python3.{minor}", f"echo 3.{minor}")
    program(tmp_path / "bin" / "python3.14", "exit 1")
    program(kept, "echo 3.13")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert second_runs.another_python("3.11") == tmp_path / "bin" / "python3.13"
    assert second_runs.another_python("3.13") == tmp_path / "bin" / "python3.12"
    program(tmp_path / "bin" / "python3.13", "exit 127")
    assert second_runs.another_python("3.11") == kept


def test_what_is_made_is_kept_until_its_packages_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """uv is a stand-in that notes what it is asked, and makes the folder."""
    log = tmp_path / "log"
    program(tmp_path / "uv", UV.format(log=log))
    monkeypatch.setattr(second_runs, "uv", lambda _python: [str(tmp_path / "uv")])
    ours = tmp_path / ".venv" / "lib" / "python" / "site-packages"
    for name in ("torch", "torch-2.13.0.dist-info", "other"):
        (ours / name).mkdir(parents=True)

    def made(*packages: str) -> int:
        run = SecondRun("lowest", "", Path(sys.executable), packages, (), with_torch=True)
        theirs = (
            second_runs.make_folder(tmp_path, Path(sys.executable), run) / "lib" / "python" / "site-packages"
        )
        assert sorted(path.name for path in theirs.iterdir()) == ["torch", "torch-2.13.0.dist-info"]
        return len(log.read_text(encoding="utf-8").splitlines())

    assert made("a==1") == 2
    assert "--no-deps" in log.read_text(encoding="utf-8")
    assert made("a==1") == 2
    assert made("a==2") == 4


@pytest.mark.parametrize(("code", "must", "failure"), [(2, True, 1), (2, False, 0), (1, False, 1)])
def test_a_run_that_cannot_be_made_is_told_and_a_failure_where_it_must_be_or_versions_contradict(
    code: int, must: bool, failure: int, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    def way(_root: Path, _python: Path) -> SecondRun:
        raise subprocess.CalledProcessError(code, "uv")

    assert second_runs.run(tmp_path, Path(sys.executable), way, {}, 1, must=must) == failure
    assert "uv" in capfd.readouterr().out


def test_a_machine_without_another_python_has_nothing_to_run(tmp_path: Path):
    assert second_runs.run(tmp_path, Path(sys.executable), lambda _root, _python: None, {}, 1, must=True) == 0
