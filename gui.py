"""Start the page: `python gui.py [--listen] [--port N] [--workspace DIR] [--root DIR …]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from trainer.files.job_folder import default_workspace


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="gui.py", description="LoRA Atelier: train LoRAs in the browser.")
    parser.add_argument("--port", type=int, help="port of the page (default: 7860, or the next free one)")
    parser.add_argument(
        "--listen",
        nargs="?",
        const="0.0.0.0",  # noqa: S104  # asked for, and a password guards it
        default="127.0.0.1",
        metavar="ADDRESS",
        help="let other machines use the page; asks for a password",
    )
    parser.add_argument(
        "--workspace", type=Path, default=default_workspace(), help="where jobs and drafts are kept"
    )
    parser.add_argument(
        "--password", default=os.environ.get("LORA_ATELIER_PASSWORD"), help="password of the page"
    )
    parser.add_argument(
        "--root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a further folder that the page may open, save in and look at; may be given more than once",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    return parser.parse_args(words)


def main() -> int:
    """Serve until Ctrl-C."""
    wanted = arguments()
    # Presets and path completion look it up there, and so does the trainer.
    os.environ["LORA_ATELIER_WORKSPACE"] = str(wanted.workspace.expanduser().resolve())
    from app.page.quick_start import without_stubs

    without_stubs()
    from app.web.server import serve

    try:
        serve(
            wanted.workspace,
            wanted.listen,
            wanted.port,
            open_browser=not wanted.no_browser,
            password=wanted.password,
            added_roots=wanted.root,
        )
    except (OSError, PermissionError) as error:
        print(f"The page cannot start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
