"""A large file is read for its hash once, and again as soon as it is another."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from trainer.files import remembered_hashes
from trainer.files.remembered_hashes import MOST_REMEMBERED, remembered_hash


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_hashes, "WORTH_IT", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read for a hash."""
    files: list[Path] = []

    def counted(path: Path) -> str:
        files.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(remembered_hashes, "file_hash", counted)
    return files


def right(path: Path, memory: Path) -> None:
    assert remembered_hash(path, memory) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once(tmp_path: Path, read: list[Path]) -> None:
    path, memory = tmp_path / "model", tmp_path / "new" / "hashes.json"
    path.write_bytes(b"one")
    for _ in range(3):
        right(path, memory)
    assert read == [path]


def test_a_file_that_changed_is_read_again(tmp_path: Path, read: list[Path]) -> None:
    path, memory = tmp_path / "model", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    right(path, memory)
    path.write_bytes(b"another")  # another size
    right(path, memory)
    path.write_bytes(b"ANOTHER")  # another time
    os.utime(path, ns=(times[0], times[1] + 10**9))
    right(path, memory)
    other = tmp_path / "other"
    other.write_bytes(b"aNOTHER")  # another file with the same size and time in its place
    os.utime(other, ns=(times[0], times[1] + 10**9))
    other.replace(path)
    right(path, memory)
    assert len(read) == 4


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"PATH": 1}', b'{"PATH": []}', b'{"PATH": [3, 4, "x"]}']
)
def test_a_spoiled_memory_costs_time_alone(tmp_path: Path, content: bytes) -> None:
    path, memory = tmp_path / "model", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    memory.write_bytes(content.replace(b"PATH", str(path).encode()))
    right(path, memory)


def test_a_memory_that_cannot_be_written_costs_time_alone(tmp_path: Path, read: list[Path]) -> None:
    path, memory = tmp_path / "model", tmp_path / "file" / "hashes.json"
    path.write_bytes(b"one")
    memory.parent.write_bytes(b"no folder")
    right(path, memory)
    right(path, memory)
    assert len(read) == 2


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    memory = tmp_path / "hashes.json"
    memory.write_text(json.dumps({str(n): [0, 0, 0, "x"] for n in range(MOST_REMEMBERED)}))
    path = tmp_path / "model"
    path.write_bytes(b"one")
    right(path, memory)
    known = json.loads(memory.read_text())
    assert len(known) == MOST_REMEMBERED
    assert "0" not in known
    assert str(path.resolve()) in known


def test_small_files_are_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_hashes, "WORTH_IT", 4)
    path, memory = tmp_path / "model", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    right(path, memory)
    assert not memory.exists()
