"""Serve the page with the fake trainer: python serve_page.py WORKSPACE. Prints the address."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from app import server
from app.jobs import JobStore

FAKE = (sys.executable, str(Path(__file__).parents[1] / "app" / "fake_trainer.py"))

server.JobStore = functools.partial(JobStore, trainer=FAKE)  # type: ignore[misc,assignment]  # same call
workspace = Path(sys.argv[1]).resolve()
server.serve(workspace, port=0, open_browser=False, added_roots=[workspace.parent])
