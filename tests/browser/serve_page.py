"""Serve the page with the fake trainer, or the real one: python serve_page.py WORKSPACE [real].

Prints the address.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAKE = (sys.executable, str(ROOT / "tests" / "app" / "fake_trainer.py"))


def main() -> None:
    """Serve until the process is ended."""
    sys.path.insert(0, str(ROOT))
    from app.page.quick_start import without_stubs

    without_stubs()
    from app.jobs.store import JobStore
    from app.web import server

    if "real" not in sys.argv[2:]:
        server.JobStore = functools.partial(JobStore, trainer=FAKE)  # pyright: ignore[reportAttributeAccessIssue]  # same call
    workspace = Path(sys.argv[1]).resolve()
    server.serve(workspace, port=0, open_browser=False, added_roots=[workspace.parent])


if __name__ == "__main__":
    main()
