"""Start the page: `python gui.py [--listen] [--port N] [--workspace DIR] [--root DIR …]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from app.jobs.process import PASSWORD_VARIABLE
from trainer.files.job_folder import default_workspace
from trainer.importing import without_collection


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
        "--password",
        default=os.environ.pop(PASSWORD_VARIABLE, None) or None,  # no process that we start has it then
        help=f"password of the page; in {PASSWORD_VARIABLE} other programs cannot read it",
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
    from app.launch.words import language
    from app.texts import language_of, word

    if missing := [root for root in wanted.root if not root.expanduser().is_dir()]:
        said = word(language_of(language()), "root_missing", path=", ".join(map(str, missing)))
        print(said, file=sys.stderr)
        return 2
    from app.page.quick_start import without_stubs

    without_stubs()
    with without_collection():
        from app.web.password import (
            LONGEST,
            SHORTEST,
            PasswordLengthError,
            PasswordLettersError,
            PasswordMissingError,
        )
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
    except PasswordLengthError:
        code, values = "password_length", {"shortest": SHORTEST, "longest": LONGEST}
    except PasswordLettersError:
        code, values = "password_letters", {}
    except PasswordMissingError:
        code, values = "password_missing", {"variable": PASSWORD_VARIABLE}
    except OSError as error:
        code, values = "cannot_start", {"reason": error}
    else:
        return 0
    print(word(language_of(language()), code, **values), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
