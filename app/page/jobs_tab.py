"""The Jobs tab: past runs with settings, curve, samples and files; two of them side by side."""

from __future__ import annotations

import gradio as gr

from app.answers import Answers
from app.page.live_view import scripts, styles


def build_jobs_tab(answers: Answers) -> gr.HTML:
    """The list of runs and what is chosen from it.

    "Use these settings again" triggers `submit` with {"job": id}: give the component a listener
    `submit(fn)` with fn(event: gr.EventData), event.job.
    """
    return gr.HTML(
        '<div class="la-jobs"></div>',
        elem_id="jobs",
        css_template=styles("live", "try", "inside", "jobs"),
        js_on_load=scripts("live", "try", "inside", "jobs"),
        apply_default_css=False,
        server_functions=answers.functions(),
    )
