"""The Run tab's live view, and what it shares with the Jobs tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.jobs import lora_card, smaller
from app.jobs.live import answer, do
from app.jobs.store import JobStore
from app.jobs.try_it import TryIt
from app.page.layout import asset


def build_monitor(store: JobStore, easel: TryIt) -> gr.HTML:
    """The Run tab's live view.

    "Train again with changes" triggers `submit` with {"job": id}: give the component a listener
    `submit(fn)` with fn(event: gr.EventData), event.job. In the browser it dispatches on window: "la-run"
    with {"state", "step", "total", "stopping", "text", "hint"} at each answer, for the action bar, and
    "la-show-setting" with {"key", "label"} for the setting that a failure is about. It listens to
    "la-look": ask at once, e.g. after Train was pressed.
    """

    def live(request: dict[str, Any]) -> dict[str, Any]:
        return answer(store, request)

    def act(request: dict[str, Any]) -> dict[str, Any]:
        return do(store, request)

    return gr.HTML(
        '<div class="la-live"></div>',
        elem_id="live",
        css_template=styles("live", "try", "inside"),
        js_on_load=scripts("live", "try", "inside", "monitor"),
        apply_default_css=False,
        server_functions=[live, act, *about_files(store, easel)],
    )


def styles(*names: str) -> str:
    """Style sheets of a view."""
    return "".join(asset(f"{name}.css") for name in names)


def scripts(*names: str) -> str:
    """Scripts of a view, the first ones shared by several."""
    return "".join(asset(f"{name}.js") for name in names)


def about_files(store: JobStore, easel: TryIt) -> list[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Server functions for LoRA files: explain one, draw with it. The views find them by name."""

    def explain(request: dict[str, Any]) -> dict[str, Any]:
        return lora_card.explain(store, request)

    def try_ask(request: dict[str, Any]) -> dict[str, Any]:
        return easel.ask(request)

    def try_look(request: dict[str, Any]) -> dict[str, Any]:
        return easel.look(request)

    def try_cancel(request: dict[str, Any]) -> dict[str, Any]:
        return easel.cancel(request)

    def make_smaller(request: dict[str, Any]) -> dict[str, Any]:
        return smaller.make(store, request)

    return [explain, make_smaller, try_ask, try_look, try_cancel]
