"""The page's server is killed while training goes on: the next one finds the run and follows it.

One kill by default; the long version kills ten times and starts two servers on one workspace:
    .venv/bin/pytest -m long tests/crash/test_server.py -s
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.jobs.store import JobStore
from tests.app.conftest import FAKE, wait_until
from tests.crash.trainers import wait_for

SERVE = str(Path(__file__).parents[1] / "browser" / "serve_page.py")
ROOT = Path(__file__).parents[2]


class Site:
    """A server in a process of its own, as gui.py starts it."""

    def __init__(self, workspace: Path) -> None:
        words = [sys.executable, SERVE, str(workspace)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = urlsplit(self.process.stdout.readline().split()[-1]).port
        self.parts = {part["props"].get("elem_id"): part["id"] for part in self.ask("/config")["components"]}

    def ask(self, path: str, body: Any = None) -> Any:
        """One request; the answer's JSON."""
        connection = HTTPConnection("127.0.0.1", self.port or 0, timeout=60)
        text = None if body is None else json.dumps(body)
        connection.request(
            "GET" if text is None else "POST", path, text, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        found = json.loads(answer.read())
        connection.close()
        return found

    def call(self, part: str, function: str, **request: Any) -> Any:
        """A server function, as the page's script calls it."""
        body = {"data": {"lang": "en", **request}, "component_id": self.parts[part], "fn_name": function}
        return self.ask("/gradio_api/component_server", {**body, "session_hash": "s"})

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def site(workspace: Path) -> Iterator[Site]:
    """A server that is gone afterwards."""
    served = Site(workspace)
    try:
        yield served
    finally:
        served.kill()


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """A form that the fake trainer's run starts from."""
    (tmp_path / "out").mkdir(exist_ok=True)
    return {
        "pretrained_model_name_or_path": str(ROOT / "presets" / "demo" / "model"),
        "train_data_dir": str(ROOT / "presets" / "demo" / "pictures"),
        "output_dir": str(tmp_path / "out"),
        "output_name": "mascot",
        "caption_extension": ".txt",
        "optimizer": "AdamW",
        "mixed_precision": "no",
        "max_resolution": "128,128",
        "max_train_steps": 400,
        "training_comment": "seconds=0.1",
        **more,
    }


def killed_again_and_again(tmp_path: Path, kills: int, seconds: float) -> int:
    """Kill the server `kills` times while one run goes on; the steps that the last one shows."""
    workspace, moment = tmp_path / "workspace", random.Random(1)
    store = JobStore(workspace, FAKE)
    with site(workspace) as first:
        started = first.call("la-bridge", "train", values=settings(tmp_path, max_train_steps=5000))
        job_id = started["job"]["id"]
        job = store.get(job_id)
        assert job
        wait_for(lambda: job.record().step >= 1)
    step = 0
    for _ in range(kills):
        with site(workspace) as again:
            seen = again.call("la-bridge", "live")
            assert (seen["job"], seen["state"]) == (job_id, "running")
            assert seen["now"]["step"] >= step
            step = seen["now"]["step"]
            time.sleep(moment.uniform(0, seconds))
    with site(workspace) as last:
        wait_for(lambda: last.call("la-bridge", "live")["now"]["step"] > step)
        last.call("la-bridge", "stop")
        wait_until(job, "stopped")
        seen = last.call("la-bridge", "live")
        assert seen["state"] == "stopped"
    steps = list(job.record().curves.steps)
    assert steps == list(range(1, len(steps) + 1)), "one run, every step once"
    assert [other.id for other in store.jobs()] == [job_id]
    return len(steps)


@pytest.mark.slow
def test_the_next_server_finds_the_run(tmp_path: Path):
    killed_again_and_again(tmp_path, 1, 1.0)


@pytest.mark.long
def test_ten_servers_die(tmp_path: Path):
    began = time.monotonic()
    steps = killed_again_and_again(tmp_path, 9, 4.0)
    print(f"\n10 servers killed in {time.monotonic() - began:.0f} s while one run did {steps} steps")


@pytest.mark.long
def test_two_servers_on_one_workspace(tmp_path: Path):
    """Four runs asked for at both: one at a time, each once, in the order they were asked for."""
    workspace = tmp_path / "workspace"
    store = JobStore(workspace, FAKE)
    form = settings(tmp_path, max_train_steps=15, training_comment="seconds=0.05")
    with site(workspace) as one, site(workspace) as other:
        for server in (one, other, one, other):
            assert server.call("la-bridge", "train", values=form)["job"]
        most = 0
        while any(job.state != "finished" for job in store.jobs()):
            most = max(most, sum(job.state == "running" for job in store.jobs()))
            assert {job.state for job in store.jobs()} <= {"queued", "running", "finished"}
            time.sleep(0.05)
    assert len(store.jobs()) == 4
    assert most == 1
    assert all(job.folder.log_file.read_text().count("fake trainer") == 1 for job in store.jobs())
