"""Gradio starts without rewriting its stubs, and is otherwise the same."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
if sys.argv[1] == "quick":
    from app.page.quick_start import without_stubs
    without_stubs()
import gradio.component_meta as meta
import gradio
writes = meta.create_or_modify_pyi.__module__ == meta.__name__
events = sorted(str(event) for event in gradio.Textbox.EVENTS)
print(json.dumps([writes, events, [name for name in dir(gradio.Textbox) if not name.startswith("_")],
                  meta.__spec__.name, bool(meta.__file__), len(sys.meta_path)]))
"""


def gradio_as_imported(how: str, root) -> list:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, cwd=root
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_gradio_writes_no_stubs_and_has_the_same_components(root):
    usual, quick = (gradio_as_imported(how, root) for how in ("usual", "quick"))
    assert usual[0]
    assert not quick[0]
    assert quick[1:] == usual[1:]
