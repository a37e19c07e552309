"""The Run tab's live view, and what it shares with the Jobs tab."""

from __future__ import annotations

import gradio as gr

from app.answers import Answers
from app.page.layout import asset


def build_monitor(answers: Answers) -> gr.HTML:
    """The Run tab's live view.

    "Train again with changes" triggers `submit` with {"job": id}: give the component a listener
    `submit(fn)` with fn(event: gr.EventData), event.job. In the browser it dispatches on window: "la-run"
    with {"state", "step", "total", "stopping", "text", "hint"} at each answer, for the action bar, and
    "la-show-setting" with {"key", "label"} for the setting that a failure is about. It listens to
    "la-look": ask at once, e.g. after Train was pressed.
    """
    return gr.HTML(
        '<div class="la-live"></div>',
        elem_id="live",
        css_template=styles("live", "try", "inside"),
        js_on_load=scripts("live", "try", "inside", "monitor"),
        apply_default_css=False,
        server_functions=answers.functions(),
    )


def styles(*names: str) -> str:
    """Style sheets of a view."""
    return "".join(asset(f"{name}.css") for name in names)


def scripts(*names: str) -> str:
    """Scripts of a view, the first ones shared by several."""
    return "".join(asset(f"{name}.js") for name in names)
