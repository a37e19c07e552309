"""A process is found again whatever the clock says, and no other is taken for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import psutil
import pytest

from trainer.files import identity
from trainer.files.identity import Identity

HOURS = 3600.0


def test_what_is_written_down_finds_the_process():
    own = Identity.own()
    assert own.alive()
    assert Identity.from_json(own.as_json()) == own


@pytest.mark.parametrize("seconds", [-30, 30, -HOURS, HOURS, 1e9])
def test_a_change_of_the_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, seconds: float):
    """The clock as it was when the job was begun, and as it is now."""
    own = Identity.own()
    assert replace(own, started=own.started + seconds).alive()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: own.started + seconds)
    monkeypatch.setattr(psutil, "boot_time", lambda: psutil.boot_time() + seconds)
    assert own.alive()


def test_a_process_that_has_ended_is_not_found():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = Identity.of(process.pid)
        assert found.alive()
        process.communicate(b"\n")
    assert not found.alive()


def test_another_process_of_that_number_is_another():
    own = Identity.own()
    assert not replace(own, start=own.start - 1).alive()
    assert not replace(own, boot="of last week").alive()


@pytest.mark.skipif(not psutil.LINUX, reason="reads /proc")
def test_a_name_that_looks_like_numbers_does_not_confuse(tmp_path):
    program = tmp_path / "a) R 1 2 (3"
    program.write_text("#!/bin/sh\nread line\n")
    program.chmod(0o755)
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE) as process:
        found = Identity.of(process.pid)
        assert found.alive()
        assert abs(found.start - Identity.own().start) < 1e7
        process.communicate(b"\n")


def test_files_of_older_versions_go_by_the_clock():
    own = Identity.own()
    old: dict[str, Any] = {"pid": own.pid, "started": own.started}
    found, reused = Identity.from_json(old), Identity.from_json({**old, "started": own.started - HOURS})
    assert found is not None
    assert reused is not None
    assert (found.alive(), reused.alive()) == (True, False)


def test_a_system_without_boot_names_and_ticks(monkeypatch: pytest.MonkeyPatch):
    """What psutil tells processes apart by stands in for both."""
    monkeypatch.setattr(psutil, "LINUX", False)
    own = Identity.own()
    assert own.start
    assert replace(own, started=0.0).alive()
    assert not replace(own, start=own.start + 1).alive()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"pid": 1},
        {"pid": "x", "started": 1},
        {"pid": 1, "started": []},
        {"pid": 1e400, "started": 0},
    ],
)
def test_what_names_no_process_is_none(data: Any):
    assert Identity.from_json(data) is None


@pytest.mark.parametrize("pid", [-1, 0, 2**40, 2**70])
def test_numbers_of_no_process(pid: int):
    assert not Identity(pid, 0.0).alive()
    assert not Identity(pid, 0.0, identity.boot_id(), 5.0).alive()
