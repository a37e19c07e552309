"""The Jobs tab: past runs with settings, curve, samples and files; two of them side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.jobs import removal
from app.jobs.compare import list_jobs, show_jobs
from app.jobs.store import JobStore
from app.jobs.try_it import TryIt
from app.page.live_view import about_files, scripts, styles


def build_jobs_tab(store: JobStore, easel: TryIt) -> gr.HTML:
    """The list of runs and what is chosen from it.

    "Use these settings again" triggers `submit` with {"job": id}: give the component a listener
    `submit(fn)` with fn(event: gr.EventData), event.job.
    """

    def jobs(request: dict[str, Any]) -> dict[str, Any]:
        return list_jobs(store, request)

    def show(request: dict[str, Any]) -> dict[str, Any]:
        return show_jobs(store, request)

    def resume(request: dict[str, Any]) -> dict[str, Any]:
        wish = request if isinstance(request, dict) else {}
        job = store.get(str(wish.get("job")))
        if job is not None:
            store.resume(job)
        return {"done": job is not None}

    def remove(request: dict[str, Any]) -> dict[str, Any]:
        return removal.remove(store, request)

    return gr.HTML(
        '<div class="la-jobs"></div>',
        elem_id="jobs",
        css_template=styles("live", "try", "inside", "jobs"),
        js_on_load=scripts("live", "try", "inside", "jobs"),
        apply_default_css=False,
        server_functions=[jobs, show, resume, remove, *about_files(store, easel)],
    )
