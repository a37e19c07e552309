"""What a person sees of pip, and what is said when it fails."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from app.launch import words
from app.launch.pip import Narrator, PipError, ProgressLine, pip_error, run_pip, shortened, width
from app.launch.venv import child_environment


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "language", lambda: "en")


# As pip 26.3 prints them with --progress-bar raw.
LINES = """\
Looking in indexes: https://example.org/simple
Collecting torch==2.13.0+cu126
  Downloading https://example.org/whl/torch-2.13.0%2Bcu126-cp312-cp312-win_amd64.whl.metadata (27 kB)
  Downloading https://example.org/whl/torch-2.13.0%2Bcu126-cp312-cp312-win_amd64.whl (2310.5 MB)
Progress 0 of 2310500000
Progress 1155250000 of 2310500000
Downloading filelock-4.2.11-py3-none-any.whl (15 kB)
Installing collected packages: mpmath, sympy, torch
""".splitlines()


def told(out: io.StringIO) -> str:
    narrator = Narrator(words.say, ProgressLine(out))
    for line in LINES:
        narrator.hear(line)
    return out.getvalue()


def test_a_pipe_gets_few_whole_lines() -> None:
    lines = told(io.StringIO()).splitlines()
    assert [line.strip() for line in lines] == [
        "downloading torch 2.13.0+cu126 (2310.5 MB)",
        "packages to unpack: 3",
    ]


def test_a_terminal_sees_how_much_has_come() -> None:
    frames = told(Terminal()).split("\r")
    assert any("torch 2.13.0+cu126: 1,155 / 2,310 MB (50 %)" in frame for frame in frames)
    assert all(width(frame) < 80 for frame in frames)


def test_japanese_takes_two_columns() -> None:
    assert width("準備 ok") == 7
    assert shortened("準備中", columns=5) == "準備"


NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("HTTPSConnection(…)")'
ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)
ERROR: No matching distribution found for torch==2.13.0"""
LOCKED = (
    "ERROR: Could not install packages due to an OSError: [WinError 5] アクセスが拒否されました。: 'C:\\x'"
)
LONG_PATH = """\
ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory
HINT: This error might have occurred since this system does not have Windows Long Path support enabled."""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("no_network", NO_NETWORK),
        ("no_package", "ERROR: No matching distribution found for torch==2.13.0"),
        (
            "disk_full",
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        ),
        ("locked", LOCKED),
        ("long_path", LONG_PATH),
        ("damaged_download", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."),
        ("certificate", "Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]"),
        ("pip_failed", "ERROR: something new"),
    ],
)
def test_a_failure_is_explained(code: str, text: str) -> None:
    error = pip_error(text.splitlines())
    assert error.code == f"launcher.{code}"
    assert words.say(error.code, detail=error.detail, log="setup.log")


def test_real_pip_is_logged_and_its_failure_raised(tmp_path: Path) -> None:
    missing = tmp_path / "missing-1.0-py3-none-any.whl"
    narrator = Narrator(words.say, ProgressLine(io.StringIO()))
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        with pytest.raises(PipError) as caught:
            run_pip(
                Path(sys.executable),
                ["install", "--dry-run", "--no-index", str(missing)],
                child_environment(),
                log,
                narrator,
                inherit=log.fileno(),
            )
        log.seek(0)
        text = log.read()
    assert missing.name in caught.value.detail
    assert missing.name in text
    assert text.startswith("$ ")
